"""Exhaustive search against a Python enumeration, which shares no code with it."""

import decoding_oracles as oracles
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decoding


@pytest.mark.parametrize("eos", [2, None])
def test_finds_the_best_of_all_sequences(eos):
    rows, n_best = 8, 5
    weights = oracles.random_weights(0, rows, vocabulary=3, sharpness=1.0)
    decoded = decoding.exhaustive_search(
        oracles.step, None, weights, oracles.zero_state(rows), bos=1, eos=eos, max_length=4, n_best=n_best,
        length_penalty=decoding.mean_log_prob, pad=-1,
    )  # fmt: skip
    for b in range(rows):
        one = oracles.row(weights, b)
        best = oracles.best(one, 1, eos, 4, n_best, lambda log_prob, length: log_prob / length)
        for place, (score, tokens) in enumerate(best):
            assert oracles.found(decoded, b, place) == tokens
            assert decoded.scores[b, place] == pytest.approx(score, abs=1e-5)
            assert decoded.log_probs[b, place] == pytest.approx(oracles.log_prob(one, 1, tokens), abs=1e-5)
            assert (decoded.tokens[b, place, len(tokens) :] == -1).all()


def test_probabilities_of_all_sequences_add_up_to_one():
    weights = oracles.random_weights(1, 4, vocabulary=3)
    every = 1 + 2 + 4 + 8 * 3  # those that end with eos at 1, 2, 3, and those of length 4
    decoded = decoding.exhaustive_search(
        oracles.step, None, weights, oracles.zero_state(4), bos=0, eos=0, max_length=4, n_best=every + 1
    )
    np.testing.assert_allclose(jnp.exp(decoded.log_probs[:, :every]).sum(axis=1), 1, rtol=1e-5)
    assert np.isneginf(decoded.scores[:, every]).all() and not decoded.lengths[:, every].any()


def test_constraints_exclude_sequences():
    def step(params, context, state, token):
        return jnp.log(jnp.array([0.7, 0.3])), state

    def search(context):
        def forbid(context, history, logits):
            return jnp.where(context == history.length, -jnp.inf, logits)

        return decoding.exhaustive_search(
            step, None, context, (), bos=0, eos=1, max_length=3, n_best=4, processors=(forbid, decoding.ban([1]))
        )

    decoded = search(jnp.array([9]))
    np.testing.assert_allclose(jnp.exp(decoded.scores), [[0.343, 0, 0, 0]], rtol=1e-5)
    with pytest.raises(ValueError, match=r"no token for row\(s\) \[1, 2\]"):
        search(jnp.array([9, 1, 2]))


def test_new_values_compile_nothing_and_it_lowers(compilations, lowers):
    def decode(weights):
        settings = {"bos": 0, "eos": 1, "max_length": 3, "processors": (decoding.temperature(0.5),)}
        return decoding.exhaustive_search(oracles.step, None, weights, oracles.zero_state(2), **settings)

    first, second = (oracles.random_weights(seed, 2, vocabulary=3) for seed in (2, 3))
    decode(first)
    with compilations() as compiled:
        decode(second)
    assert not compiled
    lowers(decode, first)


def test_refuses_what_would_not_fit():
    weights = oracles.random_weights(4, 1, vocabulary=8)
    with pytest.raises(ValueError, match="max_length: expected at most 1048576 sequences, got 8\\^9"):
        decoding.exhaustive_search(oracles.step, None, weights, oracles.zero_state(1), bos=0, eos=1, max_length=9)
    for n_best, message in ((0, "n_best: expected at least 1, got 0"), (73, "n_best: expected at most 72, .* got 73")):
        with pytest.raises(ValueError, match=message):
            decoding.exhaustive_search(
                oracles.step, None, weights, oracles.zero_state(1), bos=0, eos=1, max_length=2, n_best=n_best
            )
