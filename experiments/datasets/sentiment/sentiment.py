"""Tweets and sentences of movie reviews, positive and negative (Hutto and Gilbert 2014), as a TFDS data set.

`tweets.tsv.xz` and `movie_reviews.tsv.xz` hold 4,200 tweets and 10,605 sentences of reviews, one a line: the mean of
what 20 people said, from -4, extremely negative, to 4, and the text. Taken from the source archive of the PyPI package
`vaderSentiment` 3.3.2, whose authors had them rated to try its rules on them.

What the mean rating rounds to 0 is neutral, and dropped: 768 tweets and 533 sentences. Of the others the sign is the
label.

Some texts stand there twice, told apart by capitals and punctuation alone ("Anger is ugly." and "ANGER IS UGLY!"):
those of the same words are in one part.
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds

from experiments.datasets import part_of, read_lines

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
    """Whether the mean rating is nearer to 0 than to 1 or -1."""
    return abs(rating) < 0.5


def part_of_text(text: str) -> str:
    """Assigns a text to its part by its words: 70% to train, 10% and 20%."""
    return part_of(" ".join(re.findall(r"\w+", text.casefold())), validation=10, test=20)


class Sentiment(tfds.core.GeneratorBasedBuilder):
    """A text and whether it is positive or negative."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="tweets", description="Tweets."),
        tfds.core.BuilderConfig(name="movie_reviews", description="Sentences of movie reviews."),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Texts that people rated from negative to positive.",
            features=tfds.features.FeaturesDict(
                {
                    "text": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=["negative", "positive"]),
                }
            ),
            homepage="https://github.com/cjhutto/vaderSentiment",
            license="MIT",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # everything is here
        ratings = read_ratings(FOLDER / f"{self.builder_config.name}.tsv.xz")
        rated = [entry for entry in ratings if not is_neutral(entry.rating)]
        return {part: self._generate_examples(rated, part) for part in ("train", "validation", "test")}

    def _generate_examples(self, rated: list[Rated], part: str) -> Iterator[tuple[int, dict[str, str]]]:
        for number, (rating, text) in enumerate(entry for entry in rated if part_of_text(entry.text) == part):
            yield number, {"text": text, "label": "positive" if rating > 0 else "negative"}
