"""Greedy search against a loop, sampling against the exact distribution over all sequences."""

import collections

import decoding_oracles as oracles
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from seqjax import decoding

VOCABULARY, EOS, LENGTH = 4, 1, 3


@pytest.mark.parametrize("eos", [EOS, None])
def test_greedy_search_is_the_loop(eos):
    weights = oracles.random_weights(0, 12, vocabulary=6)
    bos = jnp.arange(12) % 6
    decoded = decoding.greedy_search(
        oracles.step, None, weights, oracles.zero_state(12), bos=bos, eos=eos, max_length=9, pad=-7
    )
    assert decoded.tokens.shape == (12, 1, 9)
    for b in range(12):
        expected = oracles.greedy(oracles.row(weights, b), int(bos[b]), eos, 9)
        assert oracles.found(decoded, b) == expected
        assert (decoded.tokens[b, 0, len(expected) :] == -7).all()
        np.testing.assert_allclose(
            decoded.log_probs[b, 0], oracles.log_prob(oracles.row(weights, b), int(bos[b]), expected), rtol=1e-5
        )
    np.testing.assert_array_equal(decoded.scores, decoded.log_probs)
    if eos is not None:
        assert len(set(decoded.lengths[:, 0].tolist())) > 3, "rows should end at different times"


def nucleus(probs: np.ndarray, order: np.ndarray, mass: float) -> np.ndarray:
    """Keeps tokens in an order until their probability reaches the mass."""
    kept = np.zeros(len(probs), bool)
    for token in order:
        if probs[kept].sum() < mass:
            kept[token] = True
    return kept


def entropy(probs: np.ndarray) -> float:
    return -np.sum(probs * np.log(probs))


def epsilon(probs: np.ndarray, bound: float) -> np.ndarray:
    return (probs >= bound) | (probs == probs.max())


