"""Headline generation: description to headline, with one subword vocabulary for both."""

from collections.abc import Sequence

from experiments.pairs.kind import Kind, Pairs
from experiments.pairs.symbols import subwords
from experiments.pairs.translation import bleu_and_chrf, chrf
from seqjax.decoding import mean_log_prob


def first_words(train: Pairs, sources: Sequence[str]) -> list[str]:
    """Answers with the first words of the source; their number has the best chrF on about 1,000 training pairs."""
    chosen = train[:: max(1, len(train) // 1000)]

    def score(count: int) -> float:
        return chrf([cut(source, count) for source, _ in chosen], [[headline] for _, headline in chosen])["chrF"]

    def cut(source: str, count: int) -> str:
        return " ".join(source.split()[:count])

    best = max(range(1, 31), key=score)
    return [cut(source, best) for source in sources]


KIND = Kind(
    title="headline",
    unit="description",
    source="description subword",
    target="headline subword",
    source_symbols=subwords(4000),
    target_symbols=None,
    scores=bleu_and_chrf,
    higher_is_better=("BLEU", "chrF"),
    baselines={"first words": first_words},
    length_penalty=mean_log_prob,
    defaults={
        "batch_size": 64,
        "buckets": 3,
        "max_length": 60,
        "epochs": 2.0,
        "tie_embeddings": True,
        "copying": True,
    },
)
