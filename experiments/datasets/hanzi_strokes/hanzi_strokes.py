"""The strokes of 9,574 Chinese characters as a TFDS data set of points, in the order of writing.

`hanzi_strokes.tsv.xz` holds one character per line: the character, a tab, and its strokes, separated by spaces. The
points of a stroke are separated by semicolons. A point is its difference from the previous point, also across strokes;
the first one is its difference from (0, 0):

    十	109,442;68,-20;196,34;446,49;50,-6;63,-23 -476,335;28,-8;38,-36;-10,-174;-5,-626

The points are the median lines of strokes in the npm package `hanzi-writer-data` 2.0.1, on a grid of about 1024 by 1024
with y upward.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int16

from experiments.datasets import read_lines
from experiments.datasets.keyed import KeyedBuilder

PATH = Path(__file__).with_name("hanzi_strokes.tsv.xz")
POINT = r"-?\d{1,4},-?\d{1,4}"
STROKE = rf"{POINT}(?:;{POINT})*"
LINE = re.compile(rf"(?P<character>\S)\t(?P<strokes>{STROKE}(?: {STROKE})*)")


def read_characters(path: Path = PATH) -> Iterator[tuple[str, Int16[np.ndarray, "T 3"]]]:
    """Reads each character and its `T` points: x, y, and 1 for the last point of a stroke, otherwise 0.

    Raises:
      ValueError: the file is damaged, or a line is not a character and its strokes.
    """
    for number, line in enumerate(read_lines(path), 1):
        entry = LINE.fullmatch(line)
        if entry is None:
            raise ValueError(f"{path}: line {number}: expected a character, a tab and strokes, got {line[:40]!r}")
        strokes = [stroke.split(";") for stroke in entry["strokes"].split(" ")]
        differences = [point.split(",") for stroke in strokes for point in stroke]
        ends = np.cumsum([len(stroke) for stroke in strokes]) - 1
        points = np.zeros((len(differences), 3), np.int16)
        points[:, :2] = np.cumsum(np.array(differences, int), axis=0)
        points[ends, 2] = 1
        yield entry["character"], points


class HanziStrokes(KeyedBuilder):
    """Characters and the points of their strokes: 90% train, 5% validation, 5% test."""

    DESCRIPTION = "Median lines of the strokes of Chinese characters, in the order of writing."
    LICENSE = "Arphic Public License"
    HELD_OUT = {"validation": 5, "test": 5}

    @property
    def features(self) -> dict[str, Any]:
        points = tfds.features.Tensor(shape=(None, 3), dtype=np.int16, encoding=tfds.features.Encoding.ZLIB)
        return {"character": tfds.features.Text(), "points": points}

    def read_examples(self) -> Iterator[tuple[str, str, Int16[np.ndarray, "T 3"]]]:
        for character, points in read_characters():
            yield character, character, points
