"""The source text of the standard library of the running Python, as a TFDS data set.

An example is a module. The data set holds the modules outside packages: in Python 3.11, 168 modules with 4.7 million
characters. Its version is the Python version.
"""

import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from experiments.datasets.keyed import KeyedBuilder
from experiments.datasets.python_stdlib.python_stdlib import PythonStdlib, module_paths


class PythonSource(KeyedBuilder):
    """The text of modules: 90% train, 5% validation, 5% test."""

    VERSION = PythonStdlib.VERSION
    DESCRIPTION = PythonStdlib.DESCRIPTION
    LICENSE = PythonStdlib.LICENSE
    HELD_OUT = {"validation": 5, "test": 5}

    @property
    def features(self) -> dict[str, Any]:
        return {"text": tfds.features.Text()}

    def read_examples(self) -> Iterator[tuple[str, str]]:
        library = Path(sysconfig.get_path("stdlib"))
        for path in module_paths(library, "*.py"):
            yield str(path), (library / path).read_text(encoding="utf-8")
