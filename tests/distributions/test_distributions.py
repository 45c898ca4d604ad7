"""Output distributions against SciPy, by integration and by their own samples; finite for any finite input."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads

from seqjax import distributions
from seqjax.distributions import Distribution, mean_log_likelihood
from seqjax.distributions.handwriting import HandwritingParams
from seqjax.distributions.negative_binomial import NegativeBinomialParams
from seqjax.distributions.student_t import StudentTParams

FAMILIES = {
    "gaussian": distributions.gaussian(),
    "student_t": distributions.student_t(),
    "negative_binomial": distributions.negative_binomial(),
    "bernoulli": distributions.bernoulli(),
    "categorical": distributions.categorical(5),
    "handwriting": distributions.handwriting(3),
}
REAL = ("gaussian", "student_t")
PROBABILITIES = jnp.array([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])

of_each = pytest.mark.parametrize("name", FAMILIES)


def reference(name: str, parameters, place: tuple[int, ...] = ()):
    """SciPy's distribution with the parameters at one place of the batch."""
    parameters = [np.asarray(parameter, np.float64)[place] for parameter in parameters]
    if name == "gaussian":
        return scipy.stats.norm(*parameters)
    if name == "student_t":
        return scipy.stats.t(*parameters)
    if name == "negative_binomial":
        mean, dispersion = parameters
        return scipy.stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean))
    if name == "bernoulli":
        return scipy.stats.bernoulli(1 / (1 + np.exp(-parameters[0])))
    [logits] = parameters
    return scipy.stats.rv_discrete(values=(range(len(logits)), scipy.special.softmax(logits)))


def log_prob(of, value):
    return of.logpdf(value) if hasattr(of.dist if hasattr(of, "dist") else of, "pdf") else of.logpmf(value)


