"""What the data sets of pairs share: a compressed file of lines with tabs, and parts that no key is in twice."""

import abc
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds

from experiments import datasets
from experiments.datasets import read_lines

PARTS = ("train", "validation", "test")


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


def part_of(key: str) -> str:
    """Assigns a key to the part it is in whatever else there is: 94% to train, 3% and 3%."""
    return datasets.part_of(key, validation=3, test=3)


class PairBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set of texts and what is to be made of them, in the order of `read_pairs`, each pair once."""

    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION: str
    LICENSE: str

    @abc.abstractmethod
    def read_pairs(self) -> Iterable[Pair]:
        """Gives the pairs of all parts."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict({"source": tfds.features.Text(), "target": tfds.features.Text()}),
            license=self.LICENSE,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # everything is here
        parts: dict[str, list[tuple[str, str]]] = {part: [] for part in PARTS}
        seen = set()
        for key, *pair in self.read_pairs():
            if (*pair,) not in seen:
                seen.add((*pair,))
                parts[part_of(key)].append(pair)
        return {part: self._generate_examples(pairs) for part, pairs in parts.items()}

    def _generate_examples(self, pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[int, dict[str, str]]]:
        for number, (source, target) in enumerate(pairs):
            yield number, {"source": source, "target": target}
