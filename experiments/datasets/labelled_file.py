"""What the data sets of labelled texts share: a text and its class."""

import abc
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from experiments.datasets.keyed import KeyedBuilder


class Labelled(NamedTuple):
    key: str  # texts of one key are in one part
    text: str
    label: str


class LabelledBuilder(KeyedBuilder, skip_registration=True):
    """A data set of texts and their classes: 70% to train, 10% and 20%."""

    HELD_OUT = {"validation": 10, "test": 20}
    CLASSES: Sequence[str]

    @property
    def features(self) -> dict[str, Any]:
        return {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=self.CLASSES)}

    @abc.abstractmethod
    def read_examples(self) -> Iterable[Labelled]:
        """Gives the texts of all parts."""
