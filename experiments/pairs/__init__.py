"""Kinds of sequence pairs: what maps to what, how text is tokenized, and how answers are scored."""

from experiments.pairs import headline, pronunciation, python_code, reply, translation
from experiments.pairs.kind import Kind

KINDS: dict[str, Kind] = {
    "headline": headline.KIND,
    "pronunciation": pronunciation.KIND,
    "signature": python_code.SIGNATURE,
    "syntax_tree": python_code.SYNTAX_TREE,
    "reply": reply.KIND,
    "translation": translation.KIND,
}

KIND_OF_DATASET = {
    "cmudict": "pronunciation",
    "debian_fr_en": "translation",
    "debian_synopsis": "headline",
    "dialogue": "reply",
    "python_stdlib/expressions": "syntax_tree",
    "python_stdlib/signatures": "signature",
}
