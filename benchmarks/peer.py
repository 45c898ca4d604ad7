"""Measurements in separate processes, with questions and answers as lines of JSON.

Libraries keep threads, and some threads spin after a call. So each library has its own process, which is idle until it
is asked. The parent process can then let the libraries take turns.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

WHILE = 0.3  # seconds of repeated calls per measurement
ROOT = Path(__file__).parents[1]
KEEP_FREED_MEMORY, ONE_DEVICE_PER_CORE = "--keep_freed_memory", "--one_device_per_core"  # as experiments do on a CPU
ONE_DEVICE = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}  # for JAX, unless ONE_DEVICE_PER_CORE is given


def serve(versions: dict[str, str], prepare: Callable[..., Callable[[], Any]]) -> None:
    """Answers the questions on stdin until stdin ends.

    The first answer, before any question, is `versions`. A question holds the arguments of `prepare`, which returns the
    function to time. This function waits for its result and returns it in a form that JSON can hold. The answer holds
    the result and the seconds of a call.
    """
    if KEEP_FREED_MEMORY in sys.argv:
        from seqjax.devices.memory import keep_freed_memory

        keep_freed_memory()
    if ONE_DEVICE_PER_CORE in sys.argv:
        from seqjax.devices.mesh import one_device_per_core

        one_device_per_core()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that nothing a library prints is read as an answer
    prepared = {}
    print(json.dumps(versions), file=answers, flush=True)
    for line in sys.stdin:
        if line not in prepared:
            prepared[line] = prepare(**json.loads(line))
        result, seconds = measure(prepared[line])
        print(json.dumps({"result": result, "seconds": seconds}), file=answers, flush=True)


def measure(function: Callable[[], Any]) -> tuple[Any, float]:
    """Calls a function repeatedly, as a program would, and returns its last result and the median seconds of a call.

    The first call does not count, because it may compile and its threads may be asleep, some of them on the same core.
    """
    result = function()
    seconds = []
    end = time.perf_counter() + WHILE
    while not seconds or time.perf_counter() < end:
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


class Peer(NamedTuple):
    """A process that answers questions."""

    versions: dict[str, str]
    ask: Callable[..., dict[str, Any]]  # question -> "result" and "seconds"


@contextlib.contextmanager
def peer(module: str, *args: str, python: str = sys.executable, env: dict[str, str] | None = None) -> Iterator[Peer]:
    """Runs a module that calls `serve`, which first acts on the arguments in `args`.

    KEEP_FREED_MEMORY calls `keep_freed_memory` of `seqjax.devices`, and ONE_DEVICE_PER_CORE its `one_device_per_core`.
    Both work only if the module has not used JAX before it calls `serve`.

    Raises:
      RuntimeError: the process ends before it answers.
    """
    process = subprocess.Popen(
        [python, "-m", module, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | (env or {}),
    )

    def answer() -> dict[str, Any]:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{module}: expected an answer, got exit code {process.wait()}")
        return json.loads(line)

    def ask(**question) -> dict[str, Any]:
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        return answer()

    with process:
        yield Peer(answer(), ask)
