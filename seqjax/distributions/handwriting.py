"""The distribution of one pen movement: a mixture of bivariate Gaussians, and a bit for the end of a stroke."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, Key, Num

from seqjax.arguments import IntLike, as_count
from seqjax.by_value import by_value
from seqjax.distributions.contract import Distribution, at_each, bounded, inverse, positive, standardized

LARGEST_CORRELATION = 7.0  # of artanh(correlation), so that 1 - correlation is at least 1.7e-6
FARTHEST_QUANTILE = 20.0  # scales of a component


class HandwritingParams(NamedTuple):
    """Parameters of pen movements, with `M` components."""

    end: Float[Array, "*B"]  # logit of the bit
    logits: Float[Array, "*B M"]  # of the components, not necessarily normalised
    mean: Float[Array, "*B M 2"]
    scale: Float[Array, "*B M 2"]  # standard deviations
    correlation: Float[Array, "*B M"]  # artanh of the correlation


@by_value
def handwriting(num_components: IntLike) -> Distribution:
    """Makes the distribution of a pen movement, a vector (dx, dy, end), where end is 1 for the last point of a stroke.

    Graves (2013), equations 17 to 25, with `M` = `num_components` components. The first feature is that of `end`, and
    each component has 6 more:

        p(dx, dy, end) = sum_j weight_j N(dx, dy; mean_j, scale_j, correlation_j) Bernoulli(end; e)

    Scales are `positive` features instead of exponentials. With the standardised movements z of a component, and its
    correlation r, the quadratic form is evaluated along its principal axes, which does not cancel near r = 1 or -1:

        z_x^2 - 2 r z_x z_y + z_y^2 = (1 - r^2) ((z_x + z_y)^2 / (2 (1 + r)) + (z_x - z_y)^2 / (2 (1 - r)))

    Sharpening is that of section 5.4: scales times exp(-bias), weights to the power 1 + bias. It leaves `end` as it is.
    Quantiles are those of each coordinate.

    Raises:
      ValueError: if `num_components` is below 1.

    >>> family = handwriting(1)
    >>> parameters = family.parameters(jnp.array([0.0, 0.0, 3.0, -4.0, 0.5413, 0.5413, 0.0]))  # scales 1, correlation 0
    >>> nats = family.log_prob(parameters, jnp.array([3.0, -4.0, 1.0]))  # -ln(2 pi) - ln 2
    >>> family.mean(parameters), round(float(nats), 3)
    (Array([ 3. , -4. ,  0.5], dtype=float32), -2.531)
    """
    count = as_count("num_components", num_components)

    def parameters(features: Float[Array, "*B F"]) -> HandwritingParams:
        features = bounded(features)
        logits, across, up, scale_across, scale_up, correlation = jnp.split(features[..., 1:], 6, axis=-1)
        return HandwritingParams(
            features[..., 0],
            logits,
            jnp.stack([across, up], axis=-1),
            positive(jnp.stack([scale_across, scale_up], axis=-1)),
            LARGEST_CORRELATION * jnp.tanh(correlation / LARGEST_CORRELATION),
        )

    def log_prob(parameters: HandwritingParams, value: Num[Array, "*B 3"]) -> Float[Array, "*B"]:
        end, logits, mean, scale, correlation = parameters
        across, up = jnp.moveaxis(standardized(value[..., None, :2], mean, scale), -1, 0)
        log_plus = jax.nn.log_sigmoid(2 * correlation)  # ln((1 + r) / 2)
        log_minus = jax.nn.log_sigmoid(-2 * correlation)  # ln((1 - r) / 2)
        quadratic = ((across + up) ** 2 * jnp.exp(-log_plus) + (across - up) ** 2 * jnp.exp(-log_minus)) / 8
        determinant = jnp.log(scale).sum(axis=-1) + jnp.log(2.0) + (log_plus + log_minus) / 2
        of_component = jax.nn.log_softmax(logits) - quadratic - determinant - jnp.log(2 * jnp.pi)
        bit = value[..., 2].astype(end.dtype)
        of_bit = bit * jax.nn.log_sigmoid(end) + (1 - bit) * jax.nn.log_sigmoid(-end)
        return jax.nn.logsumexp(of_component, axis=-1) + of_bit

    def sample(key: Key[Array, ""], parameters: HandwritingParams) -> Float[Array, "*B 3"]:
        end, logits, mean, scale, correlation = parameters
        component_key, movement_key, end_key = jax.random.split(key, 3)
        chosen = jax.random.categorical(component_key, logits)[..., None]
        mean, scale = (jnp.take_along_axis(of, chosen[..., None], axis=-2)[..., 0, :] for of in (mean, scale))
        correlation = jnp.take_along_axis(correlation, chosen, axis=-1)
        along, aside = jnp.split(jax.random.normal(movement_key, mean.shape, mean.dtype), 2, axis=-1)
        # cosh^-1 is sqrt(1 - r^2)
        movement = jnp.concatenate([along, jnp.tanh(correlation) * along + aside / jnp.cosh(correlation)], axis=-1)
        bit = jax.random.bernoulli(end_key, jax.nn.sigmoid(end)).astype(mean.dtype)
        return jnp.concatenate([mean + scale * movement, bit[..., None]], axis=-1)

    def mean(parameters: HandwritingParams) -> Float[Array, "*B 3"]:
        movement = jnp.sum(jax.nn.softmax(parameters.logits)[..., None] * parameters.mean, axis=-2)
        return jnp.concatenate([movement, jax.nn.sigmoid(parameters.end)[..., None]], axis=-1)

    def quantile(parameters: HandwritingParams, probabilities: Float[Array, " Q"]) -> Float[Array, "*B 3 Q"]:
        weights = jax.nn.softmax(parameters.logits)[..., None, :, None]
        mean, scale = (jnp.swapaxes(of, -1, -2)[..., None] for of in (parameters.mean, parameters.scale))

        def cdf(x: Float[Array, "*B 2 Q"]) -> Float[Array, "*B 2 Q"]:
            return jnp.sum(weights * ndtr((x[..., None, :] - mean) / scale), axis=-2)

        low = jnp.min(mean - FARTHEST_QUANTILE * scale, axis=-2)
        high = jnp.max(mean + FARTHEST_QUANTILE * scale, axis=-2)
        bit = at_each(probabilities, parameters.end.shape) > jax.nn.sigmoid(-parameters.end)[..., None]
        return jnp.concatenate([inverse(cdf, probabilities, low, high), bit[..., None, :].astype(low.dtype)], axis=-2)

    def sharpen(parameters: HandwritingParams, bias: Float[Array, ""]) -> HandwritingParams:
        return parameters._replace(logits=parameters.logits * (1 + bias), scale=parameters.scale * jnp.exp(-bias))

    def rescale(parameters: HandwritingParams, factor: Float[Array, "*B"]) -> HandwritingParams:
        factor = factor[..., None, None]
        return parameters._replace(mean=parameters.mean * factor, scale=parameters.scale * factor)

    return Distribution(1 + 6 * count, parameters, log_prob, sample, mean, quantile, sharpen, rescale)
