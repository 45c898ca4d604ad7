"""Token-by-token decoding: takes the most probable token (greedy search) or draws one (ancestral sampling)."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32, Key

from seqjax.arguments import IntLike, as_count
from seqjax.decoding.contract import (
    Context,
    Decoded,
    Params,
    Prediction,
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
from seqjax.decoding.selection import maximum


def greedy_search(
    step: Step,
    params: Params,
    context: Context,
    state: State,
    *,
    bos: IntLike | Array | np.ndarray,
    eos: IntLike | None,
    max_length: IntLike,
    processors: Sequence[Processor] = (),
    pad: IntLike = 0,
) -> Decoded:
    """Takes the most probable next token at every step.

        y_t = argmax_v q(v | y_<t, context)

    where q is the model's distribution after the processors. Ties go to the lowest token.

    Args:
      step: the model, a function of one hypothesis: `(params, context, state, token) -> (logits [V], state)`. Define
        it once, and let it read its weights from `params` only; see `seqjax.decoding.contract`.
      params: the first argument of `step`; new values do not cause recompilation.
      context: per-example input of `step`; each leaf has a leading batch axis. May be None.
      state: the state before the first token; each leaf has a leading batch axis.
      bos: the start token, one for all examples or one for each.
      eos: the token that ends a sequence; None if only `max_length` does.
      max_length: the maximum number `L` of tokens, `eos` included.
      processors: functions of the logits; see `seqjax.decoding.processors` and `seqjax.decoding.constraints`.
      pad: the token that fills positions after the end.

    Returns:
      One sequence per example; its score is the sum of the processed log-probabilities, not renormalised.

    Raises:
      TypeError: if `step` or a processor returns something of the wrong type.
      ValueError: if shapes do not match, a setting is out of range, or (outside `jit`) logits are NaN or processors
        leave no token in a row; the message lists these rows.

    >>> chain = jnp.log(jnp.array([[0.1, 0.2, 0.7], [0.3, 0.6, 0.1], [0.2, 0.5, 0.3]]))
    >>> def step(params, context, state, token):
    ...     return params[token], state
    >>> found = greedy_search(step, chain, None, jnp.zeros((1, 0)), bos=0, eos=1, max_length=4)
    >>> found.tokens, found.lengths, jnp.exp(found.scores).round(2)  # 0.7 * 0.5
    (Array([[[2, 1, 0, 0]]], dtype=int32), Array([[2]], dtype=int32), Array([[0.35]], dtype=float32))
    """
    functions = as_arguments(step, processors)
    settings = as_settings(eos=eos, max_length=max_length, pad=pad)
    found = _greedy_search(*functions, params, context, state, bos, **settings)
    return check_decoded(found, processors, step, params, context, state)


def sample(
    key: Key[Array, ""],
    step: Step,
    params: Params,
    context: Context,
    state: State,
    *,
    bos: IntLike | Array | np.ndarray,
    eos: IntLike | None,
    max_length: IntLike,
    num_samples: IntLike = 1,
    processors: Sequence[Processor] = (),
    pad: IntLike = 0,
) -> Decoded:
    """Draws independent sequences token by token.

        y_t ~ q(. | y_<t, context)

    where q is the model's distribution after the processors, renormalised.

    Args:
      key: random key, consumed here.
      step: the model, a function of one hypothesis: `(params, context, state, token) -> (logits [V], state)`. Define
        it once, and let it read its weights from `params` only; see `seqjax.decoding.contract`.
      params: the first argument of `step`; new values do not cause recompilation.
      context: per-example input of `step`; each leaf has a leading batch axis. May be None.
      state: the state before the first token; each leaf has a leading batch axis.
      bos: the start token, one for all examples or one for each.
      eos: the token that ends a sequence; None if only `max_length` does.
      max_length: the maximum number `L` of tokens, `eos` included.
      num_samples: how many sequences to draw per example.
      processors: functions of the logits; see `seqjax.decoding.processors` and `seqjax.decoding.constraints`.
      pad: the token that fills positions after the end.

    Returns:
      The samples in the order drawn, not sorted, so that the sample at each index is a fair draw. `log_probs` is
      log p(y | context) under the model, and `scores` is log q(y | context) under the distribution that the samples are
      drawn from. Without processors, the two are equal.

    Raises:
      TypeError: if `step` or a processor returns something of the wrong type.
      ValueError: if shapes do not match, a setting is out of range, or (outside `jit`) logits are NaN or processors
        leave no token in a row; the message lists these rows.

    >>> def fair_coin(params, context, state, token):
    ...     return jnp.zeros(2), state
    >>> drawn = sample(jax.random.key(0), fair_coin, None, None, jnp.zeros((1, 0)), bos=0, eos=None, max_length=3)
    >>> drawn.tokens.shape, jnp.exp(drawn.log_probs)
    ((1, 1, 3), Array([[0.125]], dtype=float32))
    """
    as_count("num_samples", num_samples)
    functions = as_arguments(step, processors)
    settings = as_settings(num_samples=num_samples, eos=eos, max_length=max_length, pad=pad)
    found = _sample(key, *functions, params, context, state, bos, **settings)
    return check_decoded(found, processors, step, params, context, state)


class _Loop(NamedTuple):
    t: Int32[Array, ""]
    token: Int32[Array, "B n"]
    state: State
    finished: Bool[Array, "B n"]
    tokens: Int32[Array, "L B n"]  # time first, so that each step writes one contiguous slice
    lengths: Int32[Array, "B n"]
    log_probs: Float[Array, "B n"]
    scores: Float[Array, "B n"]
    undefined: Bool[Array, "B n"]


@partial(jax.jit, static_argnames=("eos", "max_length", "pad"))
def _greedy_search(step, processors, params, context, state, bos, *, eos, max_length, pad) -> Decoded:
    def choose(t: Array, predicted: Prediction) -> tuple[Array, Prediction]:
        largest, token = maximum(predicted.processed)
        if processors:
            return token, predicted
        undefined = ~(largest < jnp.inf)
        exponentials = jnp.exp(predicted.logits - largest[..., None])  # logsumexp would compute the maximum again
        normalizer = largest + jnp.log(jnp.sum(exponentials, axis=-1))
        return token, predicted._replace(normalizer=normalizer, shift=normalizer, undefined=undefined)

    return _generate(choose, step, processors, params, context, state, bos, 1, eos, max_length, pad)


@partial(jax.jit, static_argnames=("eos", "max_length", "num_samples", "pad"))
def _sample(key, step, processors, params, context, state, bos, *, eos, max_length, num_samples, pad) -> Decoded:
    def choose(t: Array, predicted: Prediction) -> tuple[Array, Prediction]:
        token = jax.random.categorical(jax.random.fold_in(key, t), predicted.processed)
        return token.astype(jnp.int32), predicted._replace(shift=jax.nn.logsumexp(predicted.processed, axis=-1))

    return _generate(choose, step, processors, params, context, state, bos, num_samples, eos, max_length, pad)


def _generate(choose, step, processors, params, context, state, bos, n, eos, max_length, pad) -> Decoded:
    """Appends a token to every sequence until all have ended.

    `choose(t, predicted)` returns the tokens and the prediction, with the `normalizer` and the `shift` that score them.
    """
    batch, _ = check_search(step, processors, params, context, state, bos, eos, max_length)

    def advance_all(loop: _Loop) -> _Loop:
        predicted, state = advance(step, processors, params, context, loop.state, loop.token, loop.tokens, loop.t, eos)
        token, predicted = choose(loop.t, predicted)
        log_prob = take(predicted.logits, token[..., None])[..., 0] - predicted.normalizer
        processed = take(predicted.processed, token[..., None])[..., 0]
        impossible = jnp.isneginf(processed)  # no token is left: the sequence ends here, with score minus infinity
        score = jnp.where(impossible, processed, processed - predicted.shift)
        ends = impossible | predicted.undefined
        if eos is not None:
            ends |= token == eos
        return _Loop(
            t=loop.t + 1,
            token=token,
            state=state,
            finished=loop.finished | ends,
            tokens=loop.tokens.at[loop.t].set(jnp.where(loop.finished, pad, token)),
            lengths=loop.lengths + jnp.where(loop.finished, 0, 1),
            log_probs=loop.log_probs + jnp.where(loop.finished, 0.0, log_prob),
            scores=loop.scores + jnp.where(loop.finished, 0.0, score),
            undefined=loop.undefined | (predicted.undefined & ~loop.finished),
        )

    shape = (batch, n)
    loop = lax.while_loop(
        lambda loop: (loop.t < max_length) & ~jnp.all(loop.finished),
        advance_all,
        _Loop(
            t=jnp.int32(0),
            token=first_tokens(bos, shape),
            state=repeat_state(state, n),
            finished=jnp.zeros(shape, bool),
            tokens=jnp.full((max_length, *shape), pad, jnp.int32),
            lengths=jnp.zeros(shape, jnp.int32),
            log_probs=jnp.zeros(shape),
            scores=jnp.zeros(shape),
            undefined=jnp.zeros(shape, bool),
        ),
    )
    return settle(jnp.moveaxis(loop.tokens, 0, -1), loop.lengths, loop.log_probs, loop.scores, loop.undefined, pad)
