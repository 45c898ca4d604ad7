"""Selection in blocks against lax.top_k and jnp.argmax, ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.decoding.selection import largest_sums, maximum

SHAPES = [(2, 3), (2, 5, 7), (1, 1000), (4, 2, 20_011), (5, 999), (400, 4), (3, 70), (2, 1, 8000), (6, 1001)]


def random_values(shape, kinds):
    """Draws few different values, for many ties, some of them minus infinity."""
    values = jnp.floor(kinds / 10 * jax.random.normal(jax.random.key(0), shape))
    return jnp.where(jax.random.bernoulli(jax.random.key(1), 0.2, shape), -jnp.inf, values)


@pytest.mark.parametrize("kinds", [3, 1000, 1e6])
@pytest.mark.parametrize("shape", SHAPES)
def test_maximum_is_argmax(shape, kinds):
    values = random_values(shape, kinds)
    largest, places = jax.jit(maximum)(values)
    np.testing.assert_array_equal(largest, jnp.max(values, axis=-1))
    np.testing.assert_array_equal(places, jnp.argmax(values, axis=-1))


@pytest.mark.parametrize("kinds", [3, 1000, 1e6])
@pytest.mark.parametrize("shape", SHAPES)
def test_largest_sums_are_top_k_of_all(shape, kinds):
    values = random_values(shape, kinds)
    sums = jnp.floor(kinds / 10 * jax.random.normal(jax.random.key(2), shape[:-1])).at[..., -1].set(-jnp.inf)
    few_largest = jax.jit(largest_sums, static_argnums=2, static_argnames="without")
    for k in 1, 3:
        for without in None, 0, shape[-1] - 1, shape[-1] // 2:
            counted = values if without is None else values.at[..., without].set(-jnp.inf)
            right, right_places = jax.lax.top_k((sums[..., None] + counted).reshape(*shape[:-2], -1), k)
            found, places = few_largest(sums, values, k, without=without)
            np.testing.assert_array_equal(found, right)
            np.testing.assert_array_equal(places, jnp.where(jnp.isneginf(right), places, right_places))
            assert ((places >= 0) & (places < shape[-2] * shape[-1])).all()


@pytest.mark.parametrize("size", [33, 1025, 8000])
def test_all_infinite(size):
    found, places = largest_sums(jnp.zeros(2), jnp.full((2, size), -jnp.inf), 3)
    assert np.isneginf(found).all() and ((places >= 0) & (places < 2 * size)).all()
    assert maximum(jnp.full(size, -jnp.inf))[1] == 0


@pytest.mark.parametrize("size", [1, 63, 64, 65, 95, 97])
def test_maximum_wherever_it_is(size):
    np.testing.assert_array_equal(maximum(jnp.eye(size))[1], jnp.arange(size))


@pytest.mark.parametrize("size", [3, 63, 65, 1000])
def test_the_first_nan_is_the_maximum_as_in_argmax(size):
    values = jnp.zeros(size).at[size // 2].set(jnp.nan).at[size - 1].set(jnp.nan)
    largest, place = maximum(values)
    assert jnp.isnan(largest) and place == size // 2
