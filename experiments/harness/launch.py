"""Runs a script: flags, the machine, signals, and errors in one line."""

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
from experiments.harness.errors import UsageError, require
from experiments.harness.settings import action
from seqjax import devices

S = TypeVar("S")

USAGE_ERROR, CLOSED_PIPE = 2, 128 + 13  # exit codes


@dataclass(frozen=True)
class Command:
    """Messages."""

    traceback: bool = action(False, "Show where in the program an error of use was found.")


def launch(main: Callable[[S], None], config: type[S], *, needs: Sequence[str] = ()) -> None:
    """Parses the flags into settings and calls `main` with them.

    A `UsageError`, which the user can mend, is printed as one line on standard error, with exit code 2. Any other
    exception keeps its traceback. SIGINT and SIGTERM end the process at once and in one line, unless `main` handles
    them. A closed pipe (`| head -1`) ends it quietly.

    Args:
      main: the script's function.
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
    except UsageError as error:
        if "--traceback" in arguments:
            traceback.print_exc()
        print(f"{script}: {' '.join(str(error).splitlines())}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes at its end
        sys.exit(CLOSED_PIPE)


def _prepare_machine(parsed: Any) -> None:
    """Sets up logging, memory, compilation and devices, before JAX is used."""
    logging.set_verbosity(logging.ERROR)  # a damaged checkpoint is announced by the harness
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
