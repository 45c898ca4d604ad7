"""From what one person says to what another replies, by subwords that both share."""

from experiments.pairs.kind import Kind, nearest_source
from experiments.pairs.symbols import subwords
from experiments.pairs.translation import chrf

KIND = Kind(
    title="reply",
    unit="turn",
    source="prompt subword",
    target="reply subword",
    source_symbols=subwords(4000),
    target_symbols=None,
    scores=chrf,
    baselines={"the reply to the nearest prompt": nearest_source},
    defaults={"batch_size": 64, "max_length": 30},
)
