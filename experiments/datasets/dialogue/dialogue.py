"""Conversations between two people as a TFDS data set of turns and the replies to them.

`conversations.tsv.xz` holds the turns of 2,000 conversations, one conversation per line, from the PyPI package
`chitchat-dataset` 0.9.0 (Myers et al. 2020). Each turn after the first replies to the turn before it. All pairs of a
conversation are in the same part. Repeated pairs and turns of more than 400 characters are left out.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from experiments.datasets.pair_file import Pair, PairBuilder, read_rows

PATH = Path(__file__).with_name("conversations.tsv.xz")
LONGEST = 400  # characters


def read_replies(path: Path = PATH) -> Iterator[Pair]:
    """Reads the conversations as pairs of a turn and the next turn.

    Raises:
      ValueError: the file is damaged, or a line has fewer than two turns.
    """
    for turns in read_rows(path):
        for turn, reply in pairwise(turns):
            if max(len(turn), len(reply)) <= LONGEST:
                yield Pair("\t".join(turns), turn, reply)


class Dialogue(PairBuilder):
    """Turns and their replies; of the conversations, 94% train, 3% validation, 3% test."""

    DESCRIPTION = "Conversations between two people who write to each other in everyday English."
    LICENSE = "MIT"

    def read_pairs(self) -> Iterator[Pair]:
        return read_replies()
