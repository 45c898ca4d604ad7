"""Forecasts of a trained model: paths by ancestral sampling, or quantiles at once; which past values matter."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from experiments.forecasting.figures import Fan
from experiments.forecasting.scores import PERCENTILES
from experiments.forecasting.windows import Prepared, Windows, histories
from seqjax.decoding import rollout
from seqjax.distributions import Distribution, parameters_of
from seqjax.models.forecaster import Forecaster

AT_ONCE = 64  # windows
LEVELS = np.array(PERCENTILES) / 100

Origin = tuple[int, int]  # number of a series, and the step at which its forecast begins


class Predictor(NamedTuple):
    """How a model forecasts; static under `jit`."""

    model: Forecaster
    distribution: Distribution | None  # None: the features are the quantiles of all steps
    horizon: int  # H
    context: int  # number of steps that are read before
    samples: int  # S


@partial(jax.jit, static_argnums=0)
def paths(predictor: Predictor, params: Any, key: Key[Array, ""], windows: Windows) -> Float[Array, "B S H"]:
    """Draws paths of x that follow the history in each window; for direct forecasts, returns the quantiles of x."""
    model, distribution, horizon, _, samples = predictor
    known = windows.values.shape[1]
    future = jax.vmap(lambda row, start: jax.lax.dynamic_slice(row, (start, 0), (horizon, row.shape[1])))(
        windows.covariates, windows.lengths
    )
    history = windows.values, windows.covariates[:, :known], windows.scale, windows.lengths
    carry, last = model.apply(params, *history, method="read")
    context, state = (future, windows.scale), (carry, jnp.zeros(len(last), jnp.int32))

    def features_of(params: Any, context: Any, state: Any, value: Array) -> tuple[Array, Any]:
        (covariates, scale), (carry, place) = context, state
        carry, features = model.apply(params, carry, value, covariates[place], scale, method="step")
        return features, (carry, place + 1)

    if distribution is None:
        features, _ = jax.vmap(partial(features_of, params))(context, state, last)
        quantiles = features.reshape(len(last), horizon, len(LEVELS)) * windows.scale[:, None, None]
        return jnp.moveaxis(jnp.sort(quantiles, axis=-1), 1, 2)

    def step(params: Any, context: Any, state: Any, value: Array) -> tuple[Any, Any]:
        features, state = features_of(params, context, state, value)
        return parameters_of(distribution, features, context[1]), state

    return rollout(
        key, step, distribution, params, context, state, first=last, max_length=horizon, num_samples=samples
    ).values


def forecast_quantiles(
    predictor: Predictor, params: Any, key: Key[Array, ""], series: Sequence[Prepared], origins: Sequence[Origin]
) -> Iterator[Float[np.ndarray, "H Q"]]:
    """Forecasts y from each origin; yields the quantiles `PERCENTILES` of each step."""
    for start in range(0, len(origins), AT_ONCE):
        some = origins[start : start + AT_ONCE]
        padded = [*some, *[some[-1]] * (min(AT_ONCE, len(origins)) - len(some))]  # one shape
        windows = histories(series, padded, predictor.context, predictor.horizon)
        drawn = np.asarray(paths(predictor, params, jax.random.fold_in(key, start), windows), np.float64)
        for (which, origin), of_origin in zip(some, drawn, strict=False):
            transformation, history = series[which].transformation, series[which].values[:origin]
            if predictor.distribution is None:
                yield transformation.directly(history, of_origin).T
            else:
                yield np.quantile(transformation.continued(history, of_origin), LEVELS, axis=0).T


def fans(series: Sequence[Prepared], origins: Sequence[Origin], quantiles: Sequence[np.ndarray]) -> list[Fan]:
    """Makes the fan chart of each origin, with the values before it, five times as many as are forecast."""
    made = []
    for (which, origin), of_steps in zip(origins, quantiles, strict=True):
        one, horizon = series[which], len(of_steps)
        shown = slice(max(0, origin - 5 * horizon), origin + horizon)
        values = np.concatenate([one.values, np.full(horizon, np.nan)])[shown]
        last = str(one.times[origin - 1]).partition("T")[0]
        made.append(
            Fan(f"{one.name}: forecast of the {horizon} steps after {last}", one.times[shown], values, of_steps)
        )
    return made


@partial(jax.jit, static_argnums=0)
def influence(predictor: Predictor, params: Any, windows: Windows) -> Float[Array, " T"]:
    """Computes how much the prediction of the last step of each window changes with each value before it.

    Returns:
      The mean over the windows of the absolute derivative of the predicted mean of x, or of the median for direct
      forecasts, by each x.
    """
    model, distribution, horizon, _, _ = predictor

    def predicted(values: Array, row: Windows) -> Array:
        features = model.apply(params, values[None], row.covariates[None], row.scale[None])[0, -1]
        if distribution is None:
            return features.reshape(horizon, len(LEVELS))[0, len(LEVELS) // 2] * row.scale
        return distribution.mean(parameters_of(distribution, features, row.scale))

    rows = jax.tree.map(jnp.asarray, windows)
    return jnp.abs(jax.vmap(jax.grad(predicted))(rows.values, rows)).mean(axis=0)
