"""The forecaster: one step at a time as all at once, whatever is missing, and never a look ahead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax
from seqjax.layers.linen import Recurrent
from seqjax.models.forecaster import Forecaster

MODEL = Forecaster(3, Recurrent(seqjax.gru(hidden_size=5), layers=2), lags=(1, 2, 4))
B, T, C = 3, 9, 2


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.normal(0, 30, (B, T)), jnp.float32).at[0, 4].set(jnp.nan).at[2, 0].set(jnp.nan)
    return values, jnp.asarray(rng.normal(size=(B, T, C)), jnp.float32), jnp.array([10.0, 1.0, 50.0])


@pytest.fixture(scope="module")
def params(series):
    params = MODEL.init(jax.random.key(0), *series)
    return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(1), leaf.shape), params)


def test_steps_are_the_sequence(params, series):
    values, covariates, scale = series
    features = MODEL.apply(params, *series)
    known = jnp.array([4, 2, 0])
    carry, value = MODEL.apply(params, *series, known, method="read")
    step = jax.vmap(
        lambda carry, value, covariates, scale: MODEL.apply(params, carry, value, covariates, scale, method="step")
    )
    for ahead in range(4):
        now = known + ahead
        carry, got = step(carry, value, covariates[jnp.arange(B), now], scale)
        np.testing.assert_allclose(got, features[jnp.arange(B), now], rtol=1e-5, atol=1e-6)
        value = values[jnp.arange(B), now]


def test_features_do_not_depend_on_the_step_itself_or_later_ones(params, series):
    values, covariates, scale = series
    expected = MODEL.apply(params, *series)
    for t in (0, 3, 8):
        for unknown in (1e6, jnp.nan, jnp.inf):
            got = MODEL.apply(params, values.at[:, t:].set(unknown), covariates, scale)
            np.testing.assert_array_equal(got[:, : t + 1], expected[:, : t + 1])


def test_a_missing_value_is_not_a_zero(params, series):
    values, covariates, scale = series
    missing, zero = (MODEL.apply(params, values.at[1, 3].set(value), covariates, scale) for value in (jnp.nan, 0.0))
    assert not jnp.isnan(missing).any()
    np.testing.assert_array_equal(missing[1, :4], zero[1, :4])
    assert (jnp.abs(missing[1, 4] - zero[1, 4]) > 1e-4).all()


def test_what_is_beyond_a_length_reaches_no_gradient(params, series):
    values, covariates, scale = series
    lengths = jnp.array([9, 5, 2])
    inside = jnp.arange(T)[None] < lengths[:, None]

    def loss(params, values, covariates):
        return jnp.sum(jnp.where(inside[..., None], MODEL.apply(params, values, covariates, scale, lengths), 0) ** 2)

    spoiled = jnp.where(inside, values, jnp.inf), jnp.where(inside[..., None], covariates, jnp.nan)
    expected, got = jax.grad(loss)(params, values, covariates), jax.grad(loss)(params, *spoiled)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_the_unit_of_a_series_does_not_matter(params, series):
    values, covariates, scale = series
    in_thousands = MODEL.apply(params, values / 1000, covariates, scale / 1000)
    np.testing.assert_allclose(in_thousands, MODEL.apply(params, *series), rtol=1e-4, atol=1e-5)


def test_a_linear_autoregression_is_a_special_case(params, series):
    values, covariates, scale = series
    zero = jax.tree.map(jnp.zeros_like, params)
    kernel = zero["params"]["output"]["kernel"].at[-3, 0].set(0.5).at[-1, 0].set(-0.2)  # lags 1 and 4
    zero["params"]["output"]["kernel"] = kernel
    got = MODEL.apply(zero, jnp.nan_to_num(values), covariates, scale)[:, 5, 0] * scale
    np.testing.assert_allclose(got, (0.5 * values[:, 4] - 0.2 * values[:, 1]).at[0].set(-0.2 * values[0, 1]), rtol=1e-5)


def test_dropout_needs_a_key_and_changes_the_features(params, series):
    model = MODEL.clone(dropout_rate=0.5)
    keys = [{"dropout": jax.random.key(n)} for n in (0, 1)]
    one, other = (model.apply(params, *series, deterministic=False, rngs=key) for key in keys)
    assert (one != other).any()
    np.testing.assert_array_equal(model.apply(params, *series), MODEL.apply(params, *series))


@pytest.mark.parametrize("lags", [(), (0,), (3, -1)])
def test_lags_are_checked(lags, series):
    with pytest.raises(ValueError, match="^lags: expected at least one, each at least 1, got"):
        Forecaster(3, Recurrent(seqjax.gru(hidden_size=5)), lags=lags).init(jax.random.key(0), *series)


def test_second_call_compiles_nothing_and_it_lowers(params, series, compilations, lowers):
    run = jax.jit(lambda params, *series: (MODEL.apply(params, *series), MODEL.apply(params, *series, method="read")))
    run(params, *series)
    other = jax.tree.map(lambda leaf: leaf + 1, (params, *series))
    with compilations() as compiled:
        run(*other)
    assert not compiled
    lowers(run, params, *series)
