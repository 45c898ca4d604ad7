"""Debian's package descriptions and the line that a person wrote above each, as a TFDS data set of pairs.

`synopses.tsv.xz` holds 39,921 packages of Debian 12, one a line: the synopsis, and the description to its 60th word.
Of those that share a description, the first is taken. Synopses that differ only in case, figures and punctuation are in
one part.
"""

from collections.abc import Iterator
from pathlib import Path

from experiments.datasets.pair_file import Pair, PairBuilder, letters_of, read_rows

PATH = Path(__file__).with_name("synopses.tsv.xz")


def read_synopses(path: Path = PATH) -> Iterator[Pair]:
    """Reads the descriptions, each once, and their synopses.

    Raises:
      ValueError: the file is damaged, or a line is not a synopsis and a description.
    """
    seen = set()
    for synopsis, description in read_rows(path, columns=2):
        if description not in seen:
            seen.add(description)
            yield Pair(letters_of(synopsis), description, synopsis)


class DebianSynopsis(PairBuilder):
    """Descriptions of packages and their synopses; 94% of them to train, 3% and 3%."""

    DESCRIPTION = "Debian's package descriptions, their first 60 words, and the one-line synopsis of each."
    LICENSE = "Each description is under the licence of its package, all free by Debian's guidelines."

    def read_pairs(self) -> Iterator[Pair]:
        return read_synopses()
