"""Drawings as sequences of points and of pen movements, from QuickDraw's files or a TFDS data set.

In the shapes, `T` is the number of points of a drawing. y points upward everywhere.
"""

import json
import os
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from seqjax.data.splits import cut_missing_parts, read_splits
from seqjax.data.text import read_utf8

LARGEST = float(np.finfo(np.float32).max)  # a larger coordinate is infinite in float32


class Drawing(NamedTuple):
    """A drawing."""

    key: str  # different for each drawing of a file
    name: str  # what is drawn
    points: Float[np.ndarray, "T 3"]  # x, y, and 1 for the last point of a stroke, otherwise 0


class DrawingSplits(NamedTuple):
    """The drawings of the training, validation and test sets."""

    train: list[Drawing]
    validation: list[Drawing]
    test: list[Drawing]


def to_movements(points: Float[np.ndarray, "T 3"], origin: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "T 4"]:
    """Converts the points of a drawing to pen movements (dx, dy, end, last), as `seqjax.distributions.sketch` has them.

    Args:
      points: x, y, and whether the point is the last of a stroke.
      origin: where the pen is before the first movement.

    >>> to_movements(np.array([[10.0, 20.0, 0.0], [13.0, 16.0, 1.0], [0.0, 0.0, 1.0]]), np.array([10.0, 10.0]))
    array([[  0.,  10.,   0.,   0.],
           [  3.,  -4.,   1.,   0.],
           [-13., -16.,   1.,   1.]])
    """
    last = np.arange(1, len(points) + 1) == len(points)
    return np.column_stack([np.diff(points[:, :2], axis=0, prepend=origin[None]), points[:, 2], last])


def to_points(movements: Float[np.ndarray, "T 4"], origin: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "T 3"]:
    """Converts pen movements back to points.

    >>> to_points(np.array([[0.0, 10.0, 0.0, 0.0], [3.0, -4.0, 1.0, 1.0]]), np.array([10.0, 10.0]))
    array([[10., 20.,  0.],
           [13., 16.,  1.]])
    """
    return np.column_stack([origin + np.cumsum(movements[:, :2], axis=0), movements[:, 2]])


def read_ndjson(path: str | os.PathLike[str]) -> list[Drawing]:
    """Reads drawings from a file in the format of QuickDraw, one JSON object per line.

        {"word": "cat", "key_id": "5201136883597312", "drawing": [[[x, x, ...], [y, y, ...]], ...]}

    Each stroke is a list of x and a list of y, which points downward in the file; further lists, such as the times of
    the raw format, are ignored. `word` and `key_id` may be missing; without `key_id`, the key is the line itself. An
    empty line is ignored. See https://github.com/googlecreativelab/quickdraw-dataset.

    Raises:
      OSError: the file cannot be read.
      ValueError: the file holds no drawing or is not UTF-8, or a line is not JSON or not a drawing; the message names
        the file and the line.
    """
    drawings = []
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        if line.strip():
            try:
                drawings.append(_parse(line))
            except ValueError as error:
                raise ValueError(f"{path}: line {number}: {error}") from None
    if not drawings:
        raise ValueError(f"{path}: expected a drawing per line, got an empty file")
    return drawings


def read_drawing_dataset(builder: Any, name: str = "character", points: str = "points") -> DrawingSplits:
    """Reads the drawings of a `tfds.core.DatasetBuilder`, preparing the data set first if necessary.

    Missing parts are cut from the end of the training part, 5% of the drawings each.

    Args:
      builder: a builder with a text feature and a tensor of points (x, y, end of a stroke).
      name: name of the text feature, which is also the key of a drawing.
      points: name of the tensor.

    Raises:
      ValueError: the feature or the split `train` is missing, a part is empty, or a prepared file is damaged.
    """
    known = builder.info.features
    if not {name, points} <= set(known) or known[points].shape != (None, 3):
        raise ValueError(
            f"{builder.info.full_name}: expected the features {name!r} and {points!r} [T, 3], got {sorted(known)}"
        )
    parts = {}
    for part, examples in read_splits(builder).items():
        found = ((example[name].decode(), example[points].astype(np.float64)) for example in examples)
        parts[part] = [Drawing(of, of, where) for of, where in found]
    return DrawingSplits(*cut_missing_parts(**parts))


def _parse(line: str) -> Drawing:
    """Parses a line of a file of drawings; the ValueError names neither file nor line."""
    try:
        entry = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"expected JSON, got {_shortened(line)!r}") from None
    strokes = entry.get("drawing") if isinstance(entry, dict) else None
    if not isinstance(strokes, list):
        raise ValueError(f'expected an object with "drawing", a list of strokes, got {_shortened(line)!r}')
    if not strokes:
        raise ValueError("expected at least one stroke, got none")
    key, name = entry.get("key_id", line), entry.get("word", "drawing")
    return Drawing(str(key), str(name), np.concatenate([_stroke(k, stroke) for k, stroke in enumerate(strokes, 1)]))


def _stroke(number: int, stroke: Any) -> Float[np.ndarray, "_ 3"]:
    """Converts the lists of a stroke to points."""
    match stroke:
        case [[_, *_] as across, [_, *_] as down, *_] if len(across) == len(down):
            pass
        case _:
            raise ValueError(f"stroke {number}: expected as many x as y, at least one, got {_shortened(str(stroke))}")
    for coordinate in across + down:
        number_type = isinstance(coordinate, int | float) and not isinstance(coordinate, bool)
        if not (number_type and abs(coordinate) <= LARGEST):  # false for NaN
            raise ValueError(f"stroke {number}: expected finite numbers, got {_shortened(str(coordinate))}")
    ends = np.arange(1, len(across) + 1) == len(across)
    return np.column_stack([np.array(across, float), -np.array(down, float), ends])


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
