"""The cells that need only a hidden size, by name."""

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module

import seqjax.cells
from seqjax.cells.contract import Cell


def _find_cells() -> dict[str, Callable[..., Cell]]:
    """Finds the functions that take a `hidden_size` and are named after their file, such as `lstm` in `lstm.py`."""
    found = {}
    for file in pkgutil.iter_modules(seqjax.cells.__path__):
        make = getattr(import_module(f"{seqjax.cells.__name__}.{file.name}"), file.name, None)
        if callable(make) and "hidden_size" in inspect.signature(make).parameters:
            found[file.name] = make
    return found


CELLS = _find_cells()
