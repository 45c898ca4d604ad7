"""The work that all libraries in `train_step` do: a character model trains on the same batch repeatedly."""

from typing import NamedTuple

import numpy as np

LEARNING_RATE = 1e-3
MAX_GRAD_NORM = 1.0


class Sizes(NamedTuple):
    batch: int = 32
    steps: int = 128
    vocabulary: int = 80
    hidden: int = 512


def characters(sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Draws inputs and targets, [B, T]."""
    drawn = np.random.default_rng(0).integers(sizes.vocabulary, size=(sizes.batch, sizes.steps + 1), dtype=np.int32)
    return drawn[:, :-1], drawn[:, 1:]