def some_values(name: str, rng: np.random.Generator, shape: tuple[int, ...]):
    if name in REAL:
        return jnp.asarray(rng.normal(0, 4, shape), jnp.float32)
    if name == "negative_binomial":
        return jnp.asarray(rng.integers(0, 40, shape), jnp.float32)
    if name == "handwriting":
        return jnp.asarray(
            np.concatenate([rng.normal(0, 2, (*shape, 2)), rng.integers(0, 2, (*shape, 1))], -1), jnp.float32
        )
    return jnp.asarray(rng.integers(0, 5 if name == "categorical" else 2, shape))


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "handwriting"])
@pytest.mark.parametrize("spread", [1.0, 6.0])
def test_density_mean_and_quantiles_are_those_of_scipy(name, spread):
    family, rng = FAMILIES[name], np.random.default_rng(0)
    features = jnp.asarray(rng.normal(0, spread, (12, family.num_features)), jnp.float32)
    parameters, values = family.parameters(features), some_values(name, rng, (12,))
    got = family.log_prob(parameters, values), family.mean(parameters), family.quantile(parameters, PROBABILITIES)
    for row, (nats, mean, quantiles) in enumerate(zip(*got, strict=True)):
        of = reference(name, parameters, (row,))
        np.testing.assert_allclose(nats, log_prob(of, float(values[row])), rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(mean, of.mean(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(quantiles, of.ppf(np.float64(PROBABILITIES)), rtol=2e-4, atol=2e-4)


def test_t_is_accurate_at_many_degrees_of_freedom_and_negative_binomial_at_small_dispersion():
    t = StudentTParams(jnp.array([30.0, 1e3, 1e4]), jnp.zeros(3), jnp.ones(3))
    expected = scipy.stats.t(np.array(t.freedom, float)).logpdf(0.5)
    np.testing.assert_allclose(FAMILIES["student_t"].log_prob(t, jnp.full(3, 0.5)), expected, atol=3e-6)
    counts = NegativeBinomialParams(jnp.full(3, 20.0), jnp.array([1e-4, 1e-3, 1e-1]))
    n = 1 / np.array(counts.dispersion, float)
    expected = scipy.stats.nbinom(n, n / (n + 20)).logpmf(17)
    np.testing.assert_allclose(FAMILIES["negative_binomial"].log_prob(counts, jnp.full(3, 17.0)), expected, atol=2e-3)


@pytest.mark.parametrize("name", REAL)
def test_density_integrates_to_one(name):
    family = FAMILIES[name]
    parameters = family.parameters(jnp.array([0.3, -1.0, 0.5][: family.num_features]))
    density = jax.jit(lambda x: jnp.exp(family.log_prob(parameters, x)))
    area, _ = scipy.integrate.quad(lambda x: float(density(jnp.float32(x))), -60, 60, points=[-3, 0.3, 3], epsabs=1e-4)
    assert area == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["negative_binomial", "bernoulli", "categorical"])
def test_probabilities_sum_to_one(name):
    family = FAMILIES[name]
    parameters = family.parameters(jnp.linspace(-1.0, 2.0, family.num_features))
    size = {"negative_binomial": 3000, "bernoulli": 2, "categorical": 5}[name]
    together = jax.vmap(lambda value: family.log_prob(parameters, value))(jnp.arange(size))
    assert jnp.exp(together).sum() == pytest.approx(1, abs=1e-4)


def bivariate(parameters: HandwritingParams, movement: np.ndarray) -> np.ndarray:
    """Graves (2013), equations 23 to 25, in float64; the correlation near 1 without cancellation."""
    end, logits, mean, scale, artanh = (np.asarray(parameter, np.float64) for parameter in parameters)
    total = np.zeros(movement.shape[:-1])
    for weight, mu, sigma, a in zip(scipy.special.softmax(logits), mean, scale, artanh, strict=True):
        rho, rest = np.tanh(a), 1 / np.cosh(a) ** 2  # rest = 1 - rho^2
        x, y = np.moveaxis((movement[..., :2] - mu) / sigma, -1, 0)
        z = x**2 + y**2 - 2 * rho * x * y
        total = total + weight * np.exp(-z / (2 * rest)) / (2 * np.pi * sigma.prod() * np.sqrt(rest))
    p_end = scipy.special.expit(end)
    return np.log(total) + np.log(np.where(movement[..., 2] == 1, p_end, 1 - p_end))


def test_handwriting_is_equations_23_to_25():
    family, rng = FAMILIES["handwriting"], np.random.default_rng(0)
    parameters = family.parameters(jnp.asarray(rng.normal(0, 1.5, family.num_features), jnp.float32))
    values = some_values("handwriting", rng, (50,))
    got = jax.vmap(lambda value: family.log_prob(parameters, value))(values)
    np.testing.assert_allclose(got, bivariate(parameters, np.asarray(values, float)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("artanh", [0.0, 3.0, -6.0])
def test_handwriting_integrates_to_one_also_at_a_correlation_near_one(artanh):
    family = distributions.handwriting(1)
    parameters = HandwritingParams(*map(jnp.array, (0.4, [0.0], [[1.0, -1.0]], [[0.5, 2.0]], [artanh])))
    # along the axes of the ellipse, where even a thin one is smooth: u = z_x + z_y, v = z_x - z_y
    narrow = np.sqrt(2 * np.array([1 + np.tanh(artanh), 1 - np.tanh(artanh)]))
    u, v = (7 * width * np.linspace(-1, 1, 201) for width in narrow)
    z = np.stack(np.broadcast_arrays((u[:, None] + v) / 2, (u[:, None] - v) / 2), -1)
    movement = np.asarray([1.0, -1.0]) + z * np.asarray([0.5, 2.0])
    cell = 0.5 * 2.0 / 2 * (u[1] - u[0]) * (v[1] - v[0])
    density = jax.jit(jax.vmap(jax.vmap(lambda value: jnp.exp(family.log_prob(parameters, value)))))
    area = 0.0
    for end in (0.0, 1.0):
        values = np.concatenate([movement, np.full((*movement.shape[:-1], 1), end)], -1)
        area += float(density(jnp.asarray(values, jnp.float32)).sum()) * cell
    assert area == pytest.approx(1, abs=1e-3)


@of_each
def test_samples_have_the_distribution(name):
    family, rng = FAMILIES[name], np.random.default_rng(1)
    features = jnp.asarray(rng.normal(0, 1, family.num_features), jnp.float32)
    parameters = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (20_000, *leaf.shape)), family.parameters(features))
    drawn = np.asarray(family.sample(jax.random.key(2), parameters), np.float64)
    one = family.parameters(features)
    spread = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - np.asarray(family.mean(one))) < 4 * spread).all()
    if name in REAL:
        assert scipy.stats.kstest(drawn, reference(name, one).cdf).pvalue > 1e-3
    elif name == "handwriting":
        quantiles = np.asarray(family.quantile(one, PROBABILITIES))
        below = (drawn[:, :2, None] <= quantiles[None, :2]).mean(axis=0)
        np.testing.assert_allclose(below, np.tile(PROBABILITIES, (2, 1)), atol=0.015)
        joint = np.mean((drawn[:, 0] < quantiles[0, 3]) & (drawn[:, 1] < quantiles[1, 3]))  # sees the correlation
        end, logits, mean, scale, artanh = map(np.asarray, one)
        expected = sum(
            weight
            * scipy.stats.multivariate_normal(
                mu, [[s[0] ** 2, np.tanh(a) * s.prod()], [np.tanh(a) * s.prod(), s[1] ** 2]]
            ).cdf(quantiles[:2, 3])
            for weight, mu, s, a in zip(scipy.special.softmax(logits), mean, scale, artanh, strict=True)
        )
        assert joint == pytest.approx(expected, abs=0.015)
    else:
        of = reference(name, one)
        values, counts = np.unique(drawn, return_counts=True)
        often = of.pmf(values) * len(drawn) > 20
        observed, expected = counts[often], of.pmf(values[often]) * len(drawn)
        rest = len(drawn) - observed.sum(), len(drawn) - expected.sum()
        if rest[1] > 20:
            observed, expected = np.append(observed, rest[0]), np.append(expected, rest[1])
        assert scipy.stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


