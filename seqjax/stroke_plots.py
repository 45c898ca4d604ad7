"""Figures of drawings. matplotlib, the extra `plots`, is imported only when a figure is drawn.

A drawing is an array of points (x, y, end), where end is 1 for the last point of a stroke, and y points upward.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GIVEN, DRAWN = "0.6", "black"
DARKEST = 1e-4  # a density below this part of the largest one is white


class DensityMap(NamedTuple):
    """The density of the next point, after some points of a drawing."""

    known: Float[np.ndarray, "T 3"]  # the points before it
    following: Float[np.ndarray, " 2"]  # the point that follows in the data
    x: Float[np.ndarray, " X"]  # of the columns, equally spaced
    y: Float[np.ndarray, " Y"]  # of the rows
    density: Float[np.ndarray, "Y X"]
    title: str


def strokes_of(points: Float[np.ndarray, "T 3"]) -> list[Float[np.ndarray, "_ 2"]]:
    """Splits the points of a drawing into strokes.

    >>> [len(stroke) for stroke in strokes_of(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [5.0, 5.0, 0.0]]))]
    [2, 1]
    """
    ends = np.flatnonzero(points[:, 2]) + 1
    return [stroke for stroke in np.split(points[:, :2], ends) if len(stroke)]


def in_text(points: Float[np.ndarray, "T 3"], lines: int = 6) -> list[str]:
    """Draws a drawing in Braille characters, four dots high and two wide each, within a square.

    Args:
      points: the points of the drawing.
      lines: number of lines; each has twice as many characters.

    >>> in_text(np.array([[0.0, 0.0, 0.0], [3.0, 3.0, 1.0], [0.0, 3.0, 0.0], [3.0, 0.0, 1.0]]), lines=2)
    ['⠑⢄⡠⠊', '⡠⠊⠑⢄']
    """
    side = 4 * lines
    dots = np.zeros((side, side), bool)
    low, high = points[:, :2].min(axis=0, initial=np.inf), points[:, :2].max(axis=0, initial=-np.inf)
    scale = (side - 1) / max(*(high - low), 1e-6)
    for stroke in strokes_of(points):
        corners = (stroke - (low + high) / 2) * scale + (side - 1) / 2
        for start, end in zip(corners, [*corners[1:], corners[-1]], strict=True):
            across, up = np.linspace(start, end, side).round().astype(int).T
            dots[side - 1 - up, across] = True
    values = np.array([[1, 8], [2, 16], [4, 32], [64, 128]])  # of the dots of a character
    codes = np.einsum("lhcw,hw->lc", dots.reshape(lines, 4, 2 * lines, 2), values)
    return ["".join(chr(0x2800 + code) for code in line) for line in codes]


def drawing_sheet(
    groups: Mapping[str, Sequence[Float[np.ndarray, "_ 3"]]], *, title: str, given: int = 0, columns: int = 12
) -> "Figure":
    """Draws groups of drawings, one below another, all on the same scale.

    Args:
      groups: drawings by the heading of their group.
      title: title of the figure.
      given: number of points at the start of each drawing of the first group that the model was given, in gray.
      columns: number of drawings in a row.

    Returns:
      The figure; `figure.savefig("sheet.svg")` writes it as SVG.

    Raises:
      ValueError: if `groups` contains no drawings.

    >>> square = np.array([[0.0, 0.0, 0.0], [0.0, 9.0, 0.0], [9.0, 9.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> figure = drawing_sheet({"by the model": [square], "from the data": [square, square]}, title="squares")
    >>> [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    ['by the model', 'from the data']
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D

    every = [points[:, :2] for drawings in groups.values() for points in drawings if len(points)]
    if not every:
        raise ValueError("groups: expected at least one drawing, got none")
    low, high = np.concatenate(every).min(axis=0), np.concatenate(every).max(axis=0)
    margin = 0.06 * max(*(high - low), 1e-6)
    heights = [max(1, -(-len(drawings) // columns)) for drawings in groups.values()]
    size = (0.8 * columns, 0.8 * sum(heights) + 0.35 * len(groups) + 0.5)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0))
    figure.suptitle(title)
    grid = figure.add_gridspec(len(groups), 1, height_ratios=heights)
    for place, (heading, drawings) in enumerate(groups.items()):
        inner = grid[place].subgridspec(heights[place], columns)
        for number in range(heights[place] * columns):
            axes = figure.add_subplot(inner[number // columns, number % columns])
            axes.axis("off")
            axes.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin), aspect="equal")
            if number < len(drawings):
                _draw(axes, drawings[number], given if place == 0 else 0)
            if number == 0:
                axes.set_title(heading, loc="left", fontsize=10)
    if given:
        lines = [Line2D([], [], color=GIVEN), Line2D([], [], color=DRAWN)]
        figure.legend(lines, ["given", "drawn"], loc="outside lower center", ncols=2)
    return figure


def density_maps(maps: Sequence[DensityMap], *, title: str, unit: str) -> "Figure":
    """Draws where the next point may be, three maps in a row, each on a logarithmic scale of its own.

    Args:
      maps: the maps, all of the same drawing.
      title: title of the figure.
      unit: unit of x and y.

    Returns:
      The figure.

    Raises:
      ValueError: if `maps` is empty.

    >>> side = np.linspace(-1.0, 1.0, 5)
    >>> known = np.array([[0.0, 0.0, 0.0]])
    >>> figure = density_maps([DensityMap(known, side[:2], side, side, np.ones((5, 5)), "start")], title="", unit="mm")
    >>> figure.axes[0].get_xlabel()
    'x (mm)'
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    if not maps:
        raise ValueError("maps: expected at least one, got none")
    columns = min(3, len(maps))
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(3.1 * columns + 1.0, 3.1 * rows + 0.9), layout="constrained")
    figure.suptitle(title)
    grid = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for axes, (known, following, x, y, density, heading) in zip(grid, maps, strict=False):
        edges = (1.5 * x[0] - 0.5 * x[1], 1.5 * x[-1] - 0.5 * x[-2], 1.5 * y[0] - 0.5 * y[1], 1.5 * y[-1] - 0.5 * y[-2])
        largest = max(float(density.max()), float(np.finfo(np.float32).tiny))
        relative = np.where(density > DARKEST * largest, density / largest, np.nan)
        image = axes.imshow(relative, norm=LogNorm(DARKEST, 1), cmap="Oranges", extent=edges, origin="lower")
        _draw(axes, known, 0)
        axes.plot(*known[-1, :2], "o", color="black", markersize=5)
        axes.plot(*following, "x", color="C0", markersize=8, markeredgewidth=2)
        axes.set_title(heading, fontsize=10)
    for number, axes in enumerate(grid):
        axes.axis("on" if number < len(maps) else "off")
        axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})")
        axes.label_outer()
    figure.colorbar(
        image, ax=grid, label="density of the next point, as a part of the largest", format="%g", shrink=0.8
    )
    marks = [
        Line2D([], [], color="black", marker="o", markersize=5),
        Line2D([], [], color="C0", marker="x", markersize=8, markeredgewidth=2, linestyle=""),
    ]
    figure.legend(marks, ["known points, to the pen", "next point in the data"], loc="outside lower center", ncols=2)
    return figure


def stroke_saliency(
    points: Float[np.ndarray, "T 3"], norms: Float[np.ndarray, " S"], *, title: str, unit: str
) -> "Figure":
    """Draws how much the prediction of a point of a drawing depends on each of the `S` points before it.

    On the left, the area of a circle grows with the norm. On the right are the norms over time, on a logarithmic scale.

    Args:
      points: the points of the drawing; the predicted one follows the first `S`.
      norms: norm of the gradient of the log-density of the predicted point with respect to each earlier point.
      title: title of the figure.
      unit: unit of x and y.

    Returns:
      The figure.

    Raises:
      ValueError: if no earlier point or no later point is passed.

    >>> points = np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 1.0], [5.0, 5.0, 1.0]])
    >>> figure = stroke_saliency(points, np.array([0.1, 0.2]), title="", unit="mm")
    >>> figure.axes[1].get_ylabel()
    'norm of the gradient (nats per mm)'
    """
    from matplotlib.figure import Figure

    count = len(norms)
    if not 0 < count < len(points):
        raise ValueError(f"norms: expected at least one and fewer than the {len(points)} points, got {count}")
    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    figure.suptitle(title)
    shape, time = figure.subplots(1, 2, width_ratios=(1, 1.5))
    known, predicted = points[:count], points[count]
    _draw(shape, known, count)
    areas = 250 * norms / max(float(norms.max()), float(np.finfo(np.float32).tiny))
    shape.scatter(*known[:, :2].T, s=areas, color="C3", alpha=0.6, linewidth=0, label="known point; area: the norm")
    shape.plot(*predicted[:2], "x", color="C0", markersize=9, markeredgewidth=2, label="predicted point")
    shape.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", aspect="equal")
    time.semilogy(np.arange(1, count + 1), np.where(norms > 0, norms, np.nan), "o-", color="C3", markersize=3)
    for number, end in enumerate(np.flatnonzero(known[:, 2]) + 1.5):
        time.axvline(end, color=GIVEN, linestyle=":", label=None if number else "end of a stroke")
    time.axvline(count + 1, color="C0")
    time.set(xlabel="number of the point", ylabel=f"norm of the gradient (nats per {unit})")
    time.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _draw(axes: "Axes", points: Float[np.ndarray, "T 3"], given: int) -> None:
    """Draws the strokes of a drawing, the first `given` points in gray; a single point is a dot."""
    is_given: Bool[np.ndarray, " T"] = np.arange(len(points)) < given
    for colour, chosen in ((GIVEN, is_given), (DRAWN, ~is_given)):
        for stroke in strokes_of(points[chosen]):
            dot = "." if len(stroke) == 1 else None
            axes.plot(*stroke.T, color=colour, linewidth=1.3, marker=dot, markersize=2, solid_capstyle="round")
