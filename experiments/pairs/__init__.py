"""Kinds of pairs: which sequences become which, how a text becomes symbols, and how answers are judged."""

from experiments.pairs import headline, pronunciation, translation
from experiments.pairs.kind import Kind

KINDS: dict[str, Kind] = {
    "headline": headline.KIND,
    "pronunciation": pronunciation.KIND,
    "translation": translation.KIND,
}

KIND_OF_DATASET = {
    "cmudict": "pronunciation",
    "debian_fr_en": "translation",
    "debian_synopsis": "headline",
}
