"""The source text of Python's standard library, the one that reads this, as a TFDS data set.

An example is a module. Those that are no part of a package are taken, in Python 3.11 168 of them with 4.7 million
characters. The version of the data set is that of Python.
"""

import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from experiments.datasets.keyed import KeyedBuilder
from experiments.datasets.python_stdlib.python_stdlib import PythonStdlib, module_paths


class PythonSource(KeyedBuilder):
    """The text of modules; 90% of them to train, 5% and 5%."""

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
