"""How fast is a whole training step? A character model with clipping and Adam, compared with torch and flax.

    python -m benchmarks.train_step --out=train_step.md

An LSTM with 512 units reads 32 streams of 128 one-hot characters from a vocabulary of 80, and each step continues from
the carry of the step before. A step is the forward pass, the gradient, clipping and Adam. As in its experiments, seqjax
splits the batch over one XLA device per core, keeps freed memory, and guards against gradients that are not finite.
torch is measured both with and without freed memory kept.

Each library has its own process. The libraries take turns, in which each trains for a while. Times exclude compilation,
and a ratio is the median over the rounds.
"""

import contextlib
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.peer import KEEP_FREED_MEMORY, ONE_DEVICE, ONE_DEVICE_PER_CORE, peer
from benchmarks.report import machine, table, versions
from benchmarks.train_step_work import Sizes
from benchmarks.turns import take_turns

LIBRARIES = {  # name: package, module and its arguments
    "seqjax": ("seqjax", ["benchmarks.train_step_jax", KEEP_FREED_MEMORY, ONE_DEVICE_PER_CORE]),
    "torch": ("torch", ["benchmarks.train_step_torch"]),
    "torch_memory_kept": ("torch", ["benchmarks.train_step_torch", KEEP_FREED_MEMORY]),
    "flax.linen": ("flax", ["benchmarks.train_step_jax"]),
}


def report(sizes: Sizes, seconds: dict[str, np.ndarray]) -> str:
    """Writes the time of a step of each library, and its ratio to that of seqjax."""
    rows = []
    for name, each in seconds.items():
        ratio = np.median(each / seconds["seqjax"])
        speed = sizes.batch * sizes.steps / np.median(each)
        rows.append([name, f"{1e3 * np.median(each):.1f}", f"{speed:,.0f}", f"{ratio:.2f}"])
    title = f"A training step of a character model, B, T, V, H = {', '.join(map(str, sizes))}:"
    return f"{title}\n\n" + table(["", "ms", "characters per second", "time / time of seqjax"], rows)


def run(sizes: Sizes, repeats: int, say: Callable[[str], None]) -> None:
    """Measures the installed libraries and reports the results."""
    with contextlib.ExitStack() as stack:
        peers = {}
        for name, (package, command) in LIBRARIES.items():
            if importlib.util.find_spec(package) is None:
                say(f"{name} is not in the table, because it is not installed.")
                continue
            peers[name] = stack.enter_context(peer(*command, env=ONE_DEVICE))
        say(f"{machine()}; {versions(peers.values())}; medians of {repeats} rounds.")
        question = {"sizes": sizes._asdict()}
        measured = take_turns({n: partial(p.ask, what=n, **question) for n, p in peers.items()}, repeats)
        say(report(sizes, measured.seconds))


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    parts = []

    def say(text: str) -> None:
        parts.append(text)
        print(text, end="\n\n", flush=True)

    run(Sizes(), args.repeats, say)
    if args.out:
        Path(args.out).write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    flags.DEFINE_integer("repeats", 15, "Number of rounds.", lower_bound=1)
    flags.DEFINE_string("out", None, "Markdown file for the report.")
    app.run(main)
