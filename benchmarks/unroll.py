"""How fast is a recurrent layer? LSTM, GRU and simple RNN, forward and with gradient, compared with other libraries.

    python -m benchmarks.unroll --out=unroll.md --chart=unroll.png

- seqjax: as its experiments run on a CPU, with one XLA device per core, under a plain `jit`. The batch is split over
  the devices if it divides evenly, and freed memory is kept for the next call.
- seqjax_one_device: on one device and with default memory handling, like the other JAX libraries.
- torch: torch.nn, on all cores.
- torch_memory_kept: the same, with freed memory kept as for seqjax.
- flax.linen, flax.nnx, haiku, equinox, keras: their own layers; for equinox, a cell under `scan` and `vmap`.

All read and return [B, T, features] in float32, from the libraries' own initial weights. `gru` applies the reset gate
before the product of the candidate (Cho et al. 2014), and `gru_reset_after` after it; most libraries have only one of
them. The simple RNN of haiku has a relu instead of a tanh; equinox has no simple RNN. The gradient is with respect to
weights and inputs, for given gradients of the outputs, and its time includes the forward pass.

Each library has its own process. In its turn it runs for a while, as a training program does, and the median of its
calls counts, without compilation. A ratio is the median over the rounds, so that a disturbance in one round affects
both sides of it.

Two more measurements take turns with the libraries. The first is the product of two large matrices. "share of matmul
rate" is the rate of the layer relative to this product, and counts only the operations of the layer's own matrix
products. The second, "matmuls alone", is these products on the devices of seqjax, step after step and with the weights
on the right; it shows their part of the layer's time. It is not a lower bound, because XLA computes some products
faster in other forms, which seqjax uses. The whole benchmark takes up to an hour.
"""

import contextlib
import importlib.util
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from absl import app, flags

from benchmarks import unroll_work
from benchmarks.peer import KEEP_FREED_MEMORY, ONE_DEVICE, ONE_DEVICE_PER_CORE, Peer, peer
from benchmarks.report import machine, table, versions
from benchmarks.turns import take_turns
from benchmarks.unroll_work import Sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = [
    Sizes(32, 128, 256, 256),
    Sizes(64, 100, 512, 512),
    Sizes(128, 50, 128, 128),
    Sizes(1, 256, 256, 256),
    Sizes(16, 1000, 128, 128),
    Sizes(8, 4000, 64, 64),
]
RANDOM_LENGTHS = Sizes(32, 128, 256, 256)
GROWTH = [Sizes(8, steps, 64, 64) for steps in (100, 300, 1000, 3000, 10_000)]
WORK = {False: "forward", True: "forward with gradient"}  # by whether the gradient is computed
PRODUCT, LAYER_PRODUCTS = "product", "layer_products"  # measured beside the libraries
Ask = Callable[..., dict[str, Any]]


class Library(NamedTuple):
    """How to run a library, and the cells it has."""

    package: str
    cells: tuple[str, ...]
    module: str = "benchmarks.unroll_jax"
    what: str | None = None  # the layer to ask for; by default, the name of the library
    args: tuple[str, ...] = ()  # arguments of its process


ALL = tuple(unroll_work.GATES)
RESET_AFTER = "lstm", "gru_reset_after", "simple_rnn"
TORCH = Library("torch", RESET_AFTER, module="benchmarks.unroll_torch")
LIBRARIES = {
    "seqjax": Library("seqjax", ALL, args=(KEEP_FREED_MEMORY, ONE_DEVICE_PER_CORE)),
    "seqjax_one_device": Library("seqjax", ALL, what="seqjax"),
    "torch": TORCH,
    "torch_memory_kept": TORCH._replace(what="torch", args=(KEEP_FREED_MEMORY,)),
    "flax.linen": Library("flax", RESET_AFTER),
    "flax.nnx": Library("flax", RESET_AFTER),
    "haiku": Library("haiku", ("lstm", "gru", "simple_rnn")),
    "equinox": Library("equinox", ("lstm", "gru_reset_after")),
    "keras": Library("keras", ALL),
}
PEERS = [name for name in LIBRARIES if name != "seqjax"]


