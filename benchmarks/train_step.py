"""How fast is a whole training step? A character model: forward, gradient, clipping, Adam, beside torch and flax.

    python -m benchmarks.train_step --out=train_step.md

An LSTM of 512 reads 32 streams of 128 characters, one-hot, 80 kinds of them, and carries its state on. seqjax shares
the batch among one XLA device for each core and keeps freed memory, as its experiments do, and guards against gradients
that are not finite; torch is measured with freed memory kept as well. Each library has a process of its own;
compilation is not in the times; they take turns, in which each trains for a while, and a ratio is the median over the
rounds.
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

LIBRARIES = {  # by name: the package, the module and its arguments
    "seqjax": ("seqjax", ["benchmarks.train_step_jax", KEEP_FREED_MEMORY, ONE_DEVICE_PER_CORE]),
    "torch": ("torch", ["benchmarks.train_step_torch"]),
    "torch_memory_kept": ("torch", ["benchmarks.train_step_torch", KEEP_FREED_MEMORY]),
    "flax.linen": ("flax", ["benchmarks.train_step_jax"]),
}


def report(sizes: Sizes, seconds: dict[str, np.ndarray]) -> str:
    """Writes what a step takes, and how often that of seqjax is in it."""
    rows = []
    for name, each in seconds.items():
        ratio = np.median(each / seconds["seqjax"])
        speed = sizes.batch * sizes.steps / np.median(each)
        rows.append([name, f"{1e3 * np.median(each):.1f}", f"{speed:,.0f}", f"{ratio:.2f}"])
    title = f"A training step of a character model, B, T, V, H = {', '.join(map(str, sizes))}:"
    return f"{title}\n\n" + table(["", "ms", "characters a second", "in times of seqjax"], rows)


def run(sizes: Sizes, repeats: int, say: Callable[[str], None]) -> None:
    """Measures the libraries that are installed and says what is found."""
    with contextlib.ExitStack() as stack:
        peers = {}
        for name, (package, command) in LIBRARIES.items():
            if importlib.util.find_spec(package) is None:
                say(f"{name} is not in the table, for it is not installed.")
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
    flags.DEFINE_integer("repeats", 15, "Rounds.", lower_bound=1)
    flags.DEFINE_string("out", None, "A Markdown file to write what is printed to.")
    app.run(main)
