"""Ancestral sampling of numbers against enumeration, and against the closed form of a linear Gaussian recurrence."""

import itertools

import decoding_oracles as oracles
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from seqjax import decoding
from seqjax.distributions import categorical, gaussian, handwriting
from seqjax.distributions.categorical import CategoricalParams
from seqjax.distributions.gaussian import GaussianParams

SYMBOLS = categorical(3)
NUMBERS = gaussian()


def chain(params, context, state, value):
    """A Markov chain whose state, the symbol before the last, matters too."""
    return CategoricalParams(params[state, value] + context), value


def autoregression(params, context, state, value):
    """x_t = a x_(t-1) + b x_(t-2) + drift + noise; the state is x_(t-2)."""
    a, b, scale = params
    return GaussianParams(a * value + b * state + context, scale), value


def nans(params, context, state, value):
    return GaussianParams(value * context, jnp.ones_like(value)), state


def test_frequencies_are_those_of_enumeration():
    weights = jnp.asarray(np.random.default_rng(0).normal(0, 1, (3, 3, 3)), jnp.float32)
    context, first = jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, -1.0]]), jnp.array([0, 2])
    drawn = decoding.rollout(
        jax.random.key(0), chain, SYMBOLS, weights, context, first, first=first, max_length=3, num_samples=20_000
    )
    for row in range(2):
        expected, log_probs = {}, {}
        for sequence in itertools.product(range(3), repeat=3):
            state, value, nats = first[row], first[row], 0.0
            for symbol in sequence:
                nats += float(jax.nn.log_softmax(weights[state, value] + context[row])[symbol])
                state, value = value, symbol
            expected[sequence], log_probs[sequence] = np.exp(nats) * 20_000, nats
        sequences = list(map(tuple, np.asarray(drawn.values[row]).tolist()))
        counts = [sequences.count(sequence) for sequence in expected]
        assert (
            scipy.stats.chisquare(counts, np.array([*expected.values()]) * 20_000 / sum(expected.values())).pvalue
            > 1e-3
        )
        for place in range(50):
            assert drawn.log_probs[row, place] == pytest.approx(log_probs[sequences[place]], abs=1e-5)


def test_mean_and_covariance_are_the_closed_form():
    a, b, scale, steps = 0.6, -0.3, 0.8, 6
    params, drift, last = (jnp.array(a), jnp.array(b), jnp.array(scale)), jnp.array([0.5]), jnp.array([2.0])
    drawn = decoding.rollout(
        jax.random.key(1), autoregression, NUMBERS, params, drift, jnp.array([-1.0]),
        first=last, max_length=steps, num_samples=10_000,
    )  # fmt: skip
    lag = np.eye(steps) - a * np.eye(steps, k=-1) - b * np.eye(steps, k=-2)  # lag @ x = known + noise
    known = np.full(steps, 0.5)
    known[0] += a * 2.0 + b * -1.0
    known[1] += b * 2.0
    response = np.linalg.inv(lag)
    mean, covariance = response @ known, scale**2 * response @ response.T
    x = np.asarray(drawn.values[0], np.float64)
    assert (np.abs(x.mean(axis=0) - mean) < 4 * np.sqrt(covariance.diagonal() / len(x))).all()
    spread = np.sqrt((np.outer(covariance.diagonal(), covariance.diagonal()) + covariance**2) / len(x))
    assert (np.abs(np.cov(x.T) - covariance) < 4.5 * spread).all()
    expected = scipy.stats.multivariate_normal(mean, covariance).logpdf(x)
    np.testing.assert_allclose(drawn.log_probs[0], expected, atol=1e-4)


def test_a_prefix_is_read_whatever_stands_in_its_padding():
    params = tuple(map(jnp.array, (0.6, -0.3, 1e-6)))
    prefix = jnp.array([[1.0, 2.0, 3.0], [4.0, jnp.nan, jnp.inf], [jnp.nan] * 3])
    lengths, drift, state, first = (
        jnp.array([3, 1, 0]),
        jnp.zeros(3),
        jnp.array([7.0, 8.0, 9.0]),
        jnp.array([5.0, 5.0, 6.0]),
    )
    drawn = decoding.rollout(
        jax.random.key(0), autoregression, NUMBERS, params, drift, state,
        first=first, max_length=1, prefix=prefix, prefix_lengths=lengths,
    )  # fmt: skip
    expected = [0.6 * 3 - 0.3 * 2, 0.6 * 4 - 0.3 * 5, 0.6 * 6 - 0.3 * 9]
    np.testing.assert_allclose(drawn.values[:, 0, 0], expected, atol=1e-4)
    whole = decoding.rollout(
        jax.random.key(0), autoregression, NUMBERS, params, drift[:1], state[:1],
        first=first[:1], max_length=1, prefix=prefix[:1],
    )  # fmt: skip
    np.testing.assert_allclose(whole.values[0], drawn.values[0], atol=1e-5)


