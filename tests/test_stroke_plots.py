"""Figures of drawings: what is drawn, where, in which unit, and that other libraries can read the files."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from seqjax.stroke_plots import DensityMap, density_maps, drawing_sheet, in_text, stroke_saliency, strokes_of

pytest.importorskip("matplotlib")

HOOK = np.array([[0, 0, 0], [0, 10, 0], [20, 10, 1], [5, 5, 1], [30, 0, 0], [30, 30, 1]], float)


def lines(axes):
    return [line.get_xydata().tolist() for line in axes.lines]


def test_strokes_are_cut_after_their_ends():
    assert [stroke.tolist() for stroke in strokes_of(HOOK)] == [
        [[0, 0], [0, 10], [20, 10]],
        [[5, 5]],
        [[30, 0], [30, 30]],
    ]
    assert not strokes_of(HOOK[:0])


def test_text_has_dots_where_the_strokes_are():
    corner = np.array([[0.0, 10.0, 0.0], [0.0, 0.0, 0.0], [10.0, 0.0, 1.0]])  # down, then to the right
    assert in_text(corner, lines=2) == ["⡇⠀⠀⠀", "⣇⣀⣀⣀"]
    assert in_text(np.array([[5.0, 5.0, 1.0]]), lines=1) in (["⠠⠀"], ["⠀⠂"], ["⠀⠄"], ["⠐⠀"])
    assert in_text(np.zeros((0, 3)), lines=1) == ["⠀⠀"]


def test_a_sheet_draws_every_stroke_on_one_scale(tmp_path):
    groups = {"drawn": [HOOK] * 3, "real": [HOOK / 2]}
    figure = drawing_sheet(groups, title="hooks", given=4, columns=2)
    drawn = [axes for axes in figure.axes if axes.lines]
    assert len(drawn) == 4 and figure.get_suptitle() == "hooks"
    assert [axes.get_title(loc="left") for axes in drawn] == ["drawn", "", "", "real"]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}) == 1
    assert lines(drawn[0]) == [stroke.tolist() for stroke in strokes_of(HOOK)]
    assert lines(drawn[3]) == [(stroke / 2).tolist() for stroke in strokes_of(HOOK)]
    colours = [[line.get_color() for line in axes.lines] for axes in (drawn[0], drawn[3])]
    assert (
        colours[0][0] == colours[0][1] != colours[0][2] and len(set(colours[1])) == 1
    )  # only the first group is given
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["given", "drawn"]
    figure.savefig(tmp_path / "sheet.svg")
    root = ElementTree.parse(tmp_path / "sheet.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    paths = [path.get("d") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    assert sum(d.count("L") == 2 for d in paths if d) >= 4  # the first stroke of each drawing has three points


def test_a_sheet_needs_a_drawing():
    with pytest.raises(ValueError, match="^groups: expected at least one drawing, got none"):
        drawing_sheet({"drawn": []}, title="")


def test_a_density_map_is_drawn_where_it_is():
    x, y = np.linspace(0, 40, 5), np.linspace(-20, 20, 3)
    density = np.array([[0.0, 1e-9, 1, 1, 1], [1, 1, 4, 1, 1], [1, 1, 1, 1, 1]])
    maps = [DensityMap(HOOK[:t], HOOK[t, :2], x, y, density, f"after {t}") for t in (1, 3, 4, 5)]
    figure = density_maps(maps, title="hook", unit="mm")
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn] == ["after 1", "after 3", "after 4", "after 5"]
    image = drawn[1].images[0]
    assert image.get_extent() == [-5, 45, -30, 30] and image.origin == "lower"
    np.testing.assert_allclose(image.get_array().filled(np.nan)[0], [np.nan, np.nan, 0.25, 0.25, 0.25])
    assert image.get_clim() == (1e-4, 1)
    known, pen, following = lines(drawn[1])
    assert (known, pen, following) == (HOOK[:3, :2].tolist(), [[20, 10]], [[5, 5]])
    assert drawn[3].get_xlabel() == "x (mm)" and drawn[0].get_ylabel() == "y (mm)"
    assert figure.axes[-1].get_ylabel() == "density of the next point, as a part of the largest"
    with pytest.raises(ValueError, match="^maps: expected at least one"):
        density_maps([], title="", unit="")


def test_saliency_is_drawn_in_space_and_time():
    norms = np.array([0.0, 0.1, 0.4, 0.2])
    figure = stroke_saliency(HOOK, norms, title="hook", unit="mm")
    shape, time = figure.axes
    [circles] = shape.collections
    np.testing.assert_array_equal(circles.get_offsets(), HOOK[:4, :2])
    np.testing.assert_allclose(circles.get_sizes() / circles.get_sizes().max(), norms / 0.4)
    assert [30.0, 0.0] in [line.get_xydata().tolist()[0] for line in shape.lines]  # the predicted point
    assert time.lines[0].get_xdata().tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(time.lines[0].get_ydata(), [np.nan, 0.1, 0.4, 0.2])
    assert [line.get_xdata()[0] for line in time.lines[1:]] == [3.5, 4.5, 5]  # two ends of strokes, the point
    assert time.get_ylabel() == "norm of the gradient (nats per mm)" and time.get_yscale() == "log"
    figure.canvas.draw()
    for wrong in (np.zeros(0), np.zeros(6)):
        with pytest.raises(ValueError, match="^norms: expected at least one and fewer than the 6 points, got"):
            stroke_saliency(HOOK, wrong, title="", unit="")
