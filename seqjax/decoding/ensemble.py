"""Ensembles: combine the step functions of several models into one."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from seqjax.decoding.contract import Context, Params, State, Step


def ensemble(*steps: Step, mean: Literal["probabilities", "log_probabilities"] = "probabilities") -> Step:
    """Averages the next-token predictions of several models.

        log p(y_t) = log 1/M sum_m p_m(y_t)                  mean of probabilities: a mixture at each token
        log p(y_t) = 1/M sum_m log p_m(y_t) + constant       mean of log-probabilities: favours agreement

    Args:
      *steps: the models, over the same vocabulary.
      mean: whether to average the probabilities or the log-probabilities.

    Returns:
      A step function whose params, context and state are tuples, one member for each model.

    Raises:
      ValueError: if there are no steps or `mean` is neither of the two. The returned step raises ValueError if params,
        context or state do not have one member for each model, or if the vocabularies differ.

    >>> def step(params, context, state, token):
    ...     return jnp.log(params), state
    >>> both = ensemble(step, step)
    >>> logits, _ = both((jnp.array([0.9, 0.1]), jnp.array([0.5, 0.5])), (None, None), (None, None), jnp.int32(0))
    >>> [f"{prob:.2f}" for prob in jnp.exp(logits)]
    ['0.70', '0.30']
    """
    if not steps:
        raise ValueError("steps: expected at least one, got none")
    if mean not in ("probabilities", "log_probabilities"):
        raise ValueError(f"mean: expected 'probabilities' or 'log_probabilities', got {mean!r}")

    def step(
        params: tuple[Params, ...], context: tuple[Context, ...], state: tuple[State, ...], token: Int[Array, ""]
    ) -> tuple[Float[Array, " V"], tuple[State, ...]]:
        for name, members in ("params", params), ("context", context), ("state", state):
            number = None if members is None else len(members)
            if number != len(steps):
                raise ValueError(f"{name}: expected a member for each of {len(steps)} models, got {number}")
        models = zip(steps, params, context, state, strict=True)
        logits, states = zip(*(one(p, c, s, token) for one, p, c, s in models), strict=True)
        if len({each.shape for each in logits}) > 1:
            raise ValueError(f"steps: expected models with one vocabulary, got {[each.size for each in logits]} logits")
        log_probs = jax.nn.log_softmax(jnp.stack(logits))
        if mean == "log_probabilities":
            return jnp.mean(log_probs, axis=0), states
        return jax.nn.logsumexp(log_probs, axis=0) - jnp.log(len(steps)), states

    return step