# Each rule as what it does to an array of probabilities.
RULES = {
    "none": ((), lambda p: p),
    "temperature": ((decoding.temperature(0.6),), lambda p: p ** (1 / 0.6)),
    "top_k": ((decoding.top_k(2),), lambda p: p * (p >= np.sort(p)[-2])),
    "top_p": ((decoding.top_p(0.8),), lambda p: p * nucleus(p, np.argsort(-p), 0.8)),
    "min_p": ((decoding.min_p(0.3),), lambda p: p * (p >= 0.3 * p.max())),
    "typical": (
        (decoding.typical(0.6),),
        lambda p: p * nucleus(p, np.argsort(np.abs(entropy(p) + np.log(p))), 0.6),
    ),
    "epsilon": ((decoding.epsilon_cutoff(0.2),), lambda p: p * epsilon(p, 0.2)),
    "eta": (
        (decoding.eta_cutoff(0.3),),
        lambda p: p * epsilon(p, min(0.3, 0.3**0.5 * np.exp(-entropy(p)))),
    ),
    "temperature, then top_k": (
        (decoding.temperature(2.0), decoding.top_k(3)),
        lambda p: p**0.5 * (p >= np.sort(p)[-3]),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_samples_have_the_exact_distribution(name):
    processors, rule = RULES[name]
    weights = oracles.random_weights(3, 1, vocabulary=VOCABULARY, sharpness=0.8)
    draws = 100_000
    decoded = decoding.sample(
        jax.random.key(5),
        oracles.step,
        None,
        weights,
        oracles.zero_state(1),
        bos=0,
        eos=EOS,
        max_length=LENGTH,
        num_samples=draws,
        processors=processors,
    )

    def processed(history, log_probs):
        with np.errstate(divide="ignore"):
            return np.log(rule(np.exp(log_probs)) / rule(np.exp(log_probs)).sum())

    one = oracles.row(weights, 0)
    rows = np.concatenate([np.asarray(decoded.tokens[0]), np.asarray(decoded.lengths[0])[:, None]], axis=1)
    distinct, first, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    counted = collections.Counter()
    for (*tokens, length), place, count in zip(distinct.tolist(), first, counts, strict=True):
        sequence = tuple(tokens[:length])
        counted[sequence] = count
        assert decoded.log_probs[0, place] == pytest.approx(oracles.log_prob(one, 0, sequence), rel=1e-4)
        assert decoded.scores[0, place] == pytest.approx(oracles.log_prob(one, 0, sequence, processed), rel=1e-4)
    sequences = list(oracles.every_sequence(VOCABULARY, EOS, LENGTH))
    expected = draws * np.exp([oracles.log_prob(one, 0, sequence, processed) for sequence in sequences])
    observed = np.array([counted[sequence] for sequence in sequences])
    assert observed.sum() == draws and not observed[expected == 0].any()
    rare = expected < 5
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum() + 1e-9)
    assert len(expected) > 4, "a test of so few sequences would show nothing"
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3


def test_new_values_compile_nothing(compilations):
    def decode(seed):
        weights = oracles.random_weights(seed, 2, vocabulary=VOCABULARY)
        common = {"bos": jnp.array([seed, 2]), "eos": EOS, "max_length": LENGTH}
        common["processors"] = (decoding.temperature(0.5 + seed), decoding.top_k(2), decoding.top_p(0.5 + seed / 10))
        model = oracles.step, None, weights, oracles.zero_state(2)
        return decoding.greedy_search(*model, **common), decoding.sample(jax.random.key(seed), *model, **common)

    decode(0)
    with compilations() as compiled:
        decode(1)
    assert not compiled


def test_lowers_and_nests_in_jit_and_vmap(lowers):
    weights = oracles.random_weights(1, 3, 2, vocabulary=VOCABULARY)
    common = {"bos": 0, "eos": EOS, "max_length": LENGTH}
    processors = decoding.temperature(0.7), decoding.top_k(2), decoding.top_p(0.9), decoding.min_p(0.1)
    processors += decoding.typical(0.9), decoding.epsilon_cutoff(0.1), decoding.eta_cutoff(0.1)

    def greedy(weights):
        return decoding.greedy_search(oracles.step, None, weights, oracles.zero_state(2), **common)

    def sample(weights):
        model = oracles.step, None, weights, oracles.zero_state(2)
        return decoding.sample(jax.random.key(0), *model, processors=processors, num_samples=2, **common)

    lowers(sample, oracles.row(weights, 0))
    lowers(greedy, oracles.row(weights, 0))
    nested = jax.jit(jax.vmap(greedy))(weights)
    for index in range(3):
        jax.tree.map(np.testing.assert_array_equal, oracles.row(nested, index), greedy(oracles.row(weights, index)))


def test_batch_axis_may_come_from_bos_alone():
    def step(params, context, state, token):
        return params[token], state

    decoded = decoding.greedy_search(step, jnp.eye(3), None, (), bos=jnp.array([2, 0]), eos=None, max_length=2)
    np.testing.assert_array_equal(decoded.tokens, [[[2, 2]], [[0, 0]]])


def forbid(*tokens):
    def processor(context, history, logits):
        return jnp.where(context, logits.at[jnp.array(tokens)].set(-jnp.inf), logits)

    return processor


@pytest.mark.parametrize(
    "search", [decoding.greedy_search, lambda *a, **k: decoding.sample(jax.random.key(0), *a, **k)]
)
def test_row_without_a_token_is_named(search):
    def step(params, context, state, token):
        return jnp.zeros(2), state

    arguments = step, None, jnp.array([False, True, False]), ()
    settings = {"bos": 0, "eos": 1, "max_length": 2, "processors": (forbid(0, 1), decoding.top_p(0.5))}
    with pytest.raises(ValueError, match=r"no token for row\(s\) \[1\]"):
        search(*arguments, **settings)
    with jax.disable_jit(False):  # no error is possible under jit
        decoded = jax.jit(lambda: search(*arguments, **settings))()
    np.testing.assert_array_equal(np.isneginf(decoded.scores[:, 0]), [False, True, False])
    assert decoded.lengths[1, 0] == 0 and not np.isnan(decoded.scores).any()
