"""The Gaussian distribution, of real numbers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Key, Num

from seqjax.by_value import by_value
from seqjax.distributions.contract import Distribution, at_each, bounded, positive, standardized


class GaussianParams(NamedTuple):
    """Parameters of Gaussian distributions."""

    mean: Float[Array, "*B"]
    scale: Float[Array, "*B"]  # standard deviation


@by_value
def gaussian() -> Distribution:
    """Makes the Gaussian distribution, of two features: the mean, and the scale before `positive`.

        log p(x) = -z^2 / 2 - ln(scale) - ln(2 pi) / 2,   z = (x - mean) / scale

    >>> family = gaussian()
    >>> parameters = family.parameters(jnp.array([1.0, 0.5413]))  # ln(1 + exp 0.5413) = 1
    >>> (
    ...     family.log_prob(parameters, jnp.array(1.0)).round(3),
    ...     family.quantile(parameters, jnp.array([0.5, 0.9])).round(3),
    ... )
    (Array(-0.919, dtype=float32), Array([1.   , 2.282], dtype=float32))
    """

    def parameters(features: Float[Array, "*B 2"]) -> GaussianParams:
        return GaussianParams(bounded(features[..., 0]), positive(features[..., 1]))

    def log_prob(parameters: GaussianParams, value: Num[Array, "*B"]) -> Float[Array, "*B"]:
        return norm.logpdf(standardized(value, *parameters)) - jnp.log(parameters.scale)

    def sample(key: Key[Array, ""], parameters: GaussianParams) -> Float[Array, "*B"]:
        mean, scale = parameters
        return mean + scale * jax.random.normal(key, mean.shape, mean.dtype)

    def quantile(parameters: GaussianParams, probabilities: Float[Array, " Q"]) -> Float[Array, "*B Q"]:
        z = ndtri(at_each(probabilities, parameters.mean.shape))
        return parameters.mean[..., None] + parameters.scale[..., None] * z

    def sharpen(parameters: GaussianParams, bias: Float[Array, ""]) -> GaussianParams:
        return parameters._replace(scale=parameters.scale * jnp.exp(-bias))

    def rescale(parameters: GaussianParams, factor: Float[Array, "*B"]) -> GaussianParams:
        return GaussianParams(parameters.mean * factor, parameters.scale * factor)

    return Distribution(2, parameters, log_prob, sample, lambda parameters: parameters.mean, quantile, sharpen, rescale)
