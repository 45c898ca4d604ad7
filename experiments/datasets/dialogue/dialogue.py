"""Conversations between two people as a TFDS data set of what one says and what the other replies.

`conversations.tsv.xz` holds the turns of 2,000 conversations, one a line, from the PyPI package `chitchat-dataset`
0.9.0 (Myers et al. 2020). Each turn after the first replies to the one before it. A conversation is in one part; what
was said and replied in the same words before is left out, and so are turns of more than 400 characters.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from experiments.datasets.pair_file import Pair, PairBuilder, read_rows

PATH = Path(__file__).with_name("conversations.tsv.xz")
LONGEST = 400  # characters


def read_replies(path: Path = PATH) -> Iterator[Pair]:
    """Reads the conversations, as pairs of a turn and the one that follows.

    Raises:
      ValueError: the file is damaged, or a line has less than two turns.
    """
    for turns in read_rows(path):
        for turn, reply in pairwise(turns):
            if max(len(turn), len(reply)) <= LONGEST:
                yield Pair("\t".join(turns), turn, reply)


class Dialogue(PairBuilder):
    """What is said and what is replied; 94% of the conversations to train, 3% and 3%."""

    DESCRIPTION = "Conversations between two people who write to each other in everyday English."
    LICENSE = "MIT"

    def read_pairs(self) -> Iterator[Pair]:
        return read_replies()
