"""Figures of forecasts: fan charts, and how much each past step matters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.forecasting.scores import PERCENTILES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 4  # series or origins in one figure


class Fan(NamedTuple):
    """A forecast of `H` steps after `T` known values, of which some of the forecast values may be known too."""

    title: str
    times: np.ndarray  # [T + H]
    values: Float[np.ndarray, "T+H"]  # NaN where unknown
    quantiles: Float[np.ndarray, "H Q"]  # those of `PERCENTILES`


def fan_charts(fans: Sequence[Fan], ylabel: str = "y") -> "Figure":
    """Draws forecasts: the median, and the intervals that hold 50% and 90% of the probability."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    fans = fans[:SHOWN]
    figure = Figure(figsize=(8.0, 2.6 * len(fans) + 0.6), layout="constrained")
    of = dict(zip(PERCENTILES, range(len(PERCENTILES)), strict=True))
    for place, fan in enumerate(fans):
        axes = figure.add_subplot(len(fans), 1, place + 1)
        horizon = len(fan.quantiles)
        ahead = fan.times[-horizon:]
        for level, (low, high) in {90: (5, 95), 50: (25, 75)}.items():
            axes.fill_between(
                ahead, fan.quantiles[:, of[low]], fan.quantiles[:, of[high]],
                color="C0", alpha=0.2 if level == 90 else 0.35, linewidth=0, label=f"{level}% interval",
            )  # fmt: skip
        axes.plot(ahead, fan.quantiles[:, of[50]], color="C0", label="median forecast")
        axes.plot(fan.times, fan.values, color="black", linewidth=1, label="observed")
        axes.axvline(fan.times[-horizon - 1], color="grey", linestyle=":", linewidth=1)
        axes.set(title=fan.title, ylabel=ylabel, xlim=(fan.times[0], fan.times[-1]))
        axes.grid(alpha=0.3)
        if not np.issubdtype(fan.times.dtype, np.integer):
            locator = AutoDateLocator(maxticks=8)
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_xlabel("time")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    return figure


def influence(norms: Float[np.ndarray, " D"], of: str, unit: str) -> "Figure":
    """Draws how much the prediction changes with what was observed at each distance in the past, from 1 to `D` steps.

    It leaves out the distances beyond those that have 99% of the sum.

    Args:
      norms: absolute derivatives of the prediction.
      of: what was observed, such as values.
      unit: the unit of the distance.
    """
    from matplotlib.figure import Figure

    shown = max(12, int(np.searchsorted(np.cumsum(norms), 0.99 * norms.sum())) + 1)
    norms = norms[:shown]
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(np.arange(1, len(norms) + 1), norms)
    axes.set(
        xlabel=f"distance in the past ({unit})",
        ylabel="|d prediction / d observation|",
        title=f"Which past {of} matter for the prediction of the next step",
        xlim=(0.4, len(norms) + 0.6),
    )
    axes.grid(alpha=0.3, axis="y")
    return figure
