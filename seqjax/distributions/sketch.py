"""The distribution of one pen movement in a drawing that ends: that of `handwriting`, and a bit for the end."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num

from seqjax.arguments import IntLike
from seqjax.by_value import by_value
from seqjax.distributions.bernoulli import BernoulliParams, bernoulli
from seqjax.distributions.contract import Distribution, at_each
from seqjax.distributions.handwriting import HandwritingParams, handwriting


class SketchParams(NamedTuple):
    """Parameters of pen movements in drawings."""

    movement: HandwritingParams
    last: BernoulliParams  # whether the drawing ends, at the end of a stroke


@by_value
def sketch(num_components: IntLike) -> Distribution:
    """Makes the distribution of a pen movement, a vector (dx, dy, end, last), where last is 1 where the drawing ends.

    As in Ha and Eck (2017), section 3.1, the pen is in one of three states: within a stroke (0, 0), at the end of a
    stroke (1, 0) or at the end of the drawing (1, 1). The first feature is that of `last`, and the others are those of
    `handwriting`:

        p(dx, dy, end, last) = p(dx, dy, end) Bernoulli(last; e)^end

    `last` is ignored within a stroke. Sharpening leaves `end` and `last` as they are. The mean and the quantiles are
    those of each coordinate.

    Raises:
      ValueError: if `num_components` is below 1.

    >>> family = sketch(1)
    >>> parameters = family.parameters(jnp.array([0.0, 0.0, 0.0, 3.0, -4.0, 0.5413, 0.5413, 0.0]))  # scales 1
    >>> nats = family.log_prob(parameters, jnp.array([3.0, -4.0, 1.0, 1.0]))  # -ln(2 pi) - 2 ln 2
    >>> family.mean(parameters), round(float(nats), 3)
    (Array([ 3.  , -4.  ,  0.5 ,  0.25], dtype=float32), -3.224)
    """
    movement, bit = handwriting(num_components), bernoulli()

    def parameters(features: Float[Array, "*B F"]) -> SketchParams:
        return SketchParams(movement.parameters(features[..., 1:]), bit.parameters(features[..., :1]))

    def log_prob(parameters: SketchParams, value: Num[Array, "*B 4"]) -> Float[Array, "*B"]:
        end = value[..., 2].astype(parameters.last.logit.dtype)
        of_last = bit.log_prob(parameters.last, value[..., 3])
        return movement.log_prob(parameters.movement, value[..., :3]) + end * of_last

    def sample(key: Key[Array, ""], parameters: SketchParams) -> Float[Array, "*B 4"]:
        movement_key, last_key = jax.random.split(key)
        drawn = movement.sample(movement_key, parameters.movement)
        last = drawn[..., 2] * bit.sample(last_key, parameters.last).astype(drawn.dtype)
        return jnp.concatenate([drawn, last[..., None]], axis=-1)

    def mean(parameters: SketchParams) -> Float[Array, "*B 4"]:
        expected = movement.mean(parameters.movement)
        last = expected[..., 2] * bit.mean(parameters.last)
        return jnp.concatenate([expected, last[..., None]], axis=-1)

    def quantile(parameters: SketchParams, probabilities: Float[Array, " Q"]) -> Float[Array, "*B 4 Q"]:
        of_movement = movement.quantile(parameters.movement, probabilities)
        last = jax.nn.sigmoid(parameters.movement.end) * bit.mean(parameters.last)
        of_last = (at_each(probabilities, last.shape) > 1 - last[..., None]).astype(of_movement.dtype)
        return jnp.concatenate([of_movement, of_last[..., None, :]], axis=-2)

    def sharpen(parameters: SketchParams, bias: Float[Array, ""]) -> SketchParams:
        return parameters._replace(movement=movement.sharpen(parameters.movement, bias))

    def rescale(parameters: SketchParams, factor: Float[Array, "*B"]) -> SketchParams:
        return parameters._replace(movement=movement.rescale(parameters.movement, factor))  # type: ignore[misc]

    return Distribution(1 + movement.num_features, parameters, log_prob, sample, mean, quantile, sharpen, rescale)
