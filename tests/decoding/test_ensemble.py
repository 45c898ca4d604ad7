"""Ensembles against plain means, and inside a search."""

import decoding_oracles as oracles
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decoding


def fixed(params, context, state, token):
    return jnp.log(params), state


@pytest.mark.parametrize(
    ("mean", "average"),
    [
        ("probabilities", lambda probs: probs.mean(axis=0)),
        ("log_probabilities", lambda probs: np.exp(np.log(probs).mean(axis=0))),
    ],
)
def test_mean(mean, average):
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]])
    step = decoding.ensemble(fixed, fixed, mean=mean)
    params = jnp.array(probs[0]), jnp.array(3 * probs[1])  # logits need not be normalised
    logits, _ = step(params, (None, None), (None, None), jnp.int32(0))
    np.testing.assert_allclose(jax.nn.softmax(logits), average(probs) / average(probs).sum(), rtol=1e-5)


def test_search_of_an_ensemble_adds_up_mean_probabilities():
    models = [oracles.random_weights(seed, 3, vocabulary=4) for seed in range(2)]
    states = oracles.zero_state(3), oracles.zero_state(3)
    step = decoding.ensemble(oracles.step, oracles.step)
    decoded = decoding.beam_search(step, (None, None), tuple(models), states, beam_size=64, bos=0, eos=1, max_length=3)
    for b in range(3):

        def log_prob(tokens, b=b):
            total = 0.0
            for t, token in enumerate(tokens):
                each = [oracles.next_log_probs(oracles.row(model, b), (0, *tokens[:t]))[token] for model in models]
                total += np.log(np.mean(np.exp(each)))
            return total

        best = max(oracles.every_sequence(4, 1, 3), key=log_prob)
        assert oracles.found(decoded, b) == best
        assert decoded.scores[b, 0] == pytest.approx(log_prob(best), rel=1e-5)


def test_ensemble_of_one_is_the_model(lowers):
    weights = oracles.random_weights(2, 3, vocabulary=4)
    settings = {"bos": 0, "eos": 1, "max_length": 5}
    alone = decoding.greedy_search(oracles.step, None, weights, oracles.zero_state(3), **settings)
    for mean in ("probabilities", "log_probabilities"):
        step = decoding.ensemble(oracles.step, mean=mean)
        arguments = (None,), (weights,), (oracles.zero_state(3),)
        lowers(lambda *a, step=step: decoding.greedy_search(step, *a, **settings), *arguments)
        decoded = decoding.greedy_search(step, *arguments, **settings)
        np.testing.assert_array_equal(decoded.tokens, alone.tokens)
        np.testing.assert_allclose(decoded.scores, alone.scores, rtol=1e-5)


def test_refuses(unchecked):
    with pytest.raises(ValueError, match="steps: expected at least one, got none"):
        decoding.ensemble()
    with pytest.raises(ValueError, match="mean: expected"):
        decoding.ensemble(fixed, mean="median")
    step = decoding.ensemble(fixed, fixed)
    settings = {"bos": jnp.zeros(1, int), "eos": None, "max_length": 1}
    with pytest.raises(ValueError, match=r"params: expected a member for each of 2 models, got 1"):
        decoding.greedy_search(step, (jnp.ones(2),), (None, None), ((), ()), **settings)
    with pytest.raises(ValueError, match=r"context: expected a member for each of 2 models, got None"):
        decoding.greedy_search(step, (jnp.ones(2), jnp.ones(2)), None, ((), ()), **settings)
    with pytest.raises(ValueError, match=r"one vocabulary, got \[2, 3\] logits"):
        decoding.greedy_search(step, (jnp.ones(2), jnp.ones(3)), (None, None), ((), ()), **settings)