class Measured(NamedTuple):
    """The results of the libraries at one point, by name."""

    told: dict[str, dict[str, Any]]  # "shape"; in JAX also "compile" (seconds), "bytes" and "devices"
    seconds: dict[str, np.ndarray]  # in each round

    def milliseconds(self, name: str) -> float:
        return 1e3 * float(np.median(self.seconds[name]))

    def ratio(self, name: str) -> float:
        """Returns the median ratio of a library's time to that of seqjax."""
        return float(np.median(self.seconds[name] / self.seconds["seqjax"]))


Table = dict[Sizes, Measured]


def measure(asks: dict[str, Ask], cell: str, sizes: Sizes, gradient: bool, repeats: int) -> Measured:
    """Measures all libraries that have the cell."""
    question = {"cell": cell, "sizes": sizes._asdict(), "gradient": gradient}
    chosen = {name: ask for name, ask in asks.items() if name not in LIBRARIES or cell in LIBRARIES[name].cells}
    return Measured(*take_turns({name: partial(ask, **question) for name, ask in chosen.items()}, repeats))


def product_rates(measured: Measured) -> np.ndarray:
    rows, columns = measured.told[PRODUCT]["shape"]
    return 2 * rows * rows * columns / measured.seconds[PRODUCT]  # of square matrices


def product_share(cell: str, sizes: Sizes, gradient: bool, measured: Measured) -> float:
    """Returns the rate of the layer's matrix products relative to that of one large product."""
    rates = unroll_work.flops(cell, sizes, gradient=gradient) / measured.seconds["seqjax"]
    return float(np.median(rates / product_rates(measured)))


