"""What the data sets of pairs share: a compressed file of lines with tabs, a source and a target."""

import abc
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from experiments.datasets import read_lines
from experiments.datasets.keyed import KeyedBuilder


class Pair(NamedTuple):
    key: str  # pairs of one key are in one part
    source: str
    target: str


def read_rows(path: Path, columns: int | None = None) -> Iterator[list[str]]:
    """Reads the lines of a compressed file, which hold so many columns each, or else two or more, none of them empty.

    Raises:
      ValueError: the file is damaged, or a line has another form.
    """
    for number, line in enumerate(read_lines(path), 1):
        row = line.split("\t")
        if (len(row) != columns if columns else len(row) < 2) or not all(map(str.strip, row)):
            expected = columns or "two or more"
            raise ValueError(f"{path}: line {number}: expected {expected} columns with tabs between, got {line!r}")
        yield row


def letters_of(text: str) -> str:
    """Gives the letters of a text in lower case: the same for texts that differ in nothing else."""
    return re.sub(r"[\W\d_]+", "", text.lower())


class PairBuilder(KeyedBuilder, skip_registration=True):
    """A data set of texts and what is to be made of them, each pair once: 94% to train, 3% and 3%."""

    HELD_OUT = {"validation": 3, "test": 3}

    @property
    def features(self) -> dict[str, Any]:
        return {"source": tfds.features.Text(), "target": tfds.features.Text()}

    @abc.abstractmethod
    def read_pairs(self) -> Iterable[Pair]:
        """Gives the pairs of all parts."""

    def read_examples(self) -> Iterable[Pair]:
        first: dict[tuple[str, str], Pair] = {}
        for pair in self.read_pairs():
            first.setdefault((pair.source, pair.target), pair)
        return first.values()
