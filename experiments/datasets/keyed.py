"""Base class of data sets whose examples have a key, which alone decides the part that an example is in."""

import abc
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow_datasets as tfds

from experiments import datasets


class KeyedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set whose parts keep the order of `read_examples`."""

    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION: str
    HOMEPAGE: str | None = None
    LICENSE: str
    HELD_OUT: dict[str, int]  # percentage of the keys in "validation" and in "test"

    @property
    @abc.abstractmethod
    def features(self) -> dict[str, Any]:
        """The features of an example."""

    @abc.abstractmethod
    def read_examples(self) -> Iterable[tuple[Any, ...]]:
        """Returns the examples of all parts, each as its key followed by its features."""

    @classmethod
    def part_of(cls, key: str) -> str:
        """Returns the part of a key."""
        return datasets.part_of(key, **cls.HELD_OUT)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(self.features),
            homepage=self.HOMEPAGE,
            license=self.LICENSE,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download
        parts: dict[str, list[dict[str, Any]]] = {part: [] for part in ("train", "validation", "test")}
        for key, *example in self.read_examples():
            parts[self.part_of(key)].append(dict(zip(self.features, example, strict=True)))
        return {part: self._generate_examples(examples) for part, examples in parts.items()}

    def _generate_examples(self, examples: Iterable[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(examples)
