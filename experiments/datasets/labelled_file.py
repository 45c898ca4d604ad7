"""Base class of data sets of labelled texts."""

import abc
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from experiments.datasets.keyed import KeyedBuilder


class Labelled(NamedTuple):
    key: str  # texts with the same key are in the same part
    text: str
    label: str


class LabelledBuilder(KeyedBuilder, skip_registration=True):
    """A data set of texts and their classes: 70% train, 10% validation, 20% test."""

    HELD_OUT = {"validation": 10, "test": 20}
    CLASSES: Sequence[str]

    @property
    def features(self) -> dict[str, Any]:
        return {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=self.CLASSES)}

    @abc.abstractmethod
    def read_examples(self) -> Iterable[Labelled]:
        """Returns the texts of all parts."""
