"""What each processor keeps, and what it refuses."""

import fractions
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


@hypothesis.given(st.lists(st.integers(0, 9), min_size=2, max_size=8).filter(any), st.integers(1, 100))
def test_round_numbers_are_sums_and_not_their_rounding_errors(counts, hundredths):
    """Probabilities that are fractions, and thresholds in hundredths, compared as fractions."""
    probs = [fractions.Fraction(count, sum(counts)) for count in counts]
    threshold = fractions.Fraction(hundredths, 100)
    descending = sorted(probs, reverse=True)
    nucleus = next(n for n in range(1, len(probs) + 1) if sum(descending[:n]) >= threshold)
    with np.errstate(divide="ignore"):
        floats = np.log(np.array(probs, np.float64)).astype(np.float32)

    def stays(processor):
        return (~np.isneginf(processor(None, None, jnp.asarray(floats)))).tolist()

    possible = [prob > 0 for prob in probs]
    at_least = [prob >= descending[nucleus - 1] and prob > 0 for prob in probs]
    assert stays(decoding.top_p(float(threshold))) == (possible if hundredths == 100 else at_least)
    assert stays(decoding.min_p(float(threshold))) == [prob >= threshold * max(probs) for prob in probs]
    above = [prob >= threshold or prob == max(probs) for prob in probs]
    assert stays(decoding.epsilon_cutoff(float(threshold))) == above


@pytest.mark.parametrize("factory", [decoding.top_p, decoding.typical])
def test_a_share_of_one_keeps_what_is_too_small_for_the_sum(factory):
    logits = jnp.array([0.0, -20.0, -5.0, -200.0])
    np.testing.assert_array_equal(factory(1.0)(None, None, logits), logits)


SETTINGS = {
    "temperature": (decoding.temperature, 0.7),
    "top_p": (decoding.top_p, 0.6),
    "min_p": (decoding.min_p, 0.6),
    "typical": (decoding.typical, 0.4),
    "epsilon_cutoff": (decoding.epsilon_cutoff, 0.2),
    "eta_cutoff": (decoding.eta_cutoff, 0.2),
    "repetition_penalty": (decoding.repetition_penalty, 1.5),
    "ban": (lambda token: decoding.ban(jnp.asarray(token, jnp.int32)[None]), 2),
    "force": (lambda token: decoding.force(jnp.asarray(token, jnp.int32)[None]), 2),
    "min_length": (lambda length: decoding.min_length(length, eos=1), 3),
    "keypad": (lambda digit: decoding.keypad(jnp.asarray(digit, jnp.int32)[None], [7, 7, 8, 8], eos=None), 7),
    "finite_state": (lambda state: decoding.finite_state(jnp.array([[0, -1, 0, 0], [0, 0, -1, 0]]), state), 1),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_may_be_traced(name):
    factory, setting = SETTINGS[name]

    def step(params, context, state, token):
        return jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1])), state

    def drawn(setting):
        return decoding.sample(
            jax.random.key(0), step, None, None, jnp.zeros((3, 0)), bos=0, eos=1, max_length=3,
            processors=(factory(setting),),
        )  # fmt: skip

    expected, traced = jax.jit(lambda: drawn(setting))(), jax.jit(drawn)(setting)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), traced, expected)


@pytest.mark.parametrize("penalty", [decoding.gnmt_length, lambda beta: decoding.gnmt_coverage(beta, lambda c, s: s)])
def test_a_setting_of_a_penalty_may_be_traced(penalty):
    state = jnp.array([0.5, 0.25])
    of = (None, state) if penalty is not decoding.gnmt_length else (jnp.float32(-6), jnp.int32(7))
    np.testing.assert_allclose(jax.jit(lambda setting: penalty(setting)(*of))(0.5), penalty(0.5)(*of), rtol=1e-6)
