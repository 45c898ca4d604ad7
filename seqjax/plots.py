"""Figures; matplotlib, the extra `plots`, is imported only where one is drawn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class AttentionMap(NamedTuple):
    """What a decoder looked at: a row of weights over `S` source symbols for each of `T` target symbols."""

    weights: Float[np.ndarray, "T S"]
    source: Sequence[str]
    target: Sequence[str]


def learning_curve(curves: Mapping[str, Sequence[tuple[int, float]]], ylabel: str) -> "Figure":
    """Draws a metric over the steps of training, one line for each part of the data.

    Args:
      curves: for each part, by the name that the legend gives it, pairs of a step and the metric's value.
      ylabel: name and unit of the metric.

    Returns:
      The figure; `figure.savefig(path)` writes it.

    >>> figure = learning_curve({"train": [(1, 4.0), (2, 3.0)], "validation": [(2, 3.5)]}, "bits per character")
    >>> figure.axes[0].get_ylabel()
    'bits per character'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for name, points in curves.items():
        steps, values = zip(*points, strict=True)
        sparse = len(points) < 50  # so few that a line alone would hide where they are
        axes.plot(steps, values, label=name, marker="o" if sparse else None, linewidth=2 if sparse else 1)
    axes.set(xlabel="step", ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def attention_maps(maps: Sequence[AttentionMap], *, xlabel: str, ylabel: str) -> "Figure":
    """Draws heat-maps of attention weights, three side by side, on one scale from 0, white, to 1.

    Args:
      maps: what to draw.
      xlabel: what a source symbol is.
      ylabel: what a target symbol is.

    Returns:
      The figure.

    Raises:
      ValueError: if there is no map, or the weights of one are not `T` by `S`.

    >>> figure = attention_maps([AttentionMap(np.eye(2), "ab", "AB")], xlabel="letter", ylabel="capital")
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['a', 'b']
    """
    from matplotlib.figure import Figure

    if not maps:
        raise ValueError("maps: expected at least one, got none")
    for number, (weights, source, target) in enumerate(maps):
        if weights.shape != (len(target), len(source)):
            expected = (len(target), len(source))
            raise ValueError(f"maps[{number}].weights: expected shape {expected}, got {weights.shape}")
    columns = min(3, len(maps))
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (weights, source, target) in zip(grid, maps, strict=False):
        image = axes.imshow(weights, vmin=0, vmax=1, cmap="Blues", aspect="auto")
        axes.set_xticks(range(len(source)), source)
        axes.set_yticks(range(len(target)), target)
        axes.set(xlabel=xlabel, ylabel=ylabel)
    for axes in grid[len(maps) :]:
        axes.axis("off")
    figure.colorbar(image, ax=figure.axes, label="attention weight", shrink=0.6)
    return figure


def gradient_flow(log_norms: Mapping[str, Float[np.ndarray, "_"]]) -> "Figure":
    """Draws the norm of d s_T / d s_t over the distance T - t, in powers of ten: what vanishes, what explodes.

    Args:
      log_norms: for each line, by the name that the legend gives it, natural logarithms of norms, as
        `seqjax.diagnostics.log_jacobian_norms` gives them. A line ends where nothing arrives, at -inf.

    Returns:
      The figure, from 1e-15 to 1e15 at most.

    >>> figure = gradient_flow({"explodes": np.log(10.0) * np.arange(4)})
    >>> figure.axes[0].lines[0].get_ydata()
    array([0., 1., 2., 3.])
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in log_norms.items():
        axes.plot(np.arange(len(curve)), curve / np.log(10.0), label=name)
    axes.margins(y=0)
    low, high = axes.get_ylim()
    axes.set_ylim(max(min(low, -3), -15), min(max(high, 3), 15))
    axes.axhline(0, color="black", linewidth=0.8, linestyle=":")
    for height, words, vertical in ((0.98, "explodes", "top"), (0.02, "vanishes", "bottom")):
        axes.text(0.01, height, words, transform=axes.transAxes, verticalalignment=vertical, color="gray")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(lambda power, _: f"$10^{{{power:.0f}}}$")
    axes.set(xlabel="distance T - t, in steps", ylabel=r"norm of $\partial s_T\,/\,\partial s_t$")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def contribution_map(norms: Float[np.ndarray, "T T"]) -> "Figure":
    """Draws a heat-map of what the weights, as used at step k, contribute to the gradient of the loss of step t.

    Args:
      norms: of the terms that `seqjax.diagnostics.gradient_contributions` gives, a row for each t. Drawn on a scale of
        powers of ten, down to a millionth of the largest.

    >>> figure = contribution_map(np.tril(np.ones((3, 3))))
    >>> figure.axes[0].get_xlabel()
    'step k, where the weights were used'
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.0), layout="constrained")
    axes = figure.add_subplot()
    largest = norms.max(initial=np.finfo(norms.dtype).tiny)
    scale = LogNorm(largest / 1e6, largest, clip=True)
    image = axes.imshow(np.where(norms > 0, norms, np.nan), norm=scale, cmap="Blues")
    axes.set(xlabel="step k, where the weights were used", ylabel="step t, whose loss it is")
    figure.colorbar(image, ax=axes, label="norm of the contribution")
    return figure


def gate_saturation(shares: Mapping[str, tuple[Float[np.ndarray, " H"], Float[np.ndarray, " H"]]]) -> "Figure":
    """Draws each unit of each gate by how often it is shut and how often it is open.

    Karpathy, Johnson and Fei-Fei (2015), figure 3: at the lower left are the units that are mostly in between.

    Args:
      shares: for each gate, by its name, the low and the high shares that `seqjax.diagnostics.saturation` gives.

    >>> figure = gate_saturation({"forget gate": (np.array([0.1, 0.0]), np.array([0.2, 0.9]))})
    >>> figure.axes[0].collections[0].get_offsets().tolist()
    [[0.2, 0.1], [0.9, 0.0]]
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(shares), 3.4), layout="constrained")
    for axes, (name, (low, high)) in zip(
        figure.subplots(1, len(shares), squeeze=False).flat, shares.items(), strict=True
    ):
        axes.scatter(high, low, s=12, alpha=0.5)
        axes.plot([0, 1], [1, 0], color="black", linewidth=0.8, linestyle=":")  # no unit can be beyond
        axes.set(title=name, xlabel="share of steps open", ylabel="share of steps shut", aspect="equal")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    return figure
