"""Dialogue: a turn to the reply that follows it, with one subword vocabulary for both."""

from collections import Counter
from collections.abc import Sequence

from experiments.pairs.kind import Kind, Pairs, nearest_source
from experiments.pairs.symbols import subwords
from experiments.pairs.translation import chrf
from seqjax.decoding import mean_log_prob


def most_frequent(train: Pairs, sources: Sequence[str]) -> list[str]:
    """Answers every source with the most frequent reply of the training pairs."""
    [(reply, _)] = Counter(reply for _, reply in train).most_common(1)
    return [reply] * len(sources)


KIND = Kind(
    title="reply",
    unit="turn",
    source="prompt subword",
    target="reply subword",
    source_symbols=subwords(4000),
    target_symbols=None,
    scores=chrf,
    higher_is_better=("chrF",),
    baselines={"most frequent reply": most_frequent, "reply to the nearest prompt": nearest_source},
    length_penalty=mean_log_prob,
    defaults={"batch_size": 64, "max_length": 30, "epochs": 1.2},
)