finite = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1e-38, -1e-38, 20.0, -20.0, 100.0, -100.0, 1e10, -1e10, 3.4e38, -3.4e38]),
)


@functools.cache
def finite_results(name: str):
    family = FAMILIES[name]

    def nats(features, value):
        return family.log_prob(family.parameters(features), value)

    of = jax.value_and_grad(nats, (0,) if name == "categorical" else (0, 1))

    def everything(features, value):
        parameters = family.parameters(features)
        return of(features, value), family.mean(parameters), family.quantile(parameters, PROBABILITIES)

    return jax.jit(everything)


@of_each
@given(data=st.data())
def test_any_finite_input_has_a_finite_log_density_and_gradient(name, data):
    family = FAMILIES[name]
    features = data.draw(arrays(np.float32, family.num_features, elements=finite))
    if name == "categorical":
        value = data.draw(st.integers(0, 4))
    elif name == "bernoulli":
        value = float(data.draw(st.integers(0, 1)))
    else:
        value = data.draw(arrays(np.float32, (3,) if name == "handwriting" else (), elements=finite))
        if name == "handwriting":
            value[2] = value[2] > 0
    for result in jax.tree.leaves(finite_results(name)(features, value)):
        assert np.isfinite(result).all()


@of_each
def test_gradients_are_differences(name, x64):
    family, rng = FAMILIES[name], np.random.default_rng(3)
    features = jnp.asarray(rng.normal(0, 1, (4, family.num_features)))
    values = some_values(name, rng, (4,))
    values = values if name == "categorical" else values.astype(float)
    check_grads(lambda x: family.log_prob(family.parameters(jnp.asarray(x)), values), (features,), 1)


@of_each
def test_all_batch_axes_are_treated_alike_and_a_new_value_compiles_nothing(name, compilations, lowers):
    family, rng = FAMILIES[name], np.random.default_rng(4)
    features = jnp.asarray(rng.normal(0, 1, (2, 3, family.num_features)), jnp.float32)
    values = some_values(name, rng, (2, 3))

    def everything(key, features, values, bias):
        parameters = family.sharpen(family.parameters(features), bias)
        drawn = family.sample(key, parameters)
        return (
            family.log_prob(parameters, values),
            family.mean(parameters),
            family.quantile(parameters, PROBABILITIES),
            drawn,
        )

    run = jax.jit(everything)
    key, bias = jax.random.key(0), jnp.float32(0.0)
    nats, mean, quantiles, drawn = run(key, features, values, bias)
    event = (3,) if name == "handwriting" else ()
    assert (nats.shape, mean.shape, drawn.shape) == ((2, 3), (2, 3, *event), (2, 3, *event))
    assert quantiles.shape == (2, 3, *event, len(PROBABILITIES))
    assert (jnp.diff(quantiles, axis=-1) >= 0).all()
    for place in itertools.product(range(2), range(3)):
        of_one, _, quantiles_of_one, _ = run(key, features[place], values[place], bias)
        np.testing.assert_allclose(nats[place], of_one, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(quantiles[place], quantiles_of_one, rtol=1e-4, atol=1e-5)
    others = jax.random.key(1), features + 1, values, bias + 1
    with compilations() as compiled:
        run(*others)
    assert not compiled
    lowers(everything, key, features, values, bias)


@of_each
def test_bias_makes_probable_values_more_frequent_and_zero_leaves_all_as_it_is(name):
    family, rng = FAMILIES[name], np.random.default_rng(5)
    parameters = family.parameters(jnp.asarray(rng.normal(0, 1, family.num_features), jnp.float32))
    for before, after in zip(parameters, family.sharpen(parameters, jnp.float32(0.0)), strict=True):
        np.testing.assert_array_equal(before, after)
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (4000, *leaf.shape)), parameters)

    def mean_nats(bias):
        drawn = family.sample(jax.random.key(0), family.sharpen(many, jnp.float32(bias)))
        return float(family.log_prob(many, drawn).mean())

    assert mean_nats(0.0) < mean_nats(1.0) < mean_nats(4.0) + 1e-6


