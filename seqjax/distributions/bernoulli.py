"""The Bernoulli distribution, of one bit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key, Num

from seqjax.by_value import by_value
from seqjax.distributions.contract import Distribution, at_each, bounded


class BernoulliParams(NamedTuple):
    """Parameters of Bernoulli distributions."""

    logit: Float[Array, "*B"]  # ln(p / (1 - p)) for the probability p of a 1


@by_value
def bernoulli() -> Distribution:
    """Makes the Bernoulli distribution of a bit, 0 or 1, of one feature: the logit.

    A value between 0 and 1 has the log-probability that is expected if it is the probability of a 1.

    >>> family = bernoulli()
    >>> parameters = family.parameters(jnp.array([jnp.log(3.0)]))
    >>> nats = family.log_prob(parameters, jnp.array(1))
    >>> round(float(jnp.exp(nats)), 3), family.quantile(parameters, jnp.array([0.2, 0.9]))
    (0.75, Array([0., 1.], dtype=float32))
    """

    def parameters(features: Float[Array, "*B 1"]) -> BernoulliParams:
        return BernoulliParams(bounded(features[..., 0]))

    def log_prob(parameters: BernoulliParams, value: Num[Array, "*B"]) -> Float[Array, "*B"]:
        one = value.astype(parameters.logit.dtype)
        return one * jax.nn.log_sigmoid(parameters.logit) + (1 - one) * jax.nn.log_sigmoid(-parameters.logit)

    def sample(key: Key[Array, ""], parameters: BernoulliParams) -> Int32[Array, "*B"]:
        return jax.random.bernoulli(key, jax.nn.sigmoid(parameters.logit)).astype(jnp.int32)

    def mean(parameters: BernoulliParams) -> Float[Array, "*B"]:
        return jax.nn.sigmoid(parameters.logit)

    def quantile(parameters: BernoulliParams, probabilities: Float[Array, " Q"]) -> Float[Array, "*B Q"]:
        of_zero = jax.nn.sigmoid(-parameters.logit)
        return (at_each(probabilities, of_zero.shape) > of_zero[..., None]).astype(of_zero.dtype)

    def sharpen(parameters: BernoulliParams, bias: Float[Array, ""]) -> BernoulliParams:
        return BernoulliParams(parameters.logit * (1 + bias))

    return Distribution(1, parameters, log_prob, sample, mean, quantile, sharpen, None)
