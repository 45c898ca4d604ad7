"""Batches of drawings: every movement once, in the units of the frame, and noise within its own cell."""

import numpy as np
import pytest

from seqjax import data
from seqjax.data.stroke_batches import (
    dequantize,
    evaluation_stroke_batches,
    fit_stroke_frame,
    gather_strokes,
    stroke_batch,
)


def drawing(length, start=0.0):
    points = np.column_stack([start + np.arange(length) ** 2, np.arange(length) % 3, np.arange(length) % 2])
    points[-1, 2] = 1
    return data.Drawing(str(length), "", points.astype(float))


DRAWINGS = [drawing(length) for length in (3, 9, 4, 1, 8, 5, 2)]
FRAME = fit_stroke_frame(DRAWINGS)


def test_a_frame_suits_the_movements():
    origin, unit, grid = FRAME
    points = np.concatenate([one.points for one in DRAWINGS])[:, :2]
    assert grid == 1 and np.abs(origin - points.mean(axis=0)).max() <= 0.5
    moves = np.concatenate([np.diff(np.vstack([origin, one.points[:, :2]]), axis=0) for one in DRAWINGS])
    assert unit == pytest.approx(moves.std())
    assert fit_stroke_frame([drawing(3, start=0.5)]).grid == 0
    assert fit_stroke_frame([drawing(1)]).unit == 1  # a pen that never moves


def test_an_epoch_holds_every_drawing_once_within_its_cells():
    strokes = gather_strokes(DRAWINGS, FRAME, num_buckets=2, batch_size=2)
    for batches in (
        [stroke_batch(strokes, position, seed=1) for position in range(4)],
        list(evaluation_stroke_batches(strokes)),
    ):
        seen = []
        for movements, targets, lengths in batches:
            for row, target, length in zip(movements, targets, lengths, strict=True):
                assert not row[length:].any() and not target[length:].any()
                difference = (target - row)[:length] * [FRAME.unit, FRAME.unit, 1, 1]
                assert np.abs(difference[:, :2]).max(initial=0) <= 0.50001 and not difference[:, 2:].any()
                assert length == 0 or np.abs(difference[:, :2]).max() > 0
                seen.append(data.to_points(row[:length] * [FRAME.unit, FRAME.unit, 1, 1], FRAME.origin).round(3))
        seen = sorted((one for one in seen if len(one)), key=len)
        for one, expected in zip(seen, sorted(DRAWINGS, key=lambda one: len(one.points)), strict=True):
            np.testing.assert_allclose(one, expected.points, atol=1e-3)


def test_a_step_is_spread_in_its_own_way_and_always_the_same():
    strokes = gather_strokes(DRAWINGS[:1], FRAME, num_buckets=1, batch_size=1)
    first, again, second = (stroke_batch(strokes, position) for position in (0, 0, 1))
    np.testing.assert_array_equal(first.targets, again.targets)
    assert (first.targets != second.targets)[..., :2].all()
    np.testing.assert_array_equal(first.movements, second.movements)
    one, other = (next(evaluation_stroke_batches(strokes)).targets for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_noise_is_even_over_a_cell_and_leaves_the_pen():
    movements = np.tile([5.0, -3.0, 1.0, 0.0], (20_000, 1))
    found = dequantize(movements, 2.0, np.random.default_rng(0))
    assert (found[:, 2:] == movements[:, 2:]).all()
    around = found[:, :2] - movements[:, :2]
    np.testing.assert_allclose(np.histogram(around, bins=4, range=(-1, 1))[0] / 40_000, 0.25, atol=0.01)
    np.testing.assert_array_equal(dequantize(movements, 0.0, np.random.default_rng(0)), movements)
