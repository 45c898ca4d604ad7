"""A model of pixels against a plain loop, its two forms against each other, and what a pixel may depend on."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import seqjax
from seqjax.cells import GRUParams
from seqjax.decoding.rollout import rollout
from seqjax.distributions import bernoulli
from seqjax.layers.linen import Recurrent
from seqjax.models.pixel_stream import PixelStream, neighbours

HEIGHT, WIDTH, H, E, F = 4, 5, 3, 6, 2
T = HEIGHT * WIDTH
KEY = jax.random.key(0)
PIXELS = np.random.default_rng(0).integers(2, size=(2, T)).astype(np.int32)
MODEL = PixelStream(HEIGHT, WIDTH, Recurrent(seqjax.gru(H), layers=2), reach=2, embedding_size=E, num_features=F)


def with_random_weights(model, pixels):
    like = jax.eval_shape(model.init, KEY, jnp.asarray(pixels))
    return jax.tree.map(jnp.asarray, oracles.random_like(0, like))


@pytest.fixture
def variables(x64):
    return with_random_weights(MODEL, PIXELS)


run = jax.jit(MODEL.apply)
step = jax.jit(partial(MODEL.apply, method="step"))


def read_one_by_one(variables, pixels):
    """Features of each pixel by the step; the first step, which has no previous pixel, is passed 7."""
    state = MODEL.apply(variables, pixels.shape[:-1], method="start")
    features = []
    for t in range(T):
        state, now = step(variables, state, jnp.asarray(pixels[..., t - 1] if t else np.full_like(pixels[..., 0], 7)))
        features.append(now)
    return state, np.stack(features, axis=-2)


def test_features_equal_the_equations(variables):
    p = jax.tree.map(np.asarray, variables["params"])
    features = run(variables, PIXELS)

    def dense(name, x):
        return x @ p[name]["kernel"] + p[name]["bias"]

    for image, of_image in zip(PIXELS, np.asarray(features), strict=True):
        image, states = image.reshape(HEIGHT, WIDTH), [np.zeros(H), np.zeros(H)]
        for t, (row, column) in enumerate(product(range(HEIGHT), range(WIDTH))):
            places = [(row + r, column + c) for r in (-2, -1, 0) for c in range(-2, 3) if (r, c) < (0, 0)]
            known = [image[r, c] if r >= 0 and 0 <= c < WIDTH else 0 for r, c in places]
            x = y = np.maximum(dense("embed", np.array(known)) + p["rows"][row] + p["columns"][column], 0)
            for layer in range(2):
                states[layer] = y = oracles.gru_step(GRUParams(**p["recurrent"][f"layer_{layer}"]), states[layer], y)[1]
            expected = dense("output", np.maximum(dense("combine", np.concatenate([y, x])), 0))
            np.testing.assert_allclose(of_image[t], expected, rtol=0, atol=1e-12)


def test_steps_equal_the_sequence_for_batches_and_single_images(variables):
    expected = run(variables, PIXELS)
    state, features = read_one_by_one(variables, PIXELS)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(state.place, [T, T])
    alone = read_one_by_one(variables, PIXELS[1])[1]
    np.testing.assert_allclose(alone, expected[1], rtol=0, atol=1e-12)
    _, beyond = step(variables, state, jnp.asarray(PIXELS[:, -1]))
    assert np.isnan(beyond).all()  # all pixels have been predicted


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
@pytest.mark.parametrize("t", [0, 7, T - 1])
def test_a_pixel_changes_no_prediction_up_to_its_own_and_the_next(variables, t, value):
    pixels = PIXELS.astype(float)
    changed = np.where(np.arange(T) >= t, value, pixels)
    before, after = run(variables, pixels), run(variables, changed)
    np.testing.assert_array_equal(after[:, : t + 1], before[:, : t + 1])
    assert (np.asarray(after[:, t + 1 : t + 2]) != np.asarray(before[:, t + 1 : t + 2])).all()


def test_far_pixels_matter_through_the_recurrent_layers_only(variables):
    def first_row_in_last_feature(variables):
        return np.abs(jax.jacobian(lambda pixels: run(variables, pixels)[0, -1])(PIXELS.astype(float))[:, 0, :WIDTH])

    assert (first_row_in_last_feature(variables) > 0).any()
    kernel = variables["params"]["combine"]["kernel"]
    variables["params"]["combine"]["kernel"] = kernel.at[:H].set(0.0)  # the recurrent layers are not read
    assert (first_row_in_last_feature(variables) == 0).all()


def test_probabilities_of_all_images_add_up_to_one(variables):
    model, family = PixelStream(3, 3, Recurrent(seqjax.lstm(H)), reach=1, embedding_size=E), bernoulli()
    images = np.array(list(product([0, 1], repeat=9)), np.int32)
    variables = with_random_weights(model, images)
    log_probs = family.log_prob(
        family.parameters(model.apply(variables, jnp.asarray(images))), jnp.asarray(images)
    ).sum(-1)
    assert np.ptp(log_probs) > 1 and np.exp(log_probs).sum() == pytest.approx(1, abs=1e-12)

    def predict(params, context, state, pixel):
        state, features = model.apply(params, state, pixel, method="step")
        return family.parameters(features), state

    state = model.apply(variables, (2,), method="start")
    given = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], np.int32)
    options = {"first": np.zeros(2, np.int32), "prefix": given, "max_length": 5, "num_samples": 8}
    drawn = rollout(KEY, predict, family, variables, None, state, **options)
    of_image = dict(zip(map(tuple, images), np.asarray(log_probs), strict=True))
    for start, values, log_prob in zip(given, np.asarray(drawn.values), np.asarray(drawn.log_probs), strict=True):
        begins_alike = (images[:, :4] == start).all(1)
        of_start = np.logaddexp.reduce(np.asarray(log_probs)[begins_alike])
        expected = [of_image[(*start, *rest)] - of_start for rest in values]
        np.testing.assert_allclose(log_prob, expected, atol=1e-9)


def test_neighbours_are_drawn_before_the_pixel_and_near():
    table = neighbours(3, 4, 2)
    assert table.shape == (12, 12)
    for t, places in enumerate(table):
        inside = places[places < 12]
        expected = [s for s in range(t) if t // 4 - s // 4 <= 2 and abs(t % 4 - s % 4) <= 2]
        np.testing.assert_array_equal(inside, expected)


def test_every_parameter_learns_lowers_and_compiles_once(lowers, compilations):
    recurrent = Recurrent(seqjax.lstm(H), regularize=partial(seqjax.weight_drop, rate=0.2))
    model = PixelStream(HEIGHT, WIDTH, recurrent, reach=1, embedding_size=E, dropout_rate=0.2)

    def loss(variables, pixels, key):
        features = model.apply(variables, pixels, deterministic=False, rngs={"dropout": key})[..., 0]
        return jnp.mean(jnp.square(features - pixels.astype(features.dtype)))

    variables = model.init(KEY, jnp.asarray(PIXELS))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    gradient = jax.jit(jax.grad(loss))
    lowers(gradient, variables, jnp.asarray(PIXELS), KEY)
    images, keys = [jnp.asarray(np.roll(PIXELS, k)) for k in (0, 1)], jax.random.split(KEY, 2)
    found = gradient(variables, images[0], keys[0])
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(found))
    with compilations() as compiled:
        jax.block_until_ready(gradient(variables, images[1], keys[1]))
    assert not compiled


def test_refuses_images_of_another_size_and_sizes_below_one(unchecked):
    with pytest.raises(ValueError, match=r"^pixels: expected 4 \* 5 for each image, got 19"):
        MODEL.init(KEY, jnp.zeros((1, 19)))
    with pytest.raises(ValueError, match="^reach: expected at least 1, got 0"):
        PixelStream(2, 2, Recurrent(seqjax.gru(H)), reach=0).init(KEY, jnp.zeros((1, 4)))
