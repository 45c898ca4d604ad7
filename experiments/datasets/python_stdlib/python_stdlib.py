"""The standard library of the running Python, as TFDS data sets of pairs.

`python_stdlib/expressions` pairs an expression, as `ast.unparse` writes it, with its syntax tree, as `ast.dump` writes
it without the contexts such as `Load()` or `Store()`, which the expression does not show. `python_stdlib/signatures`
pairs the first sentence of a function's docstring with its signature. Files are read in the order of their names,
without tests; a repeated pair keeps its first place. Pairs with the same source are in the same part. The version of
the data set is the Python version.
"""

import ast
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from experiments.datasets.pair_file import Pair, PairBuilder

LONGEST = 60  # characters of an expression


def module_paths(folder: Path, pattern: str) -> list[Path]:
    """Lists the modules of a library, as sorted paths relative to its folder.

    Raises:
      FileNotFoundError: the folder does not contain Python modules.
    """
    paths = sorted(path.relative_to(folder) for path in folder.glob(pattern))
    if not paths:
        raise FileNotFoundError(f"{folder}: expected Python's standard library, found no module")
    return paths


def read_modules(folder: Path) -> Iterator[ast.Module]:
    """Parses the modules of a library.

    Raises:
      FileNotFoundError: the folder does not contain Python modules.
      SyntaxError: a module is not valid in this version of Python; the message names file and line.
    """
    for path in module_paths(folder, "**/*.py"):
        if not {"test", "tests", "idle_test", "lib2to3", "site-packages", "dist-packages"} & {*path.parts}:
            with warnings.catch_warnings(action="ignore"):  # syntax warnings of the library
                yield ast.parse((folder / path).read_bytes(), str(folder / path))


def tree_of(expression: ast.expr) -> str:
    """Writes a syntax tree as the constructor calls that build it, without expression contexts."""
    return re.sub(r", (Load|Store|Del)\(\)", "", ast.dump(expression, annotate_fields=False))


def expressions(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yields the expressions of all statements with their trees, except single names and constants."""
    for statement in ast.walk(module):
        if isinstance(statement, ast.stmt):
            for node in ast.iter_child_nodes(statement):
                if isinstance(node, ast.expr) and not isinstance(node, ast.Name | ast.Constant):
                    text = ast.unparse(node)
                    if len(text) <= LONGEST and "\n" not in text:
                        yield text, tree_of(node)


def signatures(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yields the first sentences of docstrings with the signatures of their functions."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef) and (docstring := ast.get_docstring(node)):
            sentence = " ".join(docstring.split("\n\n")[0].split()).split(". ")[0]
            if sentence:
                yield sentence, f"def {node.name}({ast.unparse(node.args)}):"


class PythonStdlib(PairBuilder):
    """Expressions and their syntax trees, or docstrings and signatures: 94% train, 3% validation, 3% test."""

    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="expressions", description="An expression and its syntax tree."),
        tfds.core.BuilderConfig(name="signatures", description="The first sentence of a docstring and a signature."),
    ]
    VERSION = tfds.core.Version("{}.{}.{}".format(*sys.version_info))
    DESCRIPTION = "Code of Python's standard library."
    LICENSE = "Python Software Foundation License"

    def read_pairs(self) -> Iterator[Pair]:
        pairs_of = {"expressions": expressions, "signatures": signatures}[self.builder_config.name]
        for module in read_modules(Path(sysconfig.get_path("stdlib"))):
            for source, target in pairs_of(module):
                yield Pair(source, source, target)
