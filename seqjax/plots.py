"""Figures; matplotlib, the extra `plots`, is imported only where one is drawn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
