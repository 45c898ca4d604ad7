"""The work that all libraries in `unroll` do, and the operations of its matrix products."""

from functools import cache
from typing import NamedTuple

import numpy as np

GATES = {"lstm": 4, "gru": 3, "gru_reset_after": 3, "simple_rnn": 1}
LAYERS = 2  # of the bidirectional LSTM that reads sequences of random lengths


class Sizes(NamedTuple):
    batch: int
    steps: int
    inputs: int
    hidden: int


def flops(cell: str, sizes: Sizes, *, gradient: bool) -> int:
    """Counts the operations of the matrix products of a layer; the gradient adds two for each forward product."""
    forward = 2 * sizes.batch * sizes.steps * (sizes.inputs + sizes.hidden) * GATES[cell] * sizes.hidden
    return 3 * forward if gradient else forward


@cache  # the questions to one library share their inputs
def normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def random_lengths(sizes: Sizes) -> np.ndarray:
    """Draws lengths from 1 to `sizes.steps`."""
    return np.random.default_rng(2).integers(1, sizes.steps, sizes.batch, endpoint=True)
