"""Conditional random fields against brute force over all rows of tags."""

import itertools

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from seqjax.layers.crf import CRFParams, log_likelihood, log_normalizer, sequence_score, viterbi

B, T, K = 4, 4, 3


def draw(seed, dtype=np.float64, scale=2.0, lengths=(4, 1, 3, 0)):
    """Parameters, scores, tags and lengths."""
    rng = np.random.default_rng(seed)
    shapes = CRFParams((K,), (K, K), (K,))
    params = CRFParams(*(jnp.asarray(rng.normal(scale=scale, size=shape), dtype) for shape in shapes))
    scores = jnp.asarray(rng.normal(scale=scale, size=(B, T, K)), dtype)
    return params, scores, jnp.asarray(rng.integers(K, size=(B, T))), jnp.asarray(lengths)


def brute_force(params, scores, length):
    """The score of each row of tags of that length, one term after the other."""
    params, scores = jax.tree.map(np.asarray, (params, scores))
    found = {}
    for tags in itertools.product(range(K), repeat=int(length)):
        total = 0.0
        for t, tag in enumerate(tags):
            total += scores[t, tag] + (params.transitions[tags[t - 1], tag] if t else params.start[tag])
        found[tags] = total + (params.end[tags[-1]] if tags else 0.0)
    return found


def padded(array, lengths, value):
    """The array with a value in the padding."""
    valid = np.arange(T) < np.asarray(lengths)[:, None]
    return jnp.where(valid.reshape(B, T, *[1] * (array.ndim - 2)), array, value)


@jax.jit
def everything(params, scores, tags, lengths):
    return (
        viterbi(params, scores, lengths),
        log_normalizer(params, scores, lengths),
        sequence_score(params, scores, tags, lengths),
        log_likelihood(params, scores, tags, lengths),
    )


