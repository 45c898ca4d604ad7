"""The source text of Python's standard library, the one that reads this, as a TFDS data set.

An example is a module. Those that are no part of a package are taken, in Python 3.11 168 of them with 4.7 million
characters. What is measured depends on the version of Python.
"""

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from experiments.datasets import part_of
from experiments.datasets.python_stdlib.python_stdlib import PythonStdlib, module_paths


class PythonSource(tfds.core.GeneratorBasedBuilder):
    """The text of modules; 90% of them to train, 5% and 5%."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=PythonStdlib.DESCRIPTION,
            features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
            license=PythonStdlib.LICENSE,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # everything is here
        return {part: self._generate_examples(part) for part in ("train", "validation", "test")}

    def _generate_examples(self, part: str) -> Iterator[tuple[int, dict[str, str]]]:
        library = Path(sysconfig.get_path("stdlib"))
        for number, path in enumerate(module_paths(library, "*.py")):
            if part_of(str(path), validation=5, test=5) == part:
                yield number, {"text": (library / path).read_text(encoding="utf-8")}
