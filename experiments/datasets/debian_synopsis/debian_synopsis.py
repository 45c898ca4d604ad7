"""Debian's package descriptions and the line that a person wrote above each, as a TFDS data set of pairs.

`synopses.tsv.xz` holds 39,921 packages of Debian 12, one a line: the synopsis, and the description to its 60th word.
Half of that is taken, for what a package is stands first. Of those that share it, the first is taken. Synopses that
differ only in case, figures and punctuation are in one part.
"""

from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from experiments.datasets.pair_file import Pair, PairBuilder, letters_of, read_rows

PATH = Path(__file__).with_name("synopses.tsv.xz")
WORDS = 30  # of a description


def read_synopses(path: Path = PATH) -> Iterator[Pair]:
    """Reads the beginnings of descriptions, each once, and their synopses.

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
    """Descriptions of packages and their synopses; 94% of them to train, 3% and 3%."""

    VERSION = tfds.core.Version("1.1.0")  # before, 60 words
    DESCRIPTION = "Debian's package descriptions, their first 30 words, and the one-line synopsis of each."
    LICENSE = "Each description is under the licence of its package, all free by Debian's guidelines."

    def read_pairs(self) -> Iterator[Pair]:
        return read_synopses()
