"""The categorical distribution, of one symbol or level."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Integer, Key

from seqjax.arguments import IntLike, as_count, check_symbols, is_symbol, where_defined
from seqjax.by_value import by_value
from seqjax.distributions.contract import Distribution, at_each, bounded


class CategoricalParams(NamedTuple):
    """Parameters of categorical distributions."""

    logits: Float[Array, "*B V"]  # not necessarily normalised


@by_value
def categorical(size: IntLike) -> Distribution:
    """Makes the categorical distribution of `V` = `size` symbols, of as many features: their logits.

    Mean and quantiles treat the symbols as the numbers 0 to `V - 1`, such as the levels of a quantised signal.

    Raises:
      ValueError: if `size` is below 1; and from `log_prob` (outside `jit`) if a value is not a symbol. Under `jit` its
        log-probability is NaN.

    >>> family = categorical(3)
    >>> parameters = family.parameters(jnp.log(jnp.array([0.5, 0.3, 0.2])))
    >>> family.log_prob(parameters, jnp.array(1)), family.mean(parameters)  # ln 0.3, 0.3 + 2 * 0.2
    (Array(-1.2039728, dtype=float32), Array(0.7..., dtype=float32))
    """
    size = as_count("size", size)

    def parameters(features: Float[Array, "*B V"]) -> CategoricalParams:
        return CategoricalParams(bounded(features))

    def log_prob(parameters: CategoricalParams, value: Integer[Array, "*B"]) -> Float[Array, "*B"]:
        check_symbols("value", value, size)
        defined = is_symbol(value, size)
        log_probs = jax.nn.log_softmax(parameters.logits)
        place = jnp.where(defined, value, 0)[..., None]
        return where_defined(defined, jnp.take_along_axis(log_probs, place, axis=-1)[..., 0])

    def sample(key: Key[Array, ""], parameters: CategoricalParams) -> Int32[Array, "*B"]:
        return jax.random.categorical(key, parameters.logits).astype(jnp.int32)

    def mean(parameters: CategoricalParams) -> Float[Array, "*B"]:
        probabilities = jax.nn.softmax(parameters.logits)
        return probabilities @ jnp.arange(size, dtype=probabilities.dtype)

    def quantile(parameters: CategoricalParams, probabilities: Float[Array, " Q"]) -> Float[Array, "*B Q"]:
        cumulative = jnp.cumsum(jax.nn.softmax(parameters.logits), axis=-1)[..., None, :-1]
        below = cumulative < at_each(probabilities, parameters.logits.shape[:-1])[..., None]
        return jnp.sum(below, axis=-1).astype(cumulative.dtype)

    def sharpen(parameters: CategoricalParams, bias: Float[Array, ""]) -> CategoricalParams:
        return CategoricalParams(parameters.logits * (1 + bias))

    return Distribution(size, parameters, log_prob, sample, mean, quantile, sharpen, None)