def test_a_prefix_continues_as_if_it_had_been_drawn():
    weights = jnp.asarray(np.random.default_rng(0).normal(0, 1, (3, 3, 3)), jnp.float32)
    context, first = jnp.zeros((1, 3)), jnp.array([0])
    settings = {"max_length": 20, "num_samples": 4}
    from_prefix = decoding.rollout(
        jax.random.key(3), chain, SYMBOLS, weights, context, first, first=first, prefix=jnp.array([[2, 1]]), **settings
    )
    from_state = decoding.rollout(
        jax.random.key(3), chain, SYMBOLS, weights, context, jnp.array([2]), first=jnp.array([1]), **settings
    )
    jax.tree.map(np.testing.assert_array_equal, from_prefix, from_state)


def test_a_sequence_ends_with_the_value_at_which_stop_is_true():
    def falls(context, state, value):
        return value == context

    def uniform(params, context, state, value):
        return CategoricalParams(params), state

    drawn = decoding.rollout(
        jax.random.key(0), uniform, SYMBOLS, jnp.zeros(3), jnp.array([0, 2]), None,
        first=jnp.array([0, 0]), max_length=6, num_samples=500, stop=falls,
    )  # fmt: skip
    for row, last in enumerate((0, 2)):
        for values, length, nats in zip(drawn.values[row], drawn.lengths[row], drawn.log_probs[row], strict=True):
            places = np.flatnonzero(values == last)
            inside = values[:length]
            assert (inside[:-1] != last).all() and (values[length:] == 0).all()
            assert length == 6 or inside[-1] == last, places
            assert float(nats) == pytest.approx(-int(length) * np.log(3), abs=1e-4)
    assert len(set(drawn.lengths[0].tolist())) == 6


def test_bias_sharpens_the_draws_but_not_their_density():
    params, drift, start = tuple(map(jnp.array, (0.5, 0.0, 2.0))), jnp.zeros(1), jnp.zeros(1)

    def spread(bias):
        drawn = decoding.rollout(
            jax.random.key(0), autoregression, NUMBERS, params, drift, start,
            first=start, max_length=1, num_samples=4000, bias=bias,
        )  # fmt: skip
        expected = scipy.stats.norm(0, 2).logpdf(np.asarray(drawn.values[0, :, 0]))
        np.testing.assert_allclose(drawn.log_probs[0], expected, atol=1e-4)
        return float(drawn.values.std())

    assert spread(0.0) == pytest.approx(2, rel=0.05)
    assert spread(1.0) == pytest.approx(2 * np.exp(-1), rel=0.05)


def test_vectors_are_drawn_too():
    family = handwriting(2)

    def scribble(params, context, state, value):
        return family.parameters(params + value[0]), state + value

    drawn = decoding.rollout(
        jax.random.key(0), scribble, family, jnp.zeros(13), None, jnp.zeros((2, 3)),
        first=jnp.zeros((2, 3)), max_length=4, num_samples=3, stop=lambda context, state, value: value[2] > 0,
    )  # fmt: skip
    assert drawn.values.shape == (2, 3, 4, 3)
    ended = np.asarray(drawn.values[..., 2].sum(axis=-1))
    assert ((ended == 1) | (np.asarray(drawn.lengths) == 4)).all()


def test_rows_do_not_depend_on_each_other():
    params, drift = tuple(map(jnp.array, (0.6, -0.3, 1.0))), jnp.array([0.0, 1.0])
    state, first = jnp.zeros(2), jnp.array([1.0, 2.0])

    def draw(first, drift):
        return decoding.rollout(
            jax.random.key(0), autoregression, NUMBERS, params, drift, state, first=first, max_length=5, num_samples=2
        ).values

    before, after = draw(first, drift), draw(first.at[1].set(50.0), drift.at[1].set(-9.0))
    np.testing.assert_array_equal(before[0], after[0])
    assert (before[1] != after[1]).all()


def test_undefined_parameters_are_refused_or_nan():
    context = jnp.array([1.0, jnp.nan, 1.0])

    def draw(context):
        return decoding.rollout(
            jax.random.key(0), nans, NUMBERS, None, context, None, first=jnp.ones(3), max_length=4, num_samples=2
        )

    with pytest.raises(ValueError, match=r"^step: expected parameters that are numbers, got NaN in row\(s\) \[1\]"):
        draw(context)
    drawn = jax.jit(draw)(context)
    assert jnp.isnan(drawn.log_probs).tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert drawn.lengths.tolist() == [[4, 4], [0, 0], [4, 4]]
    assert not drawn.values[1].any()