def test_sharpened_handwriting_is_equations_61_and_62():
    parameters = FAMILIES["handwriting"].parameters(jnp.linspace(-1.0, 1.0, 19))
    sharp = FAMILIES["handwriting"].sharpen(parameters, jnp.float32(0.7))
    np.testing.assert_allclose(sharp.scale, np.exp(np.log(parameters.scale) - 0.7), rtol=1e-6)
    np.testing.assert_allclose(sharp.logits, 1.7 * parameters.logits, rtol=1e-6)
    np.testing.assert_array_equal(sharp.mean, parameters.mean)


@pytest.mark.parametrize("name", ["gaussian", "student_t", "handwriting"])
def test_a_change_of_unit_divides_the_density(name):
    family, rng = FAMILIES[name], np.random.default_rng(6)
    parameters = family.parameters(jnp.asarray(rng.normal(0, 1, (5, family.num_features)), jnp.float32))
    values, factor = some_values(name, rng, (5,)), jnp.linspace(0.5, 20.0, 5)
    dimensions = 2 if name == "handwriting" else 1
    in_unit = values * (jnp.stack([factor, factor, jnp.ones(5)], -1) if name == "handwriting" else factor)
    got = family.log_prob(family.rescale(parameters, factor), in_unit)
    expected = family.log_prob(parameters, values) - dimensions * jnp.log(factor)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_counts_in_another_unit_are_those_of_salinas_et_al():
    family = FAMILIES["negative_binomial"]
    rescaled = family.rescale(NegativeBinomialParams(jnp.array(2.0), jnp.array(0.6)), jnp.array(9.0))
    np.testing.assert_allclose(rescaled, (18.0, 0.2), rtol=1e-6)


@of_each
def test_what_is_not_valid_reaches_neither_the_mean_nor_its_gradient(name):
    family, rng = FAMILIES[name], np.random.default_rng(7)
    features = jnp.asarray(rng.normal(0, 1, (2, 3, family.num_features)), jnp.float32)
    values, valid = some_values(name, rng, (2, 3)), jnp.array([[True, True, False], [True, False, False]])

    loss = jax.value_and_grad(lambda features, values: mean_log_likelihood(family, features, values, valid))
    expected = loss(features, values)
    spoiled = jnp.where(valid[..., None], features, jnp.nan)
    nothing = 99 if jnp.issubdtype(values.dtype, jnp.integer) else jnp.nan
    where = valid[..., None] if name == "handwriting" else valid
    got = loss(spoiled, jnp.where(where, values, nothing))
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    alone = family.log_prob(family.parameters(features), values)
    np.testing.assert_allclose(expected[0], alone[valid].mean(), rtol=1e-6)
    assert mean_log_likelihood(family, features, values, jnp.zeros_like(valid)) == 0


def test_families_compare_by_value():
    assert distributions.gaussian() == distributions.gaussian()
    assert distributions.handwriting(3) == distributions.handwriting(num_components=3) != distributions.handwriting(4)
    assert hash(distributions.categorical(2)) == hash(distributions.categorical(2))


@pytest.mark.parametrize("make", [distributions.categorical, distributions.handwriting])
def test_sizes_are_checked(make, unchecked):
    with pytest.raises(ValueError, match=r"^(size|num_components): expected at least 1, got 0$"):
        make(0)
    with pytest.raises(TypeError, match="expected an int, got 2.5"):
        make(2.5)


def test_a_symbol_out_of_range_is_refused_or_nan():
    family: Distribution = distributions.categorical(3)
    parameters = family.parameters(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="value: expected symbols from 0 to 2, got 3 in row 1"):
        family.log_prob(parameters, jnp.array([0, 3]))
    assert jnp.isnan(jax.jit(family.log_prob)(parameters, jnp.array([0, -1]))).tolist() == [False, True]