@given(st.integers(0, 999), st.lists(st.integers(0, T), min_size=B, max_size=B))
@settings(max_examples=15)
def test_all_is_what_brute_force_finds(seed, lengths):
    with jax.enable_x64(True):
        params, scores, tags, lengths = draw(seed, lengths=lengths)
        found, totals, given_scores, likelihoods = everything(params, scores, tags, lengths)
    for b, length in enumerate(lengths.tolist()):
        all_scores = brute_force(params, scores[b], length)
        best = max(all_scores, key=all_scores.get)
        given_tags = tuple(tags[b, :length].tolist())
        total = logsumexp(list(all_scores.values()))
        np.testing.assert_allclose(totals[b], total, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(given_scores[b], all_scores[given_tags], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(likelihoods[b], all_scores[given_tags] - total, rtol=1e-10, atol=1e-12)
        assert tuple(found.tags[b].tolist()) == best + (0,) * (T - length)
        np.testing.assert_allclose(found.scores[b], all_scores[best], rtol=1e-12, atol=1e-12)


def test_gradient_of_the_normalizer_is_the_probability_of_each_tag(x64):
    params, scores, _, lengths = draw(0)
    ends, marginals = jax.grad(lambda *args: log_normalizer(*args, lengths).sum(), argnums=(0, 1))(params, scores)
    expected, pairs = np.zeros((B, T, K)), np.zeros((K, K))
    for b, length in enumerate(lengths.tolist()):
        all_scores = brute_force(params, scores[b], length)
        total = logsumexp(list(all_scores.values()))
        for tags, score in all_scores.items():
            expected[b, range(length), tags] += np.exp(score - total)
            for pair in itertools.pairwise(tags):
                pairs[pair] += np.exp(score - total)
    np.testing.assert_allclose(marginals, expected, atol=1e-12)
    np.testing.assert_allclose(ends.transitions, pairs, atol=1e-12)
    np.testing.assert_allclose(ends.start, expected[:, 0].sum(axis=0), atol=1e-12)


def test_gradients_are_those_of_differences(x64):
    params, scores, tags, lengths = draw(1)
    likelihood = jax.jit(lambda params, scores: log_likelihood(params, jnp.asarray(scores), tags, lengths).sum())
    jax.test_util.check_grads(likelihood, (params, scores), order=1, modes=["rev"])


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
def test_padding_reaches_neither_value_nor_gradient(garbage):
    params, scores, tags, lengths = draw(2, np.float32)
    value_and_grad = jax.jit(jax.value_and_grad(lambda *args: log_likelihood(*args).sum(), argnums=(0, 1)))
    expected = value_and_grad(params, padded(scores, lengths, 0), padded(tags, lengths, 0), lengths)
    dirty = padded(scores, lengths, garbage), padded(tags, lengths, -7)
    result = value_and_grad(params, *dirty, lengths)
    jax.tree.map(np.testing.assert_array_equal, result, expected)
    assert np.isfinite(jax.tree.leaves(result[1])[0]).all()
    assert not np.asarray(result[1][1])[np.arange(T) >= np.asarray(lengths)[:, None]].any()
    clean = viterbi(params, scores, lengths)
    jax.tree.map(np.testing.assert_array_equal, viterbi(params, dirty[0], lengths), clean)


@pytest.mark.parametrize("scale", [1e-3, 20.0, 1e4])
def test_scores_of_any_size_in_float32(scale):
    """What the transitions rule out, or the scores, costs no finite gradient, and the normalizer bounds the best."""
    params, scores, tags, lengths = draw(3, np.float32, scale=scale)
    normalizer = jax.jit(lambda *args: log_normalizer(*args, lengths).sum())
    total, gradient = jax.value_and_grad(normalizer, argnums=(0, 1))(params, scores)
    assert np.isfinite(total) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    totals = [logsumexp(list(brute_force(params, scores[b], n).values())) for b, n in enumerate(lengths.tolist())]
    np.testing.assert_allclose(total, sum(totals), rtol=2e-6, atol=1e-5)


def test_without_transitions_each_step_is_a_softmax():
    _, scores, tags, _ = draw(4, np.float32)
    params = CRFParams(jnp.zeros(K), jnp.zeros((K, K)), jnp.zeros(K))
    expected = jnp.take_along_axis(jax.nn.log_softmax(scores), tags[..., None], axis=-1)[..., 0].sum(axis=1)
    np.testing.assert_allclose(log_likelihood(params, scores, tags, jnp.full(B, T)), expected, rtol=1e-5)
    np.testing.assert_array_equal(viterbi(params, scores, jnp.full(B, T)).tags, scores.argmax(axis=-1))


def test_a_batch_of_one_step():
    params, scores, tags, _ = draw(5, np.float32)
    found = viterbi(params, scores[:, :1], jnp.ones(B, int))
    np.testing.assert_array_equal(
        found.tags[:, 0], (scores[:, 0] + params.start[None] + params.end[None]).argmax(axis=-1)
    )
    expected = jax.nn.log_softmax(scores[:, 0] + params.start[None] + params.end[None])
    likelihoods = log_likelihood(params, scores[:, :1], tags[:, :1], jnp.ones(B, int))
    np.testing.assert_allclose(likelihoods, expected[np.arange(B), tags[:, 0]], rtol=1e-5)


def test_new_values_compile_nothing_and_it_lowers(compilations, lowers):
    def run(params, scores, tags, lengths):
        gradient = jax.grad(lambda *args: log_likelihood(*args).sum())(params, scores, tags, lengths)
        return gradient, viterbi(params, scores, lengths)

    jitted = jax.jit(run)
    inputs = [draw(seed, np.float32, lengths=[seed - 5, 0, 1, T]) for seed in (6, 7)]
    jitted(*inputs[0])
    with compilations() as compiled:
        jitted(*inputs[1])
    assert not compiled
    lowers(run, *inputs[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scores": jnp.zeros((B, K))}, r"^scores: expected shape \[B, T, K\] .*, got \(4, 3\)"),
        ({"scores": jnp.zeros((B, 0, K))}, r"^scores: expected .* T and K at least 1, got \(4, 0, 3\)"),
        ({"lengths": jnp.zeros(2, int)}, r"^lengths: expected shape \(4,\), .* got \(2,\)"),
        ({"tags": jnp.zeros((B, 2), int)}, r"^tags: expected shape \(4, 4\), .* got \(4, 2\)"),
        (
            {"params": CRFParams(jnp.zeros(K), jnp.zeros((K, 2)), jnp.zeros(K))},
            r"^transitions: expected shape \(3, 3\), got \(3, 2\)",
        ),
    ],
)
def test_wrong_argument_is_named(wrong, message, unchecked):
    arguments = dict(zip(("params", "scores", "tags", "lengths"), draw(8, np.float32), strict=True)) | wrong
    with pytest.raises(ValueError, match=message):
        log_likelihood(**arguments)
