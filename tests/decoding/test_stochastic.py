"""Stochastic beam search against the exact distribution of samples without replacement."""

import itertools

import decoding_oracles as oracles
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from seqjax import decoding

ROWS, EOS, LENGTH = 50_000, 2, 2
CHAIN = jnp.log(jnp.array([[0.5, 0.2, 0.3], [0.15, 0.25, 0.6], [0.2, 0.4, 0.4]]))


def step(params, context, state, token):
    return params[token], state


def draw(seed, num_samples, rows=ROWS, **settings):
    common = {"bos": 0, "eos": EOS, "max_length": LENGTH, "pad": -1}
    return decoding.stochastic_beam_search(
        jax.random.key(seed), step, CHAIN, None, jnp.zeros((rows, 0)), num_samples=num_samples, **common | settings
    )


def exact(rule=lambda log_probs: log_probs):
    """The probability of each sequence."""

    def log_prob(tokens):
        return sum(rule(CHAIN[before])[token] for before, token in itertools.pairwise((0, *tokens)))

    return {tokens: float(jnp.exp(log_prob(tokens))) for tokens in oracles.every_sequence(3, EOS, LENGTH)}


def indices(decoded, sequences):
    """Which of the sequences each sample is."""
    padded = np.full((len(sequences), LENGTH), -1)
    for index, tokens in enumerate(sequences):
        padded[index, : len(tokens)] = tokens
    same = (np.asarray(decoded.tokens)[:, :, None] == padded).all(axis=-1)
    assert (same.sum(axis=-1) == 1).all()
    return same.argmax(axis=-1)


@pytest.mark.parametrize("processed", [False, True])
def test_pairs_are_drawn_as_if_one_after_the_other(processed):
    settings = {"processors": (decoding.temperature(2.0),)} if processed else {}
    rule = (lambda log_probs: jax.nn.log_softmax(log_probs / 2)) if processed else (lambda log_probs: log_probs)
    decoded = draw(1, 2, **settings)
    probabilities = exact(rule)
    found = indices(decoded, list(probabilities))
    p = np.array(list(probabilities.values()))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    ordered = p[:, None] * p / (1 - p[:, None])  # the first is drawn from p, the second from what is left of it
    np.fill_diagonal(ordered, 0)
    observed = np.zeros_like(ordered)
    np.add.at(observed, (found[:, 0], found[:, 1]), 1)
    assert not observed.diagonal().any()
    off = ~np.eye(len(p), dtype=bool)
    expected = ROWS * ordered[off] / ordered[off].sum()
    assert scipy.stats.chisquare(observed[off], expected).pvalue > 1e-3
    # So each sequence is among the two with the right probability.
    included = (found[..., None] == np.arange(len(p))).any(axis=1).mean(axis=0)
    exactly = ordered.sum(axis=0) + ordered.sum(axis=1)
    np.testing.assert_allclose(included, exactly, atol=4 * np.sqrt(0.25 / ROWS))
    np.testing.assert_allclose(decoded.log_probs, np.log(list(exact().values()))[found], rtol=1e-4)
    assert (jnp.diff(decoded.scores, axis=1) < 0).all()


def test_threshold_gives_unbiased_estimates():
    decoded = draw(2, 3)
    phi, kappa = decoded.log_probs[:, :2], decoded.scores[:, 2:]
    weights = jnp.exp(phi) / -jnp.expm1(-jnp.exp(phi - kappa))
    for values, of_sequence in ((1, lambda tokens: 1), (decoded.lengths[:, :2].astype(jnp.float32), len)):
        estimates = np.asarray(jnp.sum(weights * values, axis=1), np.float64)
        expected = sum(prob * of_sequence(tokens) for tokens, prob in exact().items())
        assert abs(estimates.mean() - expected) < 4 * estimates.std() / np.sqrt(ROWS)


def test_more_samples_than_sequences():
    decoded = draw(3, 9, rows=4)
    probabilities = exact()
    count = len(probabilities)
    found = indices(jax.tree.map(lambda leaf: leaf[:, :count], decoded), list(probabilities))
    np.testing.assert_array_equal(np.sort(found), np.tile(np.arange(count), (4, 1)))
    assert np.isneginf(decoded.scores[:, count:]).all() and not decoded.lengths[:, count:].any()
    assert (decoded.tokens[:, count:] == -1).all()


def test_histories_are_those_of_the_samples():
    """A rule that forbids to repeat a token is kept by every sample."""
    weights = oracles.random_weights(0, 3, vocabulary=6)
    decoded = decoding.stochastic_beam_search(
        jax.random.key(4), oracles.step, None, weights, oracles.zero_state(3), num_samples=5, bos=0, eos=None,
        max_length=5, processors=(decoding.no_repeat_ngram(1),),
    )  # fmt: skip
    for b, place in itertools.product(range(3), range(5)):
        tokens = oracles.found(decoded, b, place)
        assert len(set(tokens)) == 5
        assert decoded.log_probs[b, place] == pytest.approx(
            oracles.log_prob(oracles.row(weights, b), 0, tokens), rel=1e-4
        )


def test_new_values_compile_nothing_and_it_lowers(compilations, lowers):
    draw(5, 2, rows=2)
    with compilations() as compiled:
        draw(6, 2, rows=2)
    assert not [name for name in compiled if "stochastic" in name]
    lowers(lambda state: decoding.stochastic_beam_search(
        jax.random.key(0), step, CHAIN, None, state, num_samples=2, bos=0, eos=EOS, max_length=3), jnp.zeros((2, 0))
    )  # fmt: skip


def test_wrong_argument_is_named():
    with pytest.raises(ValueError, match="num_samples: expected at least 1, got 0"):
        draw(0, 0, rows=1)
    with pytest.raises(ValueError, match=r"no token for row\(s\) \[0\]"):
        draw(0, 2, rows=1, processors=(decoding.ban([0, 1, 2]),))
