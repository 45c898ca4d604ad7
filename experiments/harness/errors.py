"""Errors that end a script with one line: a flag that cannot be used, which the line names, or a run that diverged."""

import contextlib
import importlib.util
import re
from collections.abc import Iterator
from typing import Any


class UsageError(ValueError):
    """Raised if a flag, file, folder, prompt or installation cannot be used; the message is one complete line."""


class Diverged(ArithmeticError):
    """Raised if training produces NaN or infinity; the message is one complete line."""


@contextlib.contextmanager
def blame(flag: str, value: Any) -> Iterator[None]:
    """Turns a ValueError or OSError that the block raises into a UsageError that names the flag.

    The flag replaces the name of the inner argument at the start of the message:

    >>> with blame("temperature", 0.0):
    ...     raise ValueError("value: expected a temperature above 0, got 0.0")
    Traceback (most recent call last):
    experiments.harness.errors.UsageError: --temperature=0.0: expected a temperature above 0, got 0.0
    """
    try:
        yield
    except UsageError:
        raise
    except (ValueError, OSError) as error:
        reason = str(error)
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror if error.filename in (None, str(value)) else f"{error.filename}: {error.strerror}"
        reason = re.sub(r"^\w+: ", "", reason.removeprefix(f"{value}: "))
        raise UsageError(f"--{flag}={value}: {reason}") from error


def require(*modules: str, extra: str) -> None:
    """Raises UsageError with the command that installs the extra, unless all `modules` can be imported.

    >>> require("json", "a_module_nobody_has", extra="data")
    Traceback (most recent call last):
    experiments.harness.errors.UsageError: a_module_nobody_has is not installed; run: pip install -e ".[data]"
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise UsageError(f'{", ".join(missing)} {are} not installed; run: pip install -e ".[{extra}]"')