def test_new_values_compile_nothing_and_it_lowers(compilations, lowers):
    weights = jnp.asarray(np.random.default_rng(0).normal(0, 1, (3, 3, 3)), jnp.float32)

    def draw(key, weights, context, first, prefix, lengths, bias):
        return decoding.rollout(
            key, chain, categorical(3), weights, context, first,
            first=first, max_length=4, num_samples=2, prefix=prefix, prefix_lengths=lengths, bias=bias,
        )  # fmt: skip

    one = (
        jax.random.key(0),
        weights,
        jnp.zeros((2, 3)),
        jnp.array([0, 1]),
        jnp.array([[1, 2], [0, 0]]),
        jnp.array([2, 1]),
    )
    other = (
        jax.random.key(1),
        weights + 1,
        jnp.ones((2, 3)),
        jnp.array([2, 1]),
        jnp.array([[1, 1], [2, 0]]),
        jnp.array([0, 2]),
    )
    draw(*one, 0.0)
    with compilations() as compiled:
        draw(*other, 0.5)
    assert not compiled
    lowers(draw, *one, 0.0)
    inside = jax.jit(draw)(*one, 0.0)
    jax.tree.map(np.testing.assert_array_equal, inside, draw(*one, 0.0))


def draw(**changed):
    params = tuple(map(jnp.array, (0.6, -0.3, 1.0)))
    settings = {"first": jnp.zeros(2), "max_length": 3} | changed
    return decoding.rollout(jax.random.key(0), autoregression, NUMBERS, params, jnp.zeros(2), jnp.zeros(2), **settings)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("max_length", 0, ValueError, "expected at least 1, got 0"),
        ("num_samples", 0, ValueError, "expected at least 1, got 0"),
        ("num_samples", 1.5, TypeError, "expected an int, static under jit, got 1.5"),
        ("prefix", jnp.zeros((2, 4, 3)), ValueError, r"expected float32\[2, 'P'\], like first, got float32\[2, 4, 3\]"),
        ("prefix_lengths", jnp.array([1, 1]), ValueError, "expected a prefix as well"),
        ("stop", lambda context, state, value: value, TypeError, r"expected it to return bool\[\], got float32\[\]"),
        ("stop", "never", TypeError, "expected a function, got 'never'"),
        ("bias", float("nan"), ValueError, "expected a finite number, got nan"),
    ],
)
def test_wrong_arguments_are_refused(name, value, error, message, unchecked):
    with pytest.raises(error, match=f"^{name}: {message}"):
        draw(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("first", jnp.zeros(3)), ("prefix", jnp.zeros((3, 4)))])
def test_all_rows_have_to_be_given(name, value, unchecked):
    with pytest.raises(ValueError, match=f"^{name} has 3 rows but context has 2"):
        draw(**{name: value})


def test_what_is_drawn_has_to_be_what_the_step_reads():
    arguments = None, jnp.ones((2, 1)), None
    with pytest.raises(TypeError, match=r"^first: expected float32\[1\] for each row, .* got float32\[\]"):
        decoding.rollout(jax.random.key(0), nans, NUMBERS, *arguments, first=jnp.zeros(2), max_length=3)


def test_a_wrong_step_is_refused():
    def grows(params, context, state, value):
        return GaussianParams(value, value), jnp.stack([state, state])

    def alone(params, context, state, value):
        return {"mean": value}

    arguments, settings = (NUMBERS, None, None, jnp.zeros(2)), {"first": jnp.zeros(2), "max_length": 3}
    with pytest.raises(ValueError, match=r"step: expected it to keep the shape and type of state, float32\[\], got"):
        decoding.rollout(jax.random.key(0), grows, *arguments, **settings)
    with pytest.raises(TypeError, match=r"step: expected it to return the pair \(parameters, state\), got"):
        decoding.rollout(jax.random.key(0), alone, *arguments, **settings)


def test_a_symbol_model_is_sampled_as_by_the_search():
    """The two samplers draw from one distribution: the mean log-probability of many samples is the same."""
    weights = oracles.random_weights(0, 1, vocabulary=3)

    def step(params, context, state, value):
        logits, state = oracles.step(params, context, state, value)
        return CategoricalParams(logits), state

    shared = None, weights, oracles.zero_state(1)
    numbers = decoding.rollout(
        jax.random.key(0), step, SYMBOLS, *shared, first=jnp.array([0]), max_length=3, num_samples=8000,
        stop=lambda context, state, value: value == 1,
    )  # fmt: skip
    symbols = decoding.sample(jax.random.key(1), oracles.step, *shared, bos=0, eos=1, max_length=3, num_samples=8000)
    spread = float(symbols.log_probs.std()) / np.sqrt(8000)
    assert abs(float(numbers.log_probs.mean() - symbols.log_probs.mean())) < 6 * spread
    assert abs(float(numbers.lengths.mean() - symbols.lengths.mean())) < 0.06
