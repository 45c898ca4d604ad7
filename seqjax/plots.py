"""Figures. matplotlib, the extra `plots`, is imported only when a figure is drawn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class AttentionMap(NamedTuple):
    """Attention weights of a decoder: a row over `S` source symbols for each of `T` target symbols."""

    weights: Float[np.ndarray, "T S"]
    source: Sequence[str]
    target: Sequence[str]


class SaliencyMap(NamedTuple):
    """How much each of `T` symbols supports the class of their sequence; negative weights are evidence against it."""

    weights: Float[np.ndarray, " T"]
    symbols: Sequence[str]
    title: str


def learning_curve(curves: Mapping[str, Sequence[tuple[int, float]]], ylabel: str) -> "Figure":
    """Draws a metric over the steps of training, one line for each part of the data.

    Args:
      curves: pairs of a step and the metric's value for each part of the data, by its name in the legend.
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
        sparse = len(points) < 50  # markers show where the points are
        axes.plot(steps, values, label=name, marker="o" if sparse else None, linewidth=2 if sparse else 1)
    axes.set(xlabel="step", ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def attention_maps(maps: Sequence[AttentionMap], *, xlabel: str, ylabel: str, longest: int = 24) -> "Figure":
    """Draws heat maps of attention weights, up to three side by side, on one scale from 0 (white) to 1.

    Args:
      maps: the maps to draw.
      xlabel: name of a source symbol.
      ylabel: name of a target symbol.
      longest: number of source and target symbols that are drawn of a longer sequence.

    Returns:
      The figure.

    Raises:
      ValueError: if there is no map, or the weights of a map are not `T` by `S`.

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
    drawn = min(longest, max(max(weights.shape) for weights, _, _ in maps))
    size = max(3.2, 0.26 * drawn)  # of a map in inches, so that labels do not overlap
    figure = Figure(figsize=(size * columns, size * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (weights, source, target) in zip(grid, maps, strict=False):
        image = axes.imshow(weights[:longest, :longest], vmin=0, vmax=1, cmap="Blues", aspect="auto")
        columns_drawn, rows_drawn = source[:longest], target[:longest]
        upright = max(map(len, columns_drawn), default=0) > 2
        axes.set_xticks(range(len(columns_drawn)), columns_drawn, rotation=90 if upright else 0)
        axes.set_yticks(range(len(rows_drawn)), rows_drawn)
        axes.set(xlabel=_of_many(xlabel, source, longest), ylabel=_of_many(ylabel, target, longest))
    for axes in grid[len(maps) :]:
        axes.axis("off")
    figure.colorbar(image, ax=figure.axes, label="attention weight", shrink=0.6)
    return figure


def _of_many(label: str, symbols: Sequence[str], longest: int) -> str:
    """Adds to an axis label that not all symbols are drawn."""
    return label if len(symbols) <= longest else f"{label} (the first {longest} of {len(symbols)})"


def saliency_maps(maps: Sequence[SaliencyMap], *, label: str) -> "Figure":
    """Writes sequences one below another, with symbols for a class in blue and symbols against it in red.

    Each sequence is scaled by its largest absolute weight and wrapped at 80 characters.

    Args:
      maps: the sequences to draw.
      label: label of the colour bar, which names the class that positive weights support.

    Returns:
      The figure.

    Raises:
      ValueError: if there is no map, or a map has a different number of weights and symbols.

    >>> figure = saliency_maps([SaliencyMap(np.array([0.1, 2.0]), ["so", "good"], "positive")], label="for the class")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['positive', 'so', 'good']
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    if not maps:
        raise ValueError("maps: expected at least one, got none")
    for number, (weights, symbols, _) in enumerate(maps):
        if len(weights) != len(symbols):
            raise ValueError(f"maps[{number}].weights: expected {len(symbols)}, one per symbol, got {len(weights)}")
    light = ListedColormap(colormaps["RdBu"](np.linspace(0.15, 0.85, 256)))  # light enough for black text
    colours = ScalarMappable(Normalize(-1, 1), cmap=light)
    texts, boxes, line = [], [], 0
    for weights, symbols, title in maps:
        gap = 0 if all(len(symbol) == 1 for symbol in symbols) else 1
        texts.append((0, line, title, {"weight": "bold"}))
        line, column = line + 1, 0
        for symbol, weight in zip(symbols, weights / max(np.abs(weights).max(initial=0), 1e-30), strict=True):
            if column + len(symbol) > 80:
                line, column = line + 1, 0
            texts.append((column, line, symbol, {"family": "monospace"}))
            boxes.append(Rectangle((column, line - 0.4), len(symbol), 0.8, color=colours.to_rgba(weight), linewidth=0))
            column += len(symbol) + gap
        line += 2
    size = 9.0  # of the font in points
    figure = Figure(figsize=(80 * 0.602 * size / 72 + 1.6, line * 1.7 * size / 72), layout="constrained")
    axes = figure.add_subplot(xlim=(0, 80), ylim=(line - 1, -1))
    axes.axis("off")
    for box in boxes:
        axes.add_patch(box)
    for x, y, text, font in texts:
        axes.text(x, y, text, font, va="center", size=size, parse_math=False)
    bar = figure.colorbar(colours, ax=axes, label=label, shrink=0.6, ticks=[-1, 0, 1])
    bar.set_ticklabels(["most against", "neutral", "most for"])
    return figure


def confusion_matrix(
    counts: Integer[np.ndarray, "N M"], right: Sequence[str], predicted: Sequence[str], *, unit: str = "words"
) -> "Figure":
    """Draws the percentage of examples of each true class, one per row, that were predicted as each class.

    The colour scale is logarithmic from 0.1%, so that rare mistakes stay visible beside correct predictions.

    Args:
      counts: number of examples of each of `N` true classes predicted as each of `M`, in the order of the names.
      right: names of the rows, the true classes.
      predicted: names of the columns, the predicted classes.
      unit: name of the counted examples.

    Returns:
      The figure.

    Raises:
      ValueError: if the counts are not `N` by `M`.

    >>> figure = confusion_matrix(np.array([[9, 1], [0, 5]]), ["noun", "verb"], ["noun", "verb"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['90', '10', '100']
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    if counts.shape != (len(right), len(predicted)):
        raise ValueError(f"counts: expected shape {(len(right), len(predicted))}, got {counts.shape}")
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(2.2 + 0.42 * len(predicted), 1.6 + 0.36 * len(right)), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(np.maximum(percent, 0.1), norm=LogNorm(0.1, 100), cmap="Blues", aspect="auto")
    for row, column in zip(*np.nonzero(percent >= 0.5), strict=True):
        color = "white" if percent[row, column] > 10 else "black"
        axes.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(predicted)), predicted, rotation=90)
    axes.set_yticks(range(len(right)), [f"{name} ({n:,})" for name, n in zip(right, counts.sum(axis=1), strict=True)])
    axes.set(xlabel="predicted", ylabel=f"true class (number of {unit})")
    figure.colorbar(image, ax=axes, label=f"% of the {unit} in the row", format="%g")
    return figure


def gradient_flow(log_norms: Mapping[str, Float[np.ndarray, "_"]]) -> "Figure":
    """Draws the norm of d s_T / d s_t over the distance T - t, in powers of ten: where gradients vanish or explode.

    Args:
      log_norms: natural logarithms of norms for each line, by its name in the legend, as returned by
        `seqjax.recurrence.diagnostics.log_jacobian_norms`. A line ends at -inf, where the gradient is zero.

    Returns:
      The figure; its vertical axis covers at most 1e-15 to 1e15.

    >>> figure = gradient_flow({"explodes": np.log(10.0) * np.arange(4)})
    >>> figure.axes[0].lines[0].get_ydata()
    array([0., 1., 2., 3.])
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8.0, 4.0), layout="constrained")
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
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))  # outside, because inside it would hide one of the words
    return figure


