"""Batches of drawings as pen movements, bucketed by length, in units in which a model learns well.

In the shapes, `B` is the batch size and `T` the number of movements to which the drawings of a bucket are padded.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32

from seqjax.data.buckets import Bucket, PairBatch, evaluation_pair_batches, make_buckets, pair_batch
from seqjax.data.strokes import Drawing, to_movements


class StrokeFrame(NamedTuple):
    """The units of pen movements for a model."""

    origin: Float[np.ndarray, " 2"]  # where the pen is before the first movement
    unit: float  # standard deviation of a movement in x or y
    grid: float  # distance between neighbouring coordinates: 1 if all are whole numbers, otherwise 0


class Strokes(NamedTuple):
    """Drawings that can be gathered into batches."""

    frame: StrokeFrame
    movements: Float[np.ndarray, "N 4"]  # of all drawings, in units of the data, after one of padding
    rows: list[Int[np.ndarray, "_"]]  # where those of each drawing are
    buckets: tuple[Bucket, ...]


class StrokeBatch(NamedTuple):
    """Movements (dx, dy, end, last) of `B` drawings in units of the frame, 0 in the padding."""

    movements: Float[np.ndarray, "B T 4"]
    targets: Float[np.ndarray, "B T 4"]  # the same, dequantized
    lengths: Int32[np.ndarray, " B"]


def fit_stroke_frame(drawings: Sequence[Drawing]) -> StrokeFrame:
    """Fits the units to training drawings: the pen starts near the mean of all points.

    >>> fit_stroke_frame([Drawing("", "", np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 1.0]]))])
    StrokeFrame(origin=array([2., 0.]), unit=2.179..., grid=1.0)
    """
    points = np.concatenate([drawing.points for drawing in drawings])[:, :2]
    origin = points.mean(axis=0).round()
    movements = np.concatenate([to_movements(drawing.points, origin) for drawing in drawings])[:, :2]
    return StrokeFrame(origin, float(movements.std()) or 1.0, float((points == points.round()).all()))


def dequantize(
    movements: Float[np.ndarray, "*B 4"], grid: float, rng: np.random.Generator
) -> Float[np.ndarray, "*B 4"]:
    """Adds uniform noise to movements on a grid, so that a density is comparable with a probability.

    Without noise, a density can grow without bound at the points of the grid. The expected log-density of the noisy
    movements is at most the log-probability of the cells of the grid (Theis, van den Oord and Bethge 2016).

    >>> dequantize(np.array([[3.0, -4.0, 1.0, 0.0]]), 1.0, np.random.default_rng(0)).round(2)
    array([[ 3.14, -4.23,  1.  ,  0.  ]])
    """
    noise = rng.uniform(-grid / 2, grid / 2, (*movements.shape[:-1], 2))
    return np.concatenate([movements[..., :2] + noise, movements[..., 2:]], axis=-1)


def gather_strokes(drawings: Sequence[Drawing], frame: StrokeFrame, *, num_buckets: int, batch_size: int) -> Strokes:
    """Converts drawings to movements and sorts them into buckets, as `make_buckets` does.

    Raises:
      ValueError: the list of drawings is empty, or a setting is below 1.

    >>> line = Drawing("", "", np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 1.0]]))
    >>> gather_strokes([line], fit_stroke_frame([line]), num_buckets=1, batch_size=1).movements
    array([[ 0.,  0.,  0.,  0.],
           [-2.,  0.,  0.,  0.],
           [ 4.,  0.,  1.,  1.]])
    """
    movements = [to_movements(drawing.points, frame.origin) for drawing in drawings]
    lengths = np.array([len(of_one) for of_one in movements], int)
    buckets = make_buckets(lengths, lengths, num_buckets=num_buckets, batch_size=batch_size)
    rows = np.split(1 + np.arange(lengths.sum()), np.cumsum(lengths)[:-1])  # 0 is PAD
    return Strokes(frame, np.concatenate([np.zeros((1, 4)), *movements]), rows, buckets)


def stroke_batch(strokes: Strokes, position: int, *, seed: int = 0) -> StrokeBatch:
    """Gathers the batch of a global training step, a pure function of `position`, as `pair_batch` does.

    >>> line = Drawing("", "", np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 1.0]]))
    >>> strokes = gather_strokes([line], fit_stroke_frame([line])._replace(unit=4.0), num_buckets=1, batch_size=1)
    >>> stroke_batch(strokes, position=7).movements
    array([[[-0.5,  0. ,  0. ,  0. ],
            [ 1. ,  0. ,  1. ,  1. ]]], dtype=float32)
    """
    pairs = pair_batch(strokes.rows, strokes.rows, strokes.buckets, position, seed=seed)
    return _look_up(strokes, pairs, np.random.default_rng((seed, position)))


def evaluation_stroke_batches(strokes: Strokes) -> Iterator[StrokeBatch]:
    """Gathers each drawing once, bucket by bucket, always with the same noise."""
    for number, (_, pairs) in enumerate(evaluation_pair_batches(strokes.rows, strokes.rows, strokes.buckets)):
        yield _look_up(strokes, pairs, np.random.default_rng(number))


def _look_up(strokes: Strokes, pairs: PairBatch, rng: np.random.Generator) -> StrokeBatch:
    """Replaces numbers of movements by the movements."""
    per_unit = np.array([1 / strokes.frame.unit, 1 / strokes.frame.unit, 1, 1])
    movements = strokes.movements[np.asarray(pairs.sources)]
    targets = dequantize(movements, strokes.frame.grid, rng) * (pairs.sources > 0)[..., None]
    lengths = np.asarray(pairs.source_lengths)
    return StrokeBatch((movements * per_unit).astype(np.float32), (targets * per_unit).astype(np.float32), lengths)
