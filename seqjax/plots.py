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
    longest = max(max(weights.shape) for weights, _, _ in maps)
    size = max(3.2, 0.16 * longest)  # of a map, in inches, so that labels stand apart
    figure = Figure(figsize=(size * columns, size * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (weights, source, target) in zip(grid, maps, strict=False):
        image = axes.imshow(weights, vmin=0, vmax=1, cmap="Blues", aspect="auto")
        axes.set_xticks(range(len(source)), source, rotation=90 if max(map(len, source), default=0) > 2 else 0)
        axes.set_yticks(range(len(target)), target)
        axes.set(xlabel=xlabel, ylabel=ylabel)
    for axes in grid[len(maps) :]:
        axes.axis("off")
    figure.colorbar(image, ax=figure.axes, label="attention weight", shrink=0.6)
    return figure
