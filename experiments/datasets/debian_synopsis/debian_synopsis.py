"""Debian's package descriptions and their hand-written one-line synopses, as a TFDS data set of pairs.

`synopses.tsv.xz` holds 39,921 packages of Debian 12, one per line: the synopsis, and the first 60 words of the
description. The data set uses 30 words, because a description begins with what the package is. Of the packages that
share these words, the first is kept. Synopses that differ only in case, digits and punctuation are in the same part.
"""

from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from experiments.datasets.pair_file import Pair, PairBuilder, letters_of, read_rows

PATH = Path(__file__).with_name("synopses.tsv.xz")
WORDS = 30  # of a description


def read_synopses(path: Path = PATH) -> Iterator[Pair]:
    """Reads the distinct beginnings of descriptions and their synopses.

    Raises:
      ValueError: the file is damaged, or a line is not a synopsis and a description.
    """
    seen = set()
    for synopsis, description in read_rows(path, columns=2):
        beginning = " ".join(description.split()[:WORDS])
        if beginning not in seen:
            seen.add(beginning)
            yield Pair(letters_of(synopsis), beginning, synopsis)


class DebianSynopsis(PairBuilder):
    """Descriptions of packages and their synopses: 94% train, 3% validation, 3% test."""

    VERSION = tfds.core.Version("1.1.0")  # 1.0.0 used 60 words
    DESCRIPTION = "Debian's package descriptions, their first 30 words, and the one-line synopsis of each."
    LICENSE = "Each description is under the licence of its package, all free by Debian's guidelines."

    def read_pairs(self) -> Iterator[Pair]:
        return read_synopses()
