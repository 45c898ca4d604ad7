"""Base class of data sets of pairs, and the reader of their compressed, tab-separated files."""

import abc
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from experiments.datasets import read_lines
from experiments.datasets.keyed import KeyedBuilder


class Pair(NamedTuple):
    key: str  # pairs with the same key are in the same part
    source: str
    target: str


def read_rows(path: Path, columns: int | None = None) -> Iterator[list[str]]:
    """Reads the rows of a compressed, tab-separated file: `columns` texts each, or two or more, and none of them empty.

    Raises:
      ValueError: the file is damaged, or a line has a different form.
    """
    for number, line in enumerate(read_lines(path), 1):
        row = line.split("\t")
        if (len(row) != columns if columns else len(row) < 2) or not all(map(str.strip, row)):
            expected = columns or "two or more"
            raise ValueError(f"{path}: line {number}: expected {expected} tab-separated columns, got {line!r}")
        yield row


def letters_of(text: str) -> str:
    """Returns the letters of a text in lower case, a key that ignores case, digits, spaces and punctuation."""
    return re.sub(r"[\W\d_]+", "", text.lower())


class PairBuilder(KeyedBuilder, skip_registration=True):
    """A data set of distinct pairs of source and target texts: 94% train, 3% validation, 3% test."""

    HELD_OUT = {"validation": 3, "test": 3}

    @property
    def features(self) -> dict[str, Any]:
        return {"source": tfds.features.Text(), "target": tfds.features.Text()}

    @abc.abstractmethod
    def read_pairs(self) -> Iterable[Pair]:
        """Returns the pairs of all parts."""

    def read_examples(self) -> Iterable[Pair]:
        first: dict[tuple[str, str], Pair] = {}
        for pair in self.read_pairs():
            first.setdefault((pair.source, pair.target), pair)
        return first.values()
