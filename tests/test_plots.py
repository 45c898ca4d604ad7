"""Figures: what is drawn, where, and what it is called."""

import numpy as np
import pytest

from seqjax.plots import (
    AttentionMap,
    SaliencyMap,
    attention_maps,
    confusion_matrix,
    contribution_map,
    gate_saturation,
    gradient_flow,
    learning_curve,
    saliency_maps,
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


def test_attention_maps_cut_long_sequences():
    long = AttentionMap(np.eye(30, 500), [f"s{n}" for n in range(500)], [f"t{n}" for n in range(30)])
    figure = attention_maps([long] * 6, xlabel="subword", ylabel="letter", longest=20)
    axes = figure.axes[0]
    assert texts(axes.get_xticklabels()) == [f"s{n}" for n in range(20)]
    assert texts(axes.get_yticklabels()) == [f"t{n}" for n in range(20)]
    np.testing.assert_array_equal(axes.images[0].get_array(), np.eye(20))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("subword (the first 20 of 500)", "letter (the first 20 of 30)")
    assert max(figure.get_size_inches()) < 20  # inches: it fits a screen


def test_attention_maps_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="^maps: expected at least one, got none"):
        attention_maps([], xlabel="", ylabel="")
    good, bad = AttentionMap(np.zeros((2, 3)), "abc", "AB"), AttentionMap(np.zeros((3, 2)), "abc", "AB")
    with pytest.raises(ValueError, match=r"^maps\[1\].weights: expected shape \(2, 3\), got \(3, 2\)"):
        attention_maps([good, bad], xlabel="", ylabel="")


def test_saliency_maps_colour_what_speaks_for_and_against():
    words = ["not", "a", "good", "film"] * 12
    weights = np.array([-2.0, 0.0, 4.0, 1.0] * 12)
    figure = saliency_maps(
        [SaliencyMap(weights, words, "$positive"), SaliencyMap(-weights[:4], "abcd", "")], label="for it"
    )
    axes, bar = figure.axes
    assert texts(axes.texts) == ["$positive", *words, "", *"abcd"]
    assert bar.get_ylabel() == "for it"
    colour = {word: box.get_facecolor() for word, box in zip(words[:4], axes.patches[:4], strict=True)}
    assert colour["not"][0] > colour["not"][2] and colour["good"][2] > colour["good"][0]  # red, blue
    assert min(colour["a"][:3]) > 0.95  # white
    assert [box.get_width() for box in axes.patches] == [len(symbol) for symbol in [*words, *"abcd"]]
    places = [text.get_position() for text in axes.texts[1:49]]
    assert places == sorted(places, key=lambda place: (place[1], place[0])) and len({y for _, y in places}) == 3
    assert all(x + len(word) <= 80 for (x, _), word in zip(places, words, strict=True))
    assert [text.get_position()[0] for text in axes.texts[-4:]] == [0, 1, 2, 3]  # characters stand close
    figure.canvas.draw()


def test_saliency_maps_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="^maps: expected at least one, got none"):
        saliency_maps([], label="")
    with pytest.raises(ValueError, match=r"^maps\[0\].weights: expected 3, one per symbol, got 2"):
        saliency_maps([SaliencyMap(np.zeros(2), "abc", "")], label="")


def test_confusion_matrix_is_normalised_by_rows():
    counts = np.array([[90, 10, 0], [0, 1, 999], [0, 0, 0]])
    figure = confusion_matrix(counts, ["a", "b", "c"], ["a", "b", "other"], unit="tags")
    axes, colorbar = figure.axes
    assert {(*text.get_position(),): text.get_text() for text in axes.texts} == {
        (0, 0): "90",
        (1, 0): "10",
        (2, 1): "100",
    }
    assert texts(axes.get_xticklabels()) == ["a", "b", "other"]
    assert texts(axes.get_yticklabels()) == ["a (100)", "b (1,000)", "c (0)"]
    drawn = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(drawn, [[90, 10, 0.1], [0.1, 0.1, 99.9], [0.1, 0.1, 0.1]])
    assert (axes.get_ylabel(), colorbar.get_ylabel()) == ("true class (number of tags)", "% of the tags in the row")
    figure.canvas.draw()
    with pytest.raises(ValueError, match=r"^counts: expected shape \(2, 3\), got \(3, 3\)"):
        confusion_matrix(counts, ["a", "b"], ["a", "b", "c"])


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


def test_gate_saturation_draws_a_panel_for_each_gate_and_counts_equal_units():
    shares = {
        "forget gate": (np.array([0.1, 0.0]), np.array([0.2, 0.9])),
        "input gate": (np.r_[0.5, np.zeros(12)], np.r_[0.25, np.ones(12)]),
    }
    forget, inputs = gate_saturation(shares).axes
    assert [axes.get_title() for axes in (forget, inputs)] == list(shares)
    np.testing.assert_allclose(forget.collections[0].get_offsets(), [[0.2, 0.1], [0.9, 0.0]])
    assert not forget.texts
    np.testing.assert_allclose(inputs.collections[0].get_offsets(), [[0.24, 0.5], [1.0, 0.0]])  # in steps of 0.02
    one, twelve = inputs.collections[0].get_sizes()
    assert one < twelve
    assert [text.get_text() for text in inputs.texts] == ["12"]
