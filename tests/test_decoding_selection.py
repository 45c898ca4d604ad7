"""Selection in blocks against lax.top_k and jnp.argmax, ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.decoding.selection import argmax, largest


@pytest.mark.parametrize("shape", [(3,), (2, 5, 7), (1000,), (4, 2, 20_011), (5, 999), (40_000, 4), (3, 70)])
def test_is_top_k_and_argmax(shape):
    few_largest, place = jax.jit(largest, static_argnums=1), jax.jit(argmax)
    for kinds in 3, 1000, 1e6:  # few different values make for many ties
        values = jnp.floor(kinds / 10 * jax.random.normal(jax.random.key(0), shape))
        values = jnp.where(jax.random.bernoulli(jax.random.key(1), 0.2, shape), -jnp.inf, values)
        for k in 1, 3:
            for found, right in zip(few_largest(values, k), jax.lax.top_k(values, k), strict=True):
                np.testing.assert_array_equal(found, right)
        np.testing.assert_array_equal(place(values), jnp.argmax(values, axis=-1))


def test_all_infinite():
    values, places = largest(jnp.full((2, 8000), -jnp.inf), 2)
    assert np.isneginf(values).all()
    np.testing.assert_array_equal(places, [[0, 1], [0, 1]])
    assert argmax(jnp.full(77, -jnp.inf)) == 0


@pytest.mark.parametrize("size", [1, 63, 64, 65, 95, 97])
def test_argmax_wherever_it_is(size):
    np.testing.assert_array_equal(argmax(jnp.eye(size)), jnp.arange(size))
