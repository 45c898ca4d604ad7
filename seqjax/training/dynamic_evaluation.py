"""Dynamic evaluation: a trained model keeps learning from the text on which it has just been scored.

Krause, Kahembwe, Murray and Renals (2018), "Dynamic evaluation of neural sequence models". The text is read segment by
segment. Each segment is scored before the parameters adapt to it, so the score is as valid as that of a static model.
The parameters then adapt by

    R      = sqrt(1 / N sum_n g_n ** 2)                        over the gradients g_n of N batches of training text
    theta <- theta - eta g / (R + epsilon) + min(lambda R / mean(R), 1) (theta_g - theta)

`g` is the gradient of the segment and `eta` the learning rate. The parameters decay at the rate `lambda` towards the
trained parameters `theta_g`. The mean is over all parameters. If `R` is all ones, this is plain gradient descent with
decay.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.training.step import Batch, Carry, LossFn, Metrics, Params, all_finite


class DynamicEvalState(NamedTuple):
    """The state of dynamic evaluation between two segments; `params` starts as `trained_params`."""

    params: Params
    trained_params: Params
    gradient_rms: Params
    carry: Carry


def gradient_rms(loss_fn: LossFn, params: Params, carry: Carry, batches: Iterable[Batch]) -> Params:
    """Computes the root mean square `R` of a loss's gradient over batches of training text.

    Args:
      loss_fn: `(params, carry, batch, key) -> (loss, (carry, metrics))`; its key is None.
      params: the trained parameters.
      carry: the recurrent state before the first batch.
      batches: training batches, preferably with segments as long as those of the evaluation.

    Returns:
      A pytree like the parameters.

    Raises:
      ValueError: if there are no batches.

    >>> loss_fn = lambda params, carry, batch, key: (jnp.sum(params * batch), (carry, {}))
    >>> gradient_rms(loss_fn, jnp.ones(1), (), [jnp.array(1.0), jnp.array(7.0)])
    Array([5.], dtype=float32)
    """

    @jax.jit
    def add_squares(squares: Params, params: Params, carry: Carry, batch: Batch) -> tuple[Params, Carry]:
        grads, (carry, _) = jax.grad(loss_fn, has_aux=True)(params, carry, batch, None)
        return jax.tree.map(lambda square, grad: square + grad**2, squares, grads), carry

    squares, count = jax.tree.map(jnp.zeros_like, params), 0
    for batch in batches:
        squares, carry = add_squares(squares, params, carry, batch)
        count += 1
    if not count:
        raise ValueError("batches: expected at least one, got none")
    return jax.tree.map(lambda square: jnp.sqrt(square / count), squares)


def make_dynamic_eval_step(
    loss_fn: LossFn, learning_rate: float, decay: float, epsilon: float = 2e-5
) -> Callable[[DynamicEvalState, Batch], tuple[DynamicEvalState, Metrics]]:
    """Builds the jitted step `(state, batch) -> (state, metrics)` that scores a segment and then adapts to it.

    Args:
      loss_fn: `(params, carry, batch, key) -> (loss, (carry, metrics))`; the loss is the mean over the segment, and
        the key is None.
      learning_rate: `eta`, above 0.
      decay: `lambda`, in [0, 1].
      epsilon: above 0, so that a parameter whose gradient was always 0 does not jump.

    Returns:
      The step. Its metrics are those of `loss_fn` plus `loss`, all computed before the adaptation. As in training, a
      segment whose loss, gradient, adapted parameters or carry are not finite changes neither parameters nor carry.

    Raises:
      ValueError: if a number is outside its range.

    >>> loss_fn = lambda params, carry, batch, key: ((params - batch) ** 2, (carry, {}))
    >>> step = make_dynamic_eval_step(loss_fn, learning_rate=0.25, decay=0.5)
    >>> one = jnp.array(1.0)
    >>> state, metrics = step(DynamicEvalState(one, one, gradient_rms=one, carry=()), jnp.array(3.0))
    >>> float(metrics["loss"]), round(float(state.params), 3)
    (4.0, 2.0)
    >>> state, metrics = step(state, jnp.array(3.0))
    >>> round(float(metrics["loss"]), 3), round(float(state.params), 3)
    (1.0, 2.0)
    """
    if not learning_rate > 0:
        raise ValueError(f"learning_rate: expected a number above 0, got {learning_rate}")
    if not 0 <= decay <= 1:
        raise ValueError(f"decay: expected a number in [0, 1], got {decay}")
    if not epsilon > 0:
        raise ValueError(f"epsilon: expected a number above 0, got {epsilon}")

    @jax.jit
    def dynamic_eval_step(state: DynamicEvalState, batch: Batch) -> tuple[DynamicEvalState, Metrics]:
        (loss, (carry, metrics)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state.carry, batch, None
        )
        leaves = jax.tree.leaves(state.gradient_rms)
        mean_rms = sum(jnp.sum(rms) for rms in leaves) / sum(rms.size for rms in leaves)

        def adapt(param: jax.Array, trained: jax.Array, rms: jax.Array, grad: jax.Array) -> jax.Array:
            rate = jnp.minimum(decay * rms / mean_rms, 1.0)
            return param - learning_rate * grad / (rms + epsilon) + rate * (trained - param)

        params = jax.tree.map(adapt, state.params, state.trained_params, state.gradient_rms, grads)
        accepted = all_finite((loss, grads, params, carry))
        new = state._replace(params=params, carry=carry)
        return jax.tree.map(partial(jnp.where, accepted), new, state), metrics | {"loss": loss}

    return dynamic_eval_step
