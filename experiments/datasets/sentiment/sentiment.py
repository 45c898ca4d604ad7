"""Tweets and sentences of movie reviews, positive and negative (Hutto and Gilbert 2014), as a TFDS data set.

`tweets.tsv.xz` and `movie_reviews.tsv.xz` hold 4,200 tweets and 10,605 sentences of reviews, one per line: the mean
rating of 20 people, from -4, extremely negative, to 4, and the text. The files are from the source archive of the PyPI
package `vaderSentiment` 3.3.2, whose authors collected the ratings to test its rules.

Texts with a mean rating that rounds to 0 are neutral and are dropped: 768 tweets and 533 sentences. The sign of the
rating is the label of the others.

Some texts occur twice and differ only in case and punctuation ("Anger is ugly." and "ANGER IS UGLY!"). Texts with the
same words are in the same part.
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds

from experiments.datasets import read_lines
from experiments.datasets.labelled_file import Labelled, LabelledBuilder

FOLDER = Path(__file__).parent
LINE = re.compile(r"(?P<rating>-?[0-4]\.\d{4})\t(?P<text>.*\S.*)")


class Rated(NamedTuple):
    rating: float  # the mean, from -4 to 4
    text: str


def read_ratings(path: Path) -> list[Rated]:
    """Reads rated texts.

    Raises:
      ValueError: the file is damaged, or a line is not a rating and a text.
    """
    ratings = []
    for number, line in enumerate(read_lines(path), 1):
        entry = LINE.fullmatch(line)
        if entry is None:
            raise ValueError(f"{path}: line {number}: expected a rating, a tab and a text, got {line!r}")
        ratings.append(Rated(float(entry["rating"]), html.unescape(entry["text"])))
    return ratings


def is_neutral(rating: float) -> bool:
    """Returns whether the mean rating is nearer to 0 than to 1 or -1."""
    return abs(rating) < 0.5


def words_of(text: str) -> str:
    """Returns the words of a text in lower case, a key that ignores case and punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))


class Sentiment(LabelledBuilder):
    """Texts and whether they are positive or negative."""

    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="tweets", description="Tweets."),
        tfds.core.BuilderConfig(name="movie_reviews", description="Sentences of movie reviews."),
    ]
    DESCRIPTION = "Texts that people rated from negative to positive."
    HOMEPAGE = "https://github.com/cjhutto/vaderSentiment"
    LICENSE = "MIT"
    CLASSES = ("negative", "positive")

    def read_examples(self) -> Iterator[Labelled]:
        for rating, text in read_ratings(FOLDER / f"{self.builder_config.name}.tsv.xz"):
            if not is_neutral(rating):
                yield Labelled(words_of(text), text, "positive" if rating > 0 else "negative")
