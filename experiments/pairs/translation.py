"""Translation: one language to another, with one subword vocabulary for both."""

from collections.abc import Sequence
from itertools import zip_longest

from experiments.baselines import phrase_table
from experiments.pairs.kind import Kind, copy_source
from experiments.pairs.symbols import subwords
from seqjax.decoding import mean_log_prob


def bleu_and_chrf(found: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Returns corpus BLEU (Papineni et al. 2002) and chrF, as sacrebleu computes them."""
    import sacrebleu

    return {"BLEU": sacrebleu.corpus_bleu(found, references(right)).score} | chrf(found, right)


def chrf(found: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Returns corpus chrF (Popovic 2015), the F-score of character n-grams."""
    import sacrebleu

    return {"chrF": sacrebleu.corpus_chrf(found, references(right)).score}


def references(right: Sequence[Sequence[str]]) -> list[tuple[str | None, ...]]:
    """Transposes references: the first of every source, then the second of every source or None, and so on."""
    return list(zip_longest(*right))


KIND = Kind(
    title="translation",
    unit="sentence",
    source="source subword",
    target="target subword",
    source_symbols=subwords(4000),
    target_symbols=None,
    scores=bleu_and_chrf,
    higher_is_better=("BLEU", "chrF"),
    baselines={
        "copied source": copy_source,
        "phrase table": phrase_table.translate,
    },
    length_penalty=mean_log_prob,
    defaults={"batch_size": 64, "max_length": 25, "epochs": 1.6, "copying": True},
)