def geometric_mean(ratios: list[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


def mean_ratio(points: Table, name: str) -> float | None:
    """Returns the geometric mean of a library's ratio over the points, or None if it does not have the cell."""
    ratios = [measured.ratio(name) for measured in points.values() if name in measured.seconds]
    return geometric_mean(ratios) if ratios else None


def report_times(cell: str, gradient: bool, points: Table, names: list[str]) -> str:
    """Writes the milliseconds of each library, and their ratio to those of seqjax."""
    peers = [name for name in names if name != "seqjax" and mean_ratio(points, name) is not None]
    header = ["B, T, I, H", "seqjax", "share of matmul rate", "compile time", "matmuls alone", *peers]
    compared = [LAYER_PRODUCTS, *peers]
    rows = []
    for sizes, measured in points.items():
        row = [", ".join(map(str, sizes)), f"{measured.milliseconds('seqjax'):.1f}"]
        row += [f"{product_share(cell, sizes, gradient, measured):.0%}", f"{measured.told['seqjax']['compile']:.1f} s"]
        rows.append(row + [f"{measured.milliseconds(name):.1f} ({measured.ratio(name):.2f})" for name in compared])
    rows.append(["geometric mean", "", "", "", *(f"{mean_ratio(points, name):.2f}" for name in compared)])
    return f"{cell}, {WORK[gradient]}, ms (and ratio to seqjax):\n\n" + table(header, rows)


def report_memory(cell: str, points: Table, names: list[str]) -> str:
    """Writes the megabytes that the compiled gradient needs for arguments, results and temporaries."""
    jax_names = [name for name in names if any("bytes" in each.told.get(name, {}) for each in points.values())]
    rows = []
    for sizes, measured in points.items():
        rows.append([", ".join(map(str, sizes)), *(f"{measured.told[name]['bytes'] / 1e6:.1f}" for name in jax_names)])
    title = f"{cell}, {WORK[True]}, MB of arguments, results and temporaries on all devices:"
    return f"{title}\n\n" + table(["B, T, I, H", *jax_names], rows)


def report_product(measured: dict[tuple[str, bool], Table]) -> str:
    """Writes the rate of one large matrix product, and how much it varied over the points."""
    rates = [product_rates(each) / 1e9 for points in measured.values() for each in points.values()]
    low, middle, high = np.percentile([np.median(each) for each in rates], [0, 50, 100])
    return f"One large matrix product: {middle:.0f} GFLOP/s, {low:.0f} to {high:.0f} over the points."


def report_random_lengths(measured: dict[bool, Measured]) -> str:
    """Writes the times of a bidirectional LSTM on sequences of random lengths."""
    sizes = RANDOM_LENGTHS
    peers = [name for name in measured[True].seconds if name != "seqjax"]
    rows = []
    for gradient, each in measured.items():
        times = [f"{each.milliseconds(name):.1f} ({each.ratio(name):.2f})" for name in peers]
        rows.append([WORK[gradient], f"{each.milliseconds('seqjax'):.1f}", *times])
    filled = unroll_work.random_lengths(sizes).sum() / (sizes.batch * sizes.steps)
    title = f"""Bidirectional LSTM of {unroll_work.LAYERS} layers, B, T, I, H = {", ".join(map(str, sizes))}, lengths
drawn from 1 to T, so {filled:.0%} of the steps are not padding; torch packs the sequences. ms (and ratio to seqjax):"""
    return f"{title}\n\n" + table(["", "seqjax", *peers], rows)


def growth(steps: list[int], times: list[float]) -> tuple[float, float, float]:
    """Fits `time = constant * steps^exponent`; returns the constant, exponent and largest relative deviation."""
    exponent, logarithm = np.polyfit(np.log(steps), np.log(times), 1)
    deviations = np.exp(logarithm) * np.array(steps) ** exponent / times - 1
    return float(np.exp(logarithm)), float(exponent), float(np.abs(deviations).max())


def report_growth(measured: dict[bool, list[Measured]]) -> str:
    """Reports how time grows with the steps: the exponent is 1 if linear, and less if a call has a fixed cost."""
    steps = [sizes.steps for sizes in GROWTH]
    rows, lines = [], []
    for gradient, each in measured.items():
        times = [one.milliseconds("seqjax") for one in each]
        rows.append([WORK[gradient], *(f"{time:.2f}" for time in times)])
        constant, exponent, deviation = growth(steps, times)
        lines.append(f"- {WORK[gradient]}: {1e3 * constant:.2f} us x T^{exponent:.3f}, off by {deviation:.0%} at most")
    batch, _, inputs, hidden = GROWTH[0]
    title = f"LSTM of seqjax over T steps with B, I, H = {batch}, {inputs}, {hidden}, ms:"
    return f"{title}\n\n{table(['T', *map(str, steps)], rows)}\n\nFit:\n\n" + "\n".join(lines)


def chart(measured: dict[tuple[str, bool], Table]) -> "Figure":
    """Draws the geometric mean of each library's ratio to seqjax, by cell: above 1, seqjax is faster."""
    from matplotlib.figure import Figure

    cells = list(dict.fromkeys(cell for cell, _ in measured))
    figure = Figure(figsize=(14, 7), layout="constrained")
    for axes, gradient in zip(figure.subplots(2, 1, sharex=True), WORK, strict=True):
        means = {name: [mean_ratio(measured[cell, gradient], name) for cell in cells] for name in PEERS}
        peers = [name for name in PEERS if any(means[name])]
        width = 0.8 / max(len(peers), 1)
        for number, name in enumerate(peers):
            heights = [np.nan if mean is None else mean for mean in means[name]]
            places = np.arange(len(cells)) + (number - (len(peers) - 1) / 2) * width
            bars = axes.bar(places, heights, width, label=name, color=f"C{PEERS.index(name)}")
            axes.bar_label(bars, ["" if mean is None else f"{mean:.2f}" for mean in means[name]], fontsize=8)
        axes.axhline(1, color="black", linewidth=1, label="seqjax")
        axes.set_title(WORK[gradient])
        axes.set_ylabel("time / time of seqjax")
        axes.set_xticks(range(len(cells)), cells)
        axes.margins(y=0.1)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def start(names: list[str], stack: contextlib.ExitStack, say: Callable[[str], None]) -> dict[str, Peer]:
    """Starts a process for each library that is installed."""
    peers = {}
    for name in names:
        library = LIBRARIES[name]
        if importlib.util.find_spec(library.package) is None:
            say(f"{name} is not in the tables, because it is not installed.")
            continue
        peers[name] = stack.enter_context(peer(library.module, *library.args, env=ONE_DEVICE))
    return peers


def run(
    cells: list[str], points: list[Sizes], peer_names: list[str], repeats: int, say: Callable[[str], None]
) -> dict[tuple[str, bool], Table]:
    """Measures the libraries at all points and reports the results."""
    measured = {(cell, gradient): {} for cell in cells for gradient in WORK}
    with contextlib.ExitStack() as stack:
        peers = start(["seqjax", *peer_names], stack, say)
        names = list(peers)
        asks = {name: partial(each.ask, what=LIBRARIES[name].what or name) for name, each in peers.items()}
        asks |= {what: partial(peers["seqjax"].ask, what=what) for what in (PRODUCT, LAYER_PRODUCTS)}
        say(f"{machine()}; {versions(peers.values())}; medians of {repeats} rounds.")
        for (cell, gradient), sizes in itertools.product(measured, points):
            each = measure(asks, cell, sizes, gradient, repeats)
            measured[cell, gradient][sizes] = each
            medians = {name: f"{each.milliseconds(name):.1f} ms" for name in each.seconds}
            print(f"{cell}, {WORK[gradient]}, {sizes}: {medians}", flush=True)
        say(report_product(measured))
        for cell in cells:
            for gradient in WORK:
                say(report_times(cell, gradient, measured[cell, gradient], names))
            say(report_memory(cell, measured[cell, True], names))
        if "lstm" in cells:
            packed = {
                name: partial(peers[name].ask, what=f"{LIBRARIES[name].package}_random_lengths")
                for name in ("seqjax", "torch", "torch_memory_kept")
                if name in peers
            }
            say(report_random_lengths({g: measure(packed, "lstm", RANDOM_LENGTHS, g, repeats) for g in WORK}))
            ours = {"seqjax": asks["seqjax"]}
            say(report_growth({g: [measure(ours, "lstm", each, g, repeats) for each in GROWTH] for g in WORK}))
    return measured


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    parts = []

    def say(text: str) -> None:
        parts.append(text)
        print(text, end="\n\n", flush=True)

    measured = run(args.cells, [POINTS[int(point)] for point in args.points], args.peers, args.repeats, say)
    if args.out:
        Path(args.out).write_text("\n\n".join(parts) + "\n")
    if args.chart:
        chart(measured).savefig(args.chart, dpi=100)


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags; not at import, because another benchmark may have flags of the same names."""
    names = {"cells": list(unroll_work.GATES), "points": [str(i) for i in range(len(POINTS))], "peers": PEERS}
    flags.DEFINE_list("cells", names["cells"], "Recurrent cells.", values)
    flags.DEFINE_list("points", names["points"], "Sizes, by their index in the tables, from 0.", values)
    flags.DEFINE_list("peers", names["peers"], "Libraries to compare with seqjax.", values)
    flags.DEFINE_integer("repeats", 7, "Number of rounds at each point.", lower_bound=1, flag_values=values)
    flags.DEFINE_string("out", None, "Markdown file for the report.", values)
    flags.DEFINE_string("chart", None, "PNG file for the chart of the mean ratios.", values)
    for name, known in names.items():
        message = f"expected names among {', '.join(known)}"
        flags.register_validator(name, set(known).issuperset, message, values)
    for name in "out", "chart":  # fails before the run, not after it
        flags.register_validator(name, in_a_folder, "expected a file in a folder that exists", values)


def in_a_folder(path: str | None) -> bool:
    return path is None or Path(path).absolute().parent.is_dir()


if __name__ == "__main__":
    define_flags()
    app.run(main)
