"""The negative binomial distribution, of counts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc, betaln
from jaxtyping import Array, Float, Key, Num

from seqjax.by_value import by_value
from seqjax.distributions.contract import Distribution, inverse, positive

LARGEST_MEAN = 1e8  # jax.random.poisson returns 32-bit integers
LARGEST_DISPERSION = 1e4
SMALLEST_DISPERSION = 1e-4
LARGEST_COUNT = 2.0**31


class NegativeBinomialParams(NamedTuple):
    """Parameters of negative binomial distributions."""

    mean: Float[Array, "*B"]
    dispersion: Float[Array, "*B"]  # the variance is mean + dispersion mean^2


@by_value
def negative_binomial() -> Distribution:
    """Makes the negative binomial distribution, of two features: mean and dispersion before `positive`.

    Salinas et al. (2020), section 3.1. With mean `m` and dispersion `a`,

        log p(k) = -ln(k + 1/a) - ln B(k + 1, 1/a) - ln(1 + a m) / a + k (ln(a m) - ln(1 + a m))

    The beta function replaces the gamma functions of `jax.scipy.stats.nbinom`, whose logarithms cancel at a small
    dispersion. A value below 0 counts as 0. A change of unit is not exact for counts: as in that paper, the mean is
    multiplied by the factor and the dispersion divided by its square root.

    >>> family = negative_binomial()
    >>> parameters = NegativeBinomialParams(mean=jnp.array(2.0), dispersion=jnp.array(1.0))  # geometric
    >>> nats = family.log_prob(parameters, jnp.array(0))  # ln(1 / 3)
    >>> round(float(jnp.exp(nats)), 3), family.quantile(parameters, jnp.array([0.5, 0.9])).tolist()
    (0.333, [1.0, 5.0])
    """

    def limited(mean: Float[Array, "*B"], dispersion: Float[Array, "*B"]) -> NegativeBinomialParams:
        return NegativeBinomialParams(
            jnp.minimum(mean, LARGEST_MEAN), jnp.clip(dispersion, SMALLEST_DISPERSION, LARGEST_DISPERSION)
        )

    def parameters(features: Float[Array, "*B 2"]) -> NegativeBinomialParams:
        return limited(positive(features[..., 0]), positive(features[..., 1]))

    def log_prob(parameters: NegativeBinomialParams, value: Num[Array, "*B"]) -> Float[Array, "*B"]:
        mean, a = parameters
        k = jnp.clip(value.astype(mean.dtype), 0, LARGEST_COUNT)
        log_zero = jnp.log1p(a * mean)
        return k * (jnp.log(a * mean) - log_zero) - log_zero / a - jnp.log(k + 1 / a) - betaln(k + 1, 1 / a)

    def sample(key: Key[Array, ""], parameters: NegativeBinomialParams) -> Float[Array, "*B"]:
        mean, a = parameters
        rate_key, count_key = jax.random.split(key)
        rate = jax.random.gamma(rate_key, 1 / a, a.shape, a.dtype) * a * mean
        return jax.random.poisson(count_key, rate, a.shape).astype(a.dtype)

    def quantile(parameters: NegativeBinomialParams, probabilities: Float[Array, " Q"]) -> Float[Array, "*B Q"]:
        mean, a = (parameter[..., None] for parameter in parameters)

        def cdf(k: Float[Array, "... Q"]) -> Float[Array, "... Q"]:
            return betainc(1 / a, jnp.floor(k) + 1, 1 / (1 + a * mean))

        # above 0 only by less than 1 where the whole number is 0
        found = inverse(cdf, probabilities, jnp.full_like(a, -1.0), jnp.full_like(a, LARGEST_COUNT))
        return jnp.maximum(jnp.floor(found), 0)

    def sharpen(parameters: NegativeBinomialParams, bias: Float[Array, ""]) -> NegativeBinomialParams:
        return limited(parameters.mean, parameters.dispersion * jnp.exp(-bias))

    def rescale(parameters: NegativeBinomialParams, factor: Float[Array, "*B"]) -> NegativeBinomialParams:
        return limited(parameters.mean * factor, parameters.dispersion / jnp.sqrt(factor))

    return Distribution(2, parameters, log_prob, sample, lambda parameters: parameters.mean, quantile, sharpen, rescale)
