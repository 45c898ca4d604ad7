"""A measurement in a process of its own, asked and answered by lines of JSON.

Libraries keep threads, and some let them spin after a call. So each library has a process, which does nothing until it
is asked; then the one that asks can let them take turns.
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

WHILE = 0.3  # seconds for which what is measured is called
ROOT = Path(__file__).parents[1]
KEEP_FREED_MEMORY, ONE_DEVICE_PER_CORE = "--keep_freed_memory", "--one_device_per_core"  # what experiments do on a CPU
ONE_DEVICE = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}  # of JAX, unless ONE_DEVICE_PER_CORE is given


def serve(versions: dict[str, str], prepare: Callable[..., Callable[[], Any]]) -> None:
    """Answers the questions on stdin until it ends.

    The first answer are the versions. A question holds the arguments of `prepare`, which gives what is to be timed: a
    function that waits for its result and returns it as lists. The answer holds its result and the seconds it takes.
    """
    if KEEP_FREED_MEMORY in sys.argv:
        from seqjax.devices.allocation import keep_freed_memory

        keep_freed_memory()
    if ONE_DEVICE_PER_CORE in sys.argv:
        from seqjax.devices.mesh import one_device_per_core

        one_device_per_core()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    prepared = {}
    print(json.dumps(versions), file=answers, flush=True)
    for line in sys.stdin:
        if line not in prepared:
            prepared[line] = prepare(**json.loads(line))
        result, seconds = measure(prepared[line])
        print(json.dumps({"result": result, "seconds": seconds}), file=answers, flush=True)


def measure(function: Callable[[], Any]) -> tuple[Any, float]:
    """Calls a function again and again, as a program does, and gives its last result and the median seconds of a call.

    The first call does not count, for it may compile, and finds threads asleep, some of them on the same core.
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
    ask: Callable[..., dict[str, Any]]  # the result, and the seconds it takes


@contextlib.contextmanager
def peer(module: str, *args: str, python: str = sys.executable, env: dict[str, str] | None = None) -> Iterator[Peer]:
    """Runs a module that calls `serve`, which first does what the arguments say.

    KEEP_FREED_MEMORY calls `keep_freed_memory` of `seqjax.devices`, ONE_DEVICE_PER_CORE its `one_device_per_core`.
    Both only work if the module has not used JAX before it calls `serve`.

    Raises:
      RuntimeError: if the process ends before it answers.
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
            raise RuntimeError(f"{module} ended without an answer, with exit code {process.wait()}")
        return json.loads(line)

    def ask(**question) -> dict[str, Any]:
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        return answer()

    with process:
        yield Peer(answer(), ask)
