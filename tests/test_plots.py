"""Figures: what is drawn, where, and what it is called."""

import numpy as np
import pytest

from seqjax.plots import (
    AttentionMap,
    attention_maps,
    contribution_map,
    gate_saturation,
    gradient_flow,
    learning_curve,
)

pytest.importorskip("matplotlib")


def texts(labels):
    return [label.get_text() for label in labels]


def test_learning_curve_draws_every_part():
    figure = learning_curve({"train": [(1, 4.0), (2, 3.0)], "validation": [(2, 3.5)]}, "bits per character")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "bits per character")
    assert texts(axes.get_legend().get_texts()) == ["train", "validation"]
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 4], [2, 3]], [[2, 3.5]]]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_attention_maps_put_the_source_across_and_the_target_down(count):
    rng = np.random.default_rng(0)
    maps = [AttentionMap(rng.random((3, 2 + n)), "abcdef"[: 2 + n], ["A", "B", f"end {n}"]) for n in range(count)]
    figure = attention_maps(maps, xlabel="letter", ylabel="phoneme")
    drawn = [axes for axes in figure.axes if axes.images]
    for axes, (weights, source, target) in zip(drawn, maps, strict=True):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("letter", "phoneme")
        assert texts(axes.get_xticklabels()) == list(source) and axes.get_xticks().tolist() == [*range(len(source))]
        assert texts(axes.get_yticklabels()) == list(target) and axes.get_yticks().tolist() == [*range(len(target))]
        np.testing.assert_array_equal(axes.images[0].get_array(), weights)
        assert axes.images[0].get_clim() == (0, 1)  # one scale for all
        assert axes.yaxis_inverted()  # the first target symbol on top
    *grid, colorbar = figure.axes
    assert colorbar.get_ylabel() == "attention weight"
    assert all(axes.images or not axes.axison for axes in grid)  # nothing where there is no map
    figure.canvas.draw()


def test_attention_maps_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="^maps: expected at least one, got none"):
        attention_maps([], xlabel="", ylabel="")
    good, bad = AttentionMap(np.zeros((2, 3)), "abc", "AB"), AttentionMap(np.zeros((3, 2)), "abc", "AB")
    with pytest.raises(ValueError, match=r"^maps\[1\].weights: expected shape \(2, 3\), got \(3, 2\)"):
        attention_maps([good, bad], xlabel="", ylabel="")


def test_gradient_flow_draws_powers_of_ten_and_stays_readable():
    curves = {"explodes": np.log(2.0) * np.arange(401), "dies": np.array([0.0, -1.0, -np.inf])}
    figure = gradient_flow(curves)
    (axes,) = figure.axes
    assert texts(axes.get_legend().get_texts()) == list(curves)
    np.testing.assert_allclose(axes.lines[0].get_xydata()[:3], [[0, 0], [1, 0.30103], [2, 0.60206]], rtol=1e-5)
    assert axes.get_ylim() == (-3, 15)  # 2^400 is not to press all else into one line
    figure.canvas.draw()
    assert "$10^{12}$" in texts(axes.get_yticklabels())


def test_contribution_map_puts_the_loss_down_and_the_weights_across():
    norms = np.tril(np.random.default_rng(0).random((4, 4)) + 0.1)
    axes, colorbar = contribution_map(norms).axes
    [image] = axes.images
    assert np.isnan(image.get_array().filled(np.nan)[np.triu_indices(4, 1)]).all()
    np.testing.assert_array_equal(image.get_array()[np.tril_indices(4)], norms[np.tril_indices(4)])
    assert axes.get_xlabel().startswith("step k") and axes.get_ylabel().startswith("step t")
    assert colorbar.get_ylabel() == "norm of the contribution"
    contribution_map(np.zeros((3, 3), np.float32)).canvas.draw()  # nothing arrives anywhere


def test_gate_saturation_draws_a_panel_for_each_gate():
    shares = {"forget gate": (np.array([0.1, 0.0]), np.array([0.2, 0.9])), "input gate": (np.zeros(2), np.ones(2))}
    figure = gate_saturation(shares)
    for axes, (name, (low, high)) in zip(figure.axes, shares.items(), strict=True):
        assert axes.get_title() == name
        np.testing.assert_array_equal(axes.collections[0].get_offsets(), np.stack([high, low], axis=1))
