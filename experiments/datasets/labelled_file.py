"""What the data sets of labelled texts share: a text and its class, and parts that no key is in twice."""

import abc
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import tensorflow_datasets as tfds

from experiments import datasets

PARTS = ("train", "validation", "test")


class Labelled(NamedTuple):
    key: str  # texts of one key are in one part
    text: str
    label: str


def part_of(key: str) -> str:
    """Assigns a key to the part it is in whatever else there is: 70% to train, 10% and 20%."""
    return datasets.part_of(key, validation=10, test=20)


class LabelledBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set of texts and their classes, in the order of `read_texts`."""

    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION: str
    HOMEPAGE: str
    LICENSE: str
    CLASSES: Sequence[str]

    @abc.abstractmethod
    def read_texts(self) -> Iterable[Labelled]:
        """Gives the texts of all parts."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=self.CLASSES)}
            ),
            homepage=self.HOMEPAGE,
            license=self.LICENSE,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # everything is here
        parts: dict[str, list[Labelled]] = {part: [] for part in PARTS}
        for entry in self.read_texts():
            parts[part_of(entry.key)].append(entry)
        return {part: self._generate_examples(entries) for part, entries in parts.items()}

    def _generate_examples(self, entries: Iterable[Labelled]) -> Iterator[tuple[int, dict[str, str]]]:
        for number, (_, text, label) in enumerate(entries):
            yield number, {"text": text, "label": label}
