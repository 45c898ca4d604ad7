"""The distribution of pen movements with an end: the chain rule of its bits, draws, moments and transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.distributions import handwriting, mean_log_likelihood, sketch

FAMILY = sketch(3)
PENS = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)]


@pytest.fixture(scope="module")
def parameters():
    return FAMILY.parameters(jax.random.normal(jax.random.key(0), (2, FAMILY.num_features)))


def test_the_density_integrates_to_one(parameters):
    side = jnp.linspace(-12.0, 12.0, 241)
    grid = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)
    row = jax.tree.map(lambda leaf: leaf[0], parameters)
    total = 0.0
    for pen in PENS:
        values = jnp.concatenate([grid, jnp.tile(jnp.array(pen), (len(grid), 1))], axis=-1)
        total += jnp.exp(jax.vmap(lambda value: FAMILY.log_prob(row, value))(values)).sum() * 0.1**2
    np.testing.assert_allclose(total, 1, atol=1e-3)


def test_log_prob_is_that_of_handwriting_and_of_the_last_bit_at_an_end(parameters):
    features = jax.random.normal(jax.random.key(0), (2, FAMILY.num_features))
    plain, last = handwriting(3), jax.nn.sigmoid(features[:, 0])
    of_movement = plain.parameters(features[:, 1:])
    for pen, of_last in zip(PENS, (1, 1 - last, last), strict=True):
        value = jnp.array([[0.3, -0.2, *pen]] * 2)
        expected = plain.log_prob(of_movement, value[:, :3]) + jnp.log(of_last)
        np.testing.assert_allclose(FAMILY.log_prob(parameters, value), expected, rtol=1e-5)


def test_draws_have_the_mean_and_the_quantiles_and_end_only_at_an_end(parameters):
    keys = jax.random.split(jax.random.key(1), 4000)
    drawn = jax.jit(jax.vmap(FAMILY.sample, in_axes=(0, None)))(keys, parameters)  # [4000, 2, 4]
    assert not jnp.any((drawn[..., 3] == 1) & (drawn[..., 2] == 0))
    assert set(np.unique(drawn[..., 2:])) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(axis=0), FAMILY.mean(parameters), atol=0.15)
    quantiles = FAMILY.quantile(parameters, jnp.array([0.1, 0.5, 0.9]))
    assert quantiles.shape == (2, 4, 3)
    np.testing.assert_allclose(jnp.moveaxis(jnp.quantile(drawn[..., :2], jnp.array([0.1, 0.5, 0.9]), axis=0), 0, -1),
                               quantiles[:, :2], atol=0.25)  # fmt: skip
    last = FAMILY.mean(parameters)[:, 3]
    around = jnp.stack([1 - last - 0.01, 1 - last + 0.01], axis=-1)
    for row in range(2):
        assert FAMILY.quantile(parameters, around[row])[row, 3].tolist() == [0, 1]


def test_sharpening_keeps_the_pen_and_narrows_the_movement(parameters):
    sharp = FAMILY.sharpen(parameters, jnp.array(2.0))
    assert sharp.last == parameters.last
    np.testing.assert_array_equal(sharp.movement.end, parameters.movement.end)
    np.testing.assert_allclose(sharp.movement.scale, parameters.movement.scale * np.exp(-2), rtol=1e-5)


def test_rescaling_changes_the_unit(parameters):
    value, factor = jnp.array([[0.3, -0.2, 1.0, 0.0]] * 2), jnp.array([3.0, 3.0])
    larger = FAMILY.log_prob(FAMILY.rescale(parameters, factor), value * jnp.array([[3.0, 3.0, 1.0, 1.0]]))
    np.testing.assert_allclose(larger, FAMILY.log_prob(parameters, value) - 2 * np.log(3), rtol=1e-5)


def test_it_is_known_by_value_and_refuses_no_components(lowers):
    assert sketch(3) == FAMILY and sketch(2) != FAMILY
    lowers(lambda features: FAMILY.log_prob(FAMILY.parameters(features), jnp.zeros((2, 4))), jnp.zeros((2, 20)))
    with pytest.raises(ValueError, match="num_components: expected at least 1"):
        sketch(0)


@pytest.mark.parametrize("size", [1e2, 1e10, 3e38])
def test_large_numbers_have_a_finite_log_density_and_gradient(size):
    signs = jnp.where(jnp.arange(FAMILY.num_features) % 2, 1.0, -1.0)

    @jax.jit
    @jax.value_and_grad
    def nats(features, value):
        return FAMILY.log_prob(FAMILY.parameters(features), value)

    for pen in PENS:
        for features in (signs * size, -signs * size, signs):
            found, slope = nats(features, jnp.array([size, -size, *pen]))
            assert jnp.isfinite(found) and jnp.isfinite(slope).all()


def test_what_is_not_valid_reaches_neither_the_mean_nor_its_gradient():
    features = jax.random.normal(jax.random.key(2), (2, 3, FAMILY.num_features))
    values = jnp.tile(jnp.array([0.5, -1.0, 1.0, 0.0]), (2, 3, 1))
    valid = jnp.array([[True, True, False], [True, False, False]])
    loss = jax.value_and_grad(lambda features, values: mean_log_likelihood(FAMILY, features, values, valid))
    expected = loss(features, values)
    got = loss(jnp.where(valid[..., None], features, jnp.nan), jnp.where(valid[..., None], values, jnp.nan))
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    alone = [FAMILY.log_prob(FAMILY.parameters(features[place]), values[place]) for place in ((0, 0), (0, 1), (1, 0))]
    np.testing.assert_allclose(expected[0], np.mean(alone), rtol=1e-6)
