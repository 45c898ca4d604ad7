"""The progress bar of training: it shows when a step is being compiled, and its rate counts only the training steps."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments.harness.task import Batches


def progress_bar(batches: Batches, first_step: int) -> tqdm:
    """Makes the bar of a run that begins after `first_step`."""
    return tqdm(
        total=batches.steps * batches.units_per_step,
        initial=first_step * batches.units_per_step,
        unit=f" {batches.unit}s",
        unit_scale=True,
        mininterval=1.0,
        dynamic_ncols=True,
    )


@contextlib.contextmanager
def paused(bar: tqdm) -> Iterator[None]:
    """Excludes the duration of the block from the bar's rate and elapsed time."""
    start = time.time()
    yield
    seconds = time.time() - start
    bar.start_t += seconds
    bar.last_print_t += seconds


def compilation_notice(bar: tqdm) -> Callable[[Any], contextlib.AbstractContextManager[None]]:
    """Makes the context manager `notice(batch)` for a training step: it shows "compiling" if a shape is new."""
    seen: set[tuple[tuple[int, ...], ...]] = set()

    @contextlib.contextmanager
    def notice(batch: Any) -> Iterator[None]:
        shapes = tuple(map(np.shape, jax.tree.leaves(batch)))
        if shapes in seen:
            yield
            return
        seen.add(shapes)
        bar.set_postfix_str("compiling")
        with paused(bar):
            yield
        bar.set_postfix_str("")

    return notice


@contextlib.contextmanager
def compilations(name: str) -> Iterator[list[float]]:
    """Collects the duration in seconds of each compilation of the jitted function called `name`."""
    seconds: list[float] = []

    def note(event: str, duration: float, **what: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration" and what.get("fun_name") == f"jit({name})":
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
