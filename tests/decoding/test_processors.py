"""What each processor keeps, and what it refuses."""

import inspect

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decoding


def kept(processor, probs):
    logits = jnp.log(jnp.array(probs))
    processed = processor(None, None, logits)
    stays = ~np.isneginf(processed)
    np.testing.assert_array_equal(processed[stays], logits[stays])
    return stays.tolist()


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (decoding.top_k(1), [0, 0, 1, 0]),
        (decoding.top_k(2), [1, 0, 1, 1]),  # a tie for the second place
        (decoding.top_k(9), [1, 1, 1, 1]),
        (decoding.top_p(0.01), [0, 0, 1, 0]),
        (decoding.top_p(0.39), [0, 0, 1, 0]),
        (decoding.top_p(0.41), [1, 0, 1, 1]),
        (decoding.top_p(0.91), [1, 1, 1, 1]),
        (decoding.top_p(1.0), [1, 1, 1, 1]),
        (decoding.min_p(0.6), [1, 0, 1, 1]),
        (decoding.min_p(0.7), [0, 0, 1, 0]),
        (decoding.min_p(1.0), [0, 0, 1, 0]),
        (decoding.epsilon_cutoff(0.2), [1, 0, 1, 1]),
        (decoding.epsilon_cutoff(0.9), [0, 0, 1, 0]),
        # the entropy is 1.28 nats and sqrt(0.2) exp(-1.28) = 0.124, sqrt(0.08) exp(-1.28) = 0.079 < 0.08
        (decoding.eta_cutoff(0.2), [1, 0, 1, 1]),
        (decoding.eta_cutoff(0.08), [1, 1, 1, 1]),
        # |entropy - surprisal| is 0.10, 1.02, 0.36, 0.10
        (decoding.typical(0.4), [1, 0, 0, 1]),
        (decoding.typical(0.55), [1, 0, 1, 1]),
        (decoding.typical(1.0), [1, 1, 1, 1]),
    ],
)
def test_keeps(processor, expected):
    assert kept(processor, [0.25, 0.1, 0.4, 0.25]) == [bool(stays) for stays in expected]


FACTORIES = [decoding.top_p, decoding.min_p, decoding.typical, decoding.epsilon_cutoff, decoding.eta_cutoff]


@hypothesis.given(
    st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=6).map(jnp.array),
    st.sampled_from(FACTORIES),
    st.floats(0.001, 1),
)
def test_some_token_stays_and_equal_logits_share_their_fate(logits, factory, setting):
    padded = jnp.full(6, -jnp.inf).at[: logits.size].set(logits)
    twice = jnp.concatenate([padded, padded])
    first, second = factory(setting)(None, None, twice).reshape(2, 6)
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).any() and not np.isnan(first).any()


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("setting", [0.0, -0.1, 1.1, float("nan")])
def test_share_outside_zero_to_one(factory, setting):
    [argument] = inspect.signature(factory).parameters
    with pytest.raises(ValueError, match=f"{argument}: expected a number above 0 and at most 1"):
        factory(setting)


def test_refuses():
    with pytest.raises(ValueError, match="k: expected at least 1, got 0"):
        decoding.top_k(0)
    with pytest.raises(ValueError, match="value: expected a temperature above 0, got 0"):
        decoding.temperature(0.0)
    decoding.top_k(2)
    with pytest.raises(TypeError, match="'k'|k: expected an int"):  # where shapes are checked, beartype says it
        decoding.top_k(2.0)


def test_setting_may_be_traced():
    processed = jax.jit(lambda processor, logits: processor(None, None, logits))(decoding.temperature(4.0), jnp.ones(2))
    np.testing.assert_array_equal(processed, [0.25, 0.25])
