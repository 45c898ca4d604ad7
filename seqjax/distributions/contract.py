"""The contract of an output distribution, and the arithmetic that keeps densities and gradients finite.

A model of numbers ends in a layer whose outputs, the features, determine a distribution of the next value:

    parameters = distribution.parameters(features)          # features [..., F]
    nats = distribution.log_prob(parameters, value)         # to train: maximize it
    value = distribution.sample(key, parameters)            # to generate: `seqjax.decoding.rollout`

Any finite feature, however large, has a finite log-density and a finite gradient, in float32: features and values count
as at most `LARGEST` in size, positive parameters are at least `SMALLEST`, and a value counts as at most `FARTHEST`
scales away from a location. Beyond these bounds, the gradient with respect to what exceeds them is zero.

In the shapes, `*B` are any batch axes, `F` is the number of features and `Q` a number of probabilities. Log-densities
are in nats.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key, Num

from seqjax.arguments import at_least

LARGEST = 1e20  # below the square root of 1e-12 times the largest float32, so that quotients and their gradients fit
SMALLEST = 1e-6
FARTHEST = 1e9

Parameters = Any  # a NamedTuple of arrays, each with the batch axes first
Value = Num[Array, "..."]  # one number, or one vector if the distribution is of vectors


class Distribution(NamedTuple):
    """A family of distributions, as pure functions that treat all batch axes alike."""

    num_features: int  # F
    parameters: Callable[[Float[Array, "*B F"]], Parameters]
    log_prob: Callable[[Parameters, Value], Float[Array, "*B"]]  # log-density, or log-probability of a symbol or count
    sample: Callable[[Key[Array, ""], Parameters], Value]  # one draw for each place of the batch
    mean: Callable[[Parameters], Float[Array, "..."]]
    quantile: Callable[[Parameters, Float[Array, " Q"]], Float[Array, "... Q"]]  # of each coordinate of a vector
    sharpen: Callable[[Parameters, Float[Array, ""]], Parameters]  # more probable values become more frequent; 0: as is
    rescale: Callable[[Parameters, Float[Array, "*B"]], Parameters] | None  # of the value times a factor; None: no unit


def parameters_of(
    distribution: Distribution, features: Float[Array, "*B F"], scale: Float[Array, "*#B"] | None = None
) -> Parameters:
    """Returns the parameters of the distribution of a value that is measured in units of `scale`, if it has a unit.

    >>> from seqjax.distributions import gaussian
    >>> parameters_of(gaussian(), jnp.array([2.0, 0.0]), scale=jnp.array(10.0)).mean
    Array(20., dtype=float32)
    """
    parameters = distribution.parameters(features)
    return parameters if scale is None or distribution.rescale is None else distribution.rescale(parameters, scale)


def mean_log_likelihood(
    distribution: Distribution,
    features: Float[Array, "*B F"],
    values: Num[Array, "..."],
    valid: Bool[Array, "*B"],
    scale: Float[Array, "*#B"] | None = None,
) -> Float[Array, ""]:
    """Computes the mean log-density of the valid values, 0 if there are none.

    Args:
      distribution: the family.
      features: what the model predicts for each value; anything where it is not valid, also NaN.
      values: one value for each place of the batch; anything where it is not valid, also NaN.
      valid: true where a value counts.
      scale: unit of the values, see `parameters_of`.

    >>> from seqjax.distributions import bernoulli
    >>> features, values = jnp.zeros((3, 1)), jnp.array([0.0, 1.0, jnp.nan])
    >>> mean_log_likelihood(bernoulli(), features, values, jnp.array([True, True, False])).round(4)  # -ln 2
    Array(-0.6931, dtype=float32)
    """
    of_value = valid.reshape(valid.shape + (1,) * (values.ndim - valid.ndim))
    parameters = parameters_of(distribution, jnp.where(valid[..., None], features, 0), scale)
    nats = distribution.log_prob(parameters, jnp.where(of_value, values, 0))
    return jnp.sum(jnp.where(valid, nats, 0)) / jnp.maximum(valid.sum(), 1).astype(nats.dtype)


def bounded(numbers: Num[Array, "*B"]) -> Float[Array, "*B"]:
    """Limits numbers to `LARGEST` in size, as floats.

    >>> bounded(jnp.array([2.0, -1e30]))
    Array([ 2.e+00, -1.e+20], dtype=float32)
    """
    return jnp.clip(at_least(numbers, jnp.float32), -LARGEST, LARGEST)


def positive(features: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Maps features to positive numbers, ln(1 + exp x) but at least `SMALLEST`.

    >>> positive(jnp.array([-1e9, 50.0]))
    Array([1.e-06, 5.e+01], dtype=float32)
    """
    return jax.nn.softplus(bounded(features)) + SMALLEST


def standardized(
    values: Num[Array, "*#B"], location: Float[Array, "*#B"], scale: Float[Array, "*#B"]
) -> Float[Array, "*B"]:
    """Computes (value - location) / scale, limited to `FARTHEST`.

    >>> standardized(jnp.array([5.0, 1e30]), jnp.array(1.0), jnp.array(2.0))
    Array([2.e+00, 1.e+09], dtype=float32)
    """
    return jnp.clip((bounded(values) - bounded(location)) / scale, -FARTHEST, FARTHEST)


def at_each(probabilities: Float[Array, " Q"], shape: tuple[int, ...]) -> Float[Array, "... Q"]:
    """Repeats probabilities for each place of a batch of a shape.

    >>> at_each(jnp.array([0.1, 0.9]), (2,))
    Array([[0.1, 0.9],
           [0.1, 0.9]], dtype=float32)
    """
    return jnp.broadcast_to(probabilities, (*shape, len(probabilities)))


def inverse(
    cdf: Callable[[Float[Array, "... Q"]], Float[Array, "... Q"]],
    probabilities: Float[Array, "... Q"],
    low: Float[Array, "... #Q"],
    high: Float[Array, "... #Q"],
) -> Float[Array, "... Q"]:
    """Finds the smallest number at which a distribution function reaches each probability, by bisection.

    Args:
      cdf: the distribution function of each place of the batch, which takes `Q` numbers there.
      probabilities: the probabilities.
      low, high: bounds of the result.

    >>> inverse(lambda x: x**2, jnp.array([0.25, 0.5]), jnp.zeros(1), jnp.ones(1)).round(3)
    Array([0.5  , 0.707], dtype=float32)
    """
    shape = jnp.broadcast_shapes(low.shape, high.shape, probabilities.shape)
    probabilities = jnp.broadcast_to(probabilities, shape)

    def halve(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = low + (high - low) / 2
        reached = cdf(middle) >= probabilities
        return jnp.where(reached, low, middle), jnp.where(reached, middle, high)

    steps = 2 * jnp.finfo(low.dtype).nmant  # as many bits again for bounds much wider than the result
    return lax.fori_loop(0, steps, halve, (jnp.broadcast_to(low, shape), jnp.broadcast_to(high, shape)))[1]
