"""Grapheme-to-phoneme conversion: a spelling, letter by letter, to a pronunciation, phoneme by phoneme."""

from collections.abc import Sequence

import numpy as np

from experiments.pairs.kind import Kind, nearest_source
from experiments.pairs.symbols import separated


def error_rates(found: Sequence[str], pronunciations: Sequence[Sequence[str]]) -> dict[str, float]:
    """Returns the word and the phoneme error rate, each word scored against its nearest reference pronunciation."""
    from rapidfuzz.distance import Levenshtein

    distances, lengths = zip(
        *(
            min((Levenshtein.distance(answer.split(), right.split()), len(right.split())) for right in entry)
            for answer, entry in zip(found, pronunciations, strict=True)
        ),
        strict=True,
    )
    return {
        "% word error rate": 100 * np.count_nonzero(distances) / len(distances),
        "% phoneme error rate": 100 * sum(distances) / sum(lengths),
    }


KIND = Kind(
    title="pronunciation",
    unit="word",
    source="letter",
    target="phoneme",
    source_symbols=separated(""),
    target_symbols=separated(" "),
    scores=error_rates,
    higher_is_better=(),
    baselines={"nearest spelling": nearest_source},
    beams=(1, 5, 10),
    read=lambda line: line.strip().lower(),
)
