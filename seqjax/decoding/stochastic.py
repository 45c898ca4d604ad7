"""Stochastic beam search: samples without replacement by a beam search over perturbed log-probabilities."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32, Key

from seqjax.arguments import IntLike, as_count
from seqjax.decoding.beam import follow, reorder
from seqjax.decoding.contract import (
    Context,
    Decoded,
    Params,
    Processor,
    State,
    Step,
    advance,
    as_arguments,
    as_settings,
    check_decoded,
    check_search,
    first_tokens,
    repeat_state,
    settle,
    take,
)
from seqjax.decoding.selection import largest_sums


def stochastic_beam_search(
    key: Key[Array, ""],
    step: Step,
    params: Params,
    context: Context,
    state: State,
    *,
    num_samples: IntLike,
    bos: IntLike | Array | np.ndarray,
    eos: IntLike | None,
    max_length: IntLike,
    processors: Sequence[Processor] = (),
    pad: IntLike = 0,
) -> Decoded:
    """Draws distinct sequences without replacement.

    Kool, van Hoof and Welling (2019), algorithm 1. Let phi be the log-probability of a sequence, and let its perturbed
    log-probability be G ~ Gumbel(phi), independent of all others. The `k` sequences with the largest G are a sample
    without replacement. A beam search finds them from the top down: the children of a prefix draw G ~ Gumbel(phi),
    conditioned on their maximum being equal to the G of the prefix (equation 11).

    In an unbiased estimate of an expectation, a sampled sequence y has the weight exp(phi) / q(y), where q(y) = 1 -
    exp(-exp(phi - kappa)) is the probability that its G exceeds the threshold kappa. Draw one more sample and use its
    score as kappa.

    Args:
      key: random key, consumed here.
      num_samples: `k`; if there are fewer sequences, the remaining places have length 0 and score minus infinity.
      step, params, context, state, bos, eos, max_length, processors, pad: as in `sample`.

    Returns:
      The samples in the order drawn; the first is distributed like one of `sample`. `scores` are the perturbed
      log-probabilities G. `log_probs` are the log-probabilities under the model, equal to phi without processors.

    Raises:
      TypeError: if `step` or a processor returns something of the wrong type.
      ValueError: if shapes do not match, a setting is out of range, or (outside `jit`) logits are NaN or processors
        leave no token in a row; the message lists these rows.

    >>> def step(params, context, state, token):
    ...     return jnp.log(jnp.array([0.5, 0.3, 0.2])), state
    >>> settings = {"num_samples": 3, "bos": 0, "eos": None, "max_length": 1}
    >>> drawn = stochastic_beam_search(jax.random.key(0), step, None, None, jnp.zeros((1, 0)), **settings)
    >>> sorted(drawn.tokens[0, :, 0].tolist())
    [0, 1, 2]
    """
    functions = as_arguments(step, processors)
    settings = as_settings(num_samples=num_samples, eos=eos, max_length=max_length, pad=pad)
    found = _stochastic_beam_search(key, *functions, params, context, state, bos, **settings)
    return check_decoded(found, processors, step, params, context, state)


class _Loop(NamedTuple):
    t: Int32[Array, ""]
    state: State
    token: Int32[Array, "B K"]
    ended: Bool[Array, "B K"]
    lengths: Int32[Array, "B K"]
    log_probs: Float[Array, "B K"]  # under the model
    phi: Float[Array, "B K"]  # under the distribution sampled from
    perturbed: Float[Array, "B K"]  # G, in descending order; minus infinity where there are fewer than K sequences
    tokens: Int32[Array, "L B K"]  # the record, as in beam search: the token taken at each step
    parents: Int32[Array, "L B K"]  # the place of its parent before that step
    history: Int32[Array, "L B K"]  # for processors
    undefined: Bool[Array, "B 1"]  # whether a logit was NaN or plus infinity


@partial(jax.jit, static_argnames=("num_samples", "eos", "max_length", "pad"))
def _stochastic_beam_search(
    key, step, processors, params, context, state, bos, *, num_samples, eos, max_length, pad
) -> Decoded:
    as_count("num_samples", num_samples)
    batch, vocabulary = check_search(step, processors, params, context, state, bos, eos, max_length)
    shape = (batch, num_samples)
    root_key, key = jax.random.split(key)

    def advance_all(loop: _Loop) -> _Loop:
        predicted, state = advance(step, processors, params, context, loop.state, loop.token, loop.history, loop.t, eos)
        allowed = ~jnp.isneginf(predicted.processed)
        phi = loop.phi[..., None] + jnp.where(allowed, jax.nn.log_softmax(predicted.processed), -jnp.inf)
        children = _perturb(jax.random.fold_in(key, loop.t), phi, loop.perturbed)
        itself = jnp.where(jnp.arange(vocabulary) == 0, 0.0, -jnp.inf)  # an ended sequence is its only child
        children = jnp.where(loop.ended[..., None], itself, children)
        perturbed, place = largest_sums(loop.perturbed, children, num_samples)

        parent, token = jnp.divmod(place, vocabulary)
        was_ended, exists = take(loop.ended, parent), ~jnp.isneginf(perturbed)
        token = jnp.where(was_ended, pad, token)
        log_probs = take(loop.log_probs - jnp.where(loop.ended, 0.0, predicted.normalizer), parent)
        log_probs += jnp.where(was_ended, 0.0, take(predicted.logits.reshape(batch, -1), place))
        phi = jnp.where(was_ended, take(loop.phi, parent), take(phi.reshape(batch, -1), place))
        history = take(loop.history, jnp.broadcast_to(parent, loop.history.shape))
        return _Loop(
            t=loop.t + 1,
            state=reorder(state, parent),
            token=token,
            ended=was_ended | ~exists | (token == (-1 if eos is None else eos)),
            lengths=take(loop.lengths, parent) + jnp.where(was_ended, 0, 1),
            log_probs=log_probs,
            phi=jnp.where(exists, phi, -jnp.inf),
            perturbed=perturbed,
            tokens=loop.tokens.at[loop.t].set(token),
            parents=loop.parents.at[loop.t].set(parent),
            history=history.at[loop.t].set(token),
            undefined=loop.undefined | jnp.any(predicted.undefined & ~loop.ended, axis=1, keepdims=True),
        )

    root = jnp.broadcast_to(jnp.arange(num_samples) == 0, shape)
    record = jnp.zeros((max_length, *shape), jnp.int32)
    loop = lax.while_loop(
        lambda loop: (loop.t < max_length) & ~jnp.all(loop.ended),
        advance_all,
        _Loop(
            t=jnp.int32(0),
            state=repeat_state(state, num_samples),
            token=first_tokens(bos, shape),
            ended=~root,
            lengths=jnp.zeros(shape, jnp.int32),
            log_probs=jnp.zeros(shape),
            phi=jnp.where(root, 0.0, -jnp.inf),
            perturbed=jnp.where(root, jax.random.gumbel(root_key, (batch, 1)), -jnp.inf),
            tokens=record,
            parents=record,
            history=record,
            undefined=jnp.zeros((batch, 1), bool),
        ),
    )
    exists = ~jnp.isneginf(loop.perturbed)
    slots = jnp.broadcast_to(jnp.arange(num_samples, dtype=jnp.int32), shape)
    tokens = follow(loop.tokens, loop.parents, slots, jnp.where(exists, loop.t, 0), loop.t, pad)
    return settle(tokens, loop.lengths, loop.log_probs, loop.perturbed, loop.undefined, pad)


def _perturb(key: Key[Array, ""], phi: Float[Array, "B K V"], parent: Float[Array, "B K"]) -> Float[Array, "B K V"]:
    """Draws G ~ Gumbel(phi) for all children, conditioned on max G = G_parent; returns G - G_parent.

    Kool et al. (2019), appendix B.3: the stable form of -log(exp(-G_parent) - exp(-Z) + exp(-g)) for g ~ Gumbel(phi)
    and Z = max g.
    """
    free = phi + jax.random.gumbel(key, phi.shape, phi.dtype)
    below = free - jnp.max(free, axis=-1, keepdims=True)
    v = parent[..., None] - free + jnp.log(-jnp.expm1(below))
    return jnp.where(jnp.isneginf(phi), -jnp.inf, -jnp.maximum(v, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(v))))