def contribution_map(norms: Float[np.ndarray, "T T"]) -> "Figure":
    """Draws a heat map of the contribution of the weights used at step k to the gradient of the loss at step t.

    Args:
      norms: norms of the terms that `gradient_contributions` returns, one row for each t. The scale is logarithmic,
        down to a millionth of the largest.

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
    axes.set(xlabel="step k, where the weights were used", ylabel="step t of the loss")
    figure.colorbar(image, ax=axes, label="norm of the contribution")
    return figure


def gate_saturation(shares: Mapping[str, tuple[Float[np.ndarray, " H"], Float[np.ndarray, " H"]]]) -> "Figure":
    """Draws the units of each gate by how often they are shut and how often they are open.

    Karpathy, Johnson and Fei-Fei (2015), figure 3: units at the lower left are mostly in between. Units with the
    same shares, rounded to 0.02, form one circle. Its area grows with their number, which is printed from
    10 on.

    Args:
      shares: the low and high shares of each gate that `saturation` returns, by the gate's name.

    >>> figure = gate_saturation({"forget gate": (np.array([0.1, 0.0]), np.array([0.2, 0.9]))})
    >>> figure.axes[0].collections[0].get_offsets().tolist()
    [[0.2, 0.1], [0.9, 0.0]]
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(3.2 * len(shares), 5.0), 3.8), layout="constrained")
    for axes, (name, (low, high)) in zip(
        figure.subplots(1, len(shares), squeeze=False).flat, shares.items(), strict=True
    ):
        cells, counts = np.unique(np.round(np.stack([high, low], axis=-1) * 50), axis=0, return_counts=True)
        points = cells / 50
        axes.scatter(*points.T, s=1000 * counts / counts.sum() + 5, alpha=0.5)
        for point, count in zip(points, counts, strict=True):
            if count >= 10:
                axes.text(*point, f"{count}", horizontalalignment="center", verticalalignment="center")
        (line,) = axes.plot([0, 1], [1, 0], color="black", linewidth=0.8, linestyle=":")  # no unit can lie above it
        axes.set(title=name, xlabel="share of steps open", ylabel="share of steps shut", aspect="equal")
        axes.set(xlim=(-0.15, 1.15), ylim=(-0.15, 1.15))
    (circle,) = axes.plot([], [], "o", color="C0", alpha=0.5)
    names = ["units; the area is their number", "always open or shut"]
    figure.legend([circle, line], names, loc="outside lower center", ncols=2)
    return figure
