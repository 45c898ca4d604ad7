"""Student's t distribution, of real numbers with outliers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc, betaln
from jaxtyping import Array, Float, Key, Num

from seqjax.by_value import by_value
from seqjax.distributions.contract import Distribution, at_each, bounded, inverse, positive, standardized

LEAST_FREEDOM = 2.0  # from where on the variance is finite
MOST_FREEDOM = 1e4  # from where on the distribution is Gaussian within the precision of float32
FARTHEST_QUANTILE = 1e4  # scales; with two degrees of freedom, beyond it are 1e-8 of the probability


class StudentTParams(NamedTuple):
    """Parameters of Student's t distributions."""

    freedom: Float[Array, "*B"]  # degrees of freedom
    mean: Float[Array, "*B"]
    scale: Float[Array, "*B"]  # the standard deviation is scale sqrt(freedom / (freedom - 2))


@by_value
def student_t() -> Distribution:
    """Makes Student's t distribution, of three features: mean, and scale and freedom - 2 before `positive`.

        log p(x) = -(n + 1) / 2 ln(1 + z^2 / n) - ln(scale) - ln(n) / 2 - ln B(n / 2, 1 / 2),   z = (x - mean) / scale

    with `n` degrees of freedom. The beta function replaces the two gamma functions of `jax.scipy.stats.t`, whose
    logarithms cancel at many degrees of freedom.

    >>> family = student_t()
    >>> parameters = StudentTParams(freedom=jnp.array(3.0), mean=jnp.array(1.0), scale=jnp.array(2.0))
    >>> nats = family.log_prob(parameters, jnp.array(1.0))
    >>> round(float(nats), 3), family.quantile(parameters, jnp.array([0.5, 0.9]))
    (-1.694, Array([1.   , 4.27...], dtype=float32))
    """

    def parameters(features: Float[Array, "*B 3"]) -> StudentTParams:
        freedom = jnp.minimum(LEAST_FREEDOM + positive(features[..., 2]), MOST_FREEDOM)
        return StudentTParams(freedom, bounded(features[..., 0]), positive(features[..., 1]))

    def log_prob(parameters: StudentTParams, value: Num[Array, "*B"]) -> Float[Array, "*B"]:
        n, mean, scale = parameters
        z = standardized(value, mean, scale)
        normalizer = jnp.log(scale) + jnp.log(n) / 2 + betaln(n / 2, jnp.full_like(n, 0.5))
        return -(n + 1) / 2 * jnp.log1p(z**2 / n) - normalizer

    def sample(key: Key[Array, ""], parameters: StudentTParams) -> Float[Array, "*B"]:
        n, mean, scale = parameters
        return mean + scale * jax.random.t(key, n, n.shape, n.dtype)

    def quantile(parameters: StudentTParams, probabilities: Float[Array, " Q"]) -> Float[Array, "*B Q"]:
        n, mean, scale = (parameter[..., None] for parameter in parameters)

        def upper_tail(z: Float[Array, "... Q"]) -> Float[Array, "... Q"]:
            return betainc(n / 2, jnp.full_like(n, 0.5), n / (n + z**2)) / 2

        probabilities = at_each(probabilities, parameters.mean.shape)
        tail = jnp.minimum(probabilities, 1 - probabilities)
        distance = inverse(lambda z: -upper_tail(z), -tail, jnp.zeros_like(n), jnp.full_like(n, FARTHEST_QUANTILE))
        return mean + scale * jnp.sign(probabilities - 0.5) * distance

    def sharpen(parameters: StudentTParams, bias: Float[Array, ""]) -> StudentTParams:
        return parameters._replace(scale=parameters.scale * jnp.exp(-bias))

    def rescale(parameters: StudentTParams, factor: Float[Array, "*B"]) -> StudentTParams:
        return StudentTParams(parameters.freedom, parameters.mean * factor, parameters.scale * factor)

    return Distribution(3, parameters, log_prob, sample, lambda parameters: parameters.mean, quantile, sharpen, rescale)
