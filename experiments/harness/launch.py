"""Runs a script: parses its flags, prepares the machine, handles signals, and prints usage errors as one line."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
from absl import logging

from experiments.harness import settings, signals
from experiments.harness.errors import Diverged, UsageError, require
from experiments.harness.settings import action
from seqjax import devices

S = TypeVar("S")

DIVERGED, USAGE_ERROR, CLOSED_PIPE = 1, 2, 128 + 13  # exit codes


@dataclass(frozen=True)
class Command:
    """Messages."""

    traceback: bool = action(False, "Show the traceback of a usage error.")


def launch(main: Callable[[S], None], config: type[S], *, needs: Sequence[str] = ()) -> None:
    """Parses the flags into settings and calls `main` with them.

    A `UsageError`, which the user can fix, is printed as one line on standard error, with exit code 2; a run that
    `Diverged` likewise, with exit code 1. Any other exception keeps its traceback. SIGINT and SIGTERM end the process
    at once with a one-line message, unless `main` handles them. A closed pipe (`| head -1`) ends it quietly.

    Args:
      main: the script's main function.
      config: its settings, a dataclass that derives from `Command`.
      needs: modules of the extra `data` that the script imports later.
    """
    module = sys.modules["__main__"]
    script = Path(module.__file__ or "").stem
    arguments = sys.argv[1:]
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # nothing is left in a buffer if a signal ends the process
    try:
        if {"--help", "-h"} & set(arguments):
            print(settings.help_text(config, script, module.__doc__ or ""))
            return
        with signals.answered(signals.quit_now):
            parsed = settings.parse(config, arguments, script=script)
            require(*needs, extra="data")
            _prepare_machine(parsed)
            main(parsed)
    except (Diverged, UsageError) as error:
        if "--traceback" in arguments:
            traceback.print_exc()
        print(f"{script}: {' '.join(str(error).splitlines())}", file=sys.stderr)
        sys.exit(DIVERGED if isinstance(error, Diverged) else USAGE_ERROR)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # because Python flushes stdout when it exits
        sys.exit(CLOSED_PIPE)
    finally:
        signals.ignore()


def _prepare_machine(parsed: Any) -> None:
    """Sets up logging, memory, compilation and devices, before JAX is used."""
    logging.set_verbosity(logging.ERROR)  # the harness itself announces damaged checkpoints
    devices.keep_freed_memory()
    devices.compile_quickly()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = getattr(parsed, "devices", None)
    if wanted is not None and wanted > cores:
        raise UsageError(f"--devices={wanted}: expected at most {cores}, the cores of this machine")
    devices.one_device_per_core(wanted)
    if getattr(parsed, "bfloat16", False):
        if jax.default_backend() == "cpu":
            raise UsageError("--bfloat16: expected a GPU or TPU; a CPU multiplies in float32")
        jax.config.update("jax_default_matmul_precision", "BF16_BF16_F32")
