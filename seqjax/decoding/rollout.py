"""Ancestral sampling of numbers: forecasts, pen strokes, pixels, audio, or anything else with an output distribution.

A rollout sees the model as a function of a single sequence,

    step(params, context, state, value) -> (parameters, state)

`value` is the last value, and `parameters` are those of the distribution of the next one. Everything else is as for the
searches: see `seqjax.decoding.contract`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32, Integer, Key, Num

from seqjax.arguments import IntLike, as_count, check_setting, clip_lengths, is_traced, where_defined, within
from seqjax.decoding.contract import (
    Context,
    Params,
    State,
    as_argument,
    as_settings,
    batch_size,
    check_step,
    described,
    of_one,
    repeat_state,
)
from seqjax.distributions.contract import Distribution, Parameters

StepOfNumbers = Callable[[Params, Context, State, Num[Array, "..."]], tuple[Parameters, State]]


class Rollout(NamedTuple):
    """The `n` sequences drawn for each of `B` examples, in the order drawn; each is a fair draw."""

    values: Num[Array, "B n L *D"]  # 0 after the end
    lengths: Int32[Array, "B n"]  # number of values drawn, up to the one at which `stop` is true
    log_probs: Float[Array, "B n"]  # log-density of the values drawn, without bias, in nats


def rollout(
    key: Key[Array, ""],
    step: StepOfNumbers,
    distribution: Distribution,
    params: Params,
    context: Context,
    state: State,
    *,
    first: Num[Array | np.ndarray, "B *D"],
    max_length: IntLike,
    num_samples: IntLike = 1,
    prefix: Num[Array | np.ndarray, "B P *D"] | None = None,
    prefix_lengths: Integer[Array | np.ndarray, " B"] | None = None,
    stop: Callable[[Context, State, Num[Array, "*D"]], Bool[Array, ""]] | None = None,
    bias: float | Float[Array, ""] = 0.0,
) -> Rollout:
    """Draws independent sequences value by value.

        x_t ~ p(. | x_<t, context)

    Args:
      key: random key, consumed here.
      step: the model, a function of one sequence: `(params, context, state, value) -> (parameters, state)`. Define it
        once, and let it read its weights from `params` only; see `seqjax.decoding.contract`.
      distribution: the distribution whose parameters the step returns.
      params: the first argument of `step`; new values do not cause recompilation.
      context: per-example input of `step`; each leaf has a leading batch axis. May be None.
      state: the state before the first value; each leaf has a leading batch axis.
      first: what the step receives at first, before any value is known, with `*D` the shape of a value.
      max_length: the maximum number `L` of values to draw.
      num_samples: how many sequences to draw per example.
      prefix: known first values of each example, which are read once and not part of the result.
      prefix_lengths: how many of the `P` values of the prefix are known; all by default.
      stop: `(context, state, value) -> whether a sequence ends with this value`, where the state is the one after the
        step that predicted the value; None if only `max_length` ends a sequence.
      bias: 0 to sample from the model; larger numbers make probable values more frequent (Graves 2013, section 5.4).

    Returns:
      The samples, without the prefix.

    Raises:
      TypeError: if `step` or `stop` returns something of the wrong type, or the values drawn do not have the type of
        `first` and `prefix`.
      ValueError: if shapes do not match, a setting is out of range, or (outside `jit`) a parameter is NaN in a row; the
        message lists these rows. Under `jit`, their log-densities are NaN.

    >>> from seqjax.distributions import gaussian
    >>> family = gaussian()
    >>> def walk(params, context, state, value):  # a random walk
    ...     return family.parameters(jnp.stack([value, params])), state
    >>> drawn = rollout(
    ...     jax.random.key(0),
    ...     walk,
    ...     family,
    ...     jnp.array(-9.0),
    ...     None,
    ...     None,
    ...     first=jnp.array([5.0]),
    ...     max_length=3,
    ...     num_samples=2,
    ... )
    >>> drawn.values.round(2), drawn.lengths
    (Array([[[5., 5., 5.],
            [5., 5., 5.]]], dtype=float32), Array([[3, 3]], dtype=int32))
    """
    check_setting("bias", bias, lambda bias: np.isfinite(bias), "a finite number")
    if prefix_lengths is not None and prefix is None:
        raise ValueError("prefix_lengths: expected a prefix as well, got only its lengths")
    functions = (
        as_argument("step", step),
        as_argument("stop", _never if stop is None else stop),
        *(as_argument(name, getattr(distribution, name)) for name in ("sample", "log_prob", "sharpen")),
    )
    settings = as_settings(max_length=max_length, num_samples=num_samples)
    first, prefix = jnp.asarray(first), None if prefix is None else jnp.asarray(prefix)
    drawn = _rollout(key, functions, params, context, state, first, prefix, prefix_lengths, bias, **settings)
    if not is_traced(drawn) and drawn.log_probs.is_fully_addressable:
        rows = np.flatnonzero(np.isnan(np.asarray(drawn.log_probs)).any(axis=1)).tolist()
        if rows:
            raise ValueError(f"step: expected parameters that are numbers, got NaN in row(s) {rows} of the batch")
    return drawn


def _never(context: Context, state: State, value: Array) -> Bool[Array, ""]:
    return jnp.array(False)


class _Loop(NamedTuple):
    t: Int32[Array, ""]
    value: Num[Array, "B n *D"]
    state: State
    finished: Bool[Array, "B n"]
    values: Num[Array, "L B n *D"]  # time first, so that each step writes one contiguous slice
    lengths: Int32[Array, "B n"]
    log_probs: Float[Array, "B n"]


@partial(jax.jit, static_argnames=("max_length", "num_samples"))
def _rollout(
    key, functions, params, context, state, first, prefix, prefix_lengths, bias, *, max_length, num_samples
) -> Rollout:
    step, stop, sample, log_prob, sharpen = functions
    batch = _check(functions, params, context, state, first, prefix, prefix_lengths, max_length, num_samples)
    if prefix is not None:
        state, first = _read(step, params, context, state, first, prefix, prefix_lengths)
    shape, of_one_value = (batch, num_samples), (1,) * (first.ndim - 1)

    def predict(context: Context, state: State, value: Array) -> tuple[Parameters, State]:
        return step(params, context, state, value)

    def for_all(function: Callable) -> Callable:
        return jax.vmap(jax.vmap(function, in_axes=(None, 0, 0)))

    def advance(loop: _Loop) -> _Loop:
        parameters, state = for_all(predict)(context, loop.state, loop.value)
        value = sample(jax.random.fold_in(key, loop.t), sharpen(parameters, bias))
        log_prob_of_value = log_prob(parameters, value)
        ends = for_all(stop)(context, state, value) | jnp.isnan(log_prob_of_value)
        finished = loop.finished.reshape(*shape, *of_one_value)
        return _Loop(
            t=loop.t + 1,
            value=value,
            state=state,
            finished=loop.finished | ends,
            values=loop.values.at[loop.t].set(jnp.where(finished, 0, value)),
            lengths=loop.lengths + jnp.where(loop.finished, 0, 1),
            log_probs=loop.log_probs + jnp.where(loop.finished, 0.0, log_prob_of_value),
        )

    loop = lax.while_loop(
        lambda loop: (loop.t < max_length) & ~jnp.all(loop.finished),
        advance,
        _Loop(
            t=jnp.int32(0),
            value=repeat_state(first, num_samples),
            state=repeat_state(state, num_samples),
            finished=jnp.zeros(shape, bool),
            values=jnp.zeros((max_length, *shape, *first.shape[1:]), first.dtype),
            lengths=jnp.zeros(shape, jnp.int32),
            log_probs=jnp.zeros(shape),
        ),
    )
    undefined = jnp.isnan(loop.log_probs)
    values = jnp.where(undefined.reshape(*shape, *of_one_value), 0, loop.values)
    return Rollout(
        jnp.moveaxis(values, 0, 2), jnp.where(undefined, 0, loop.lengths), where_defined(~undefined, loop.log_probs)
    )


def _read(step, params, context, state, first, prefix, prefix_lengths) -> tuple[State, Array]:
    """Runs the step over the known values of each row; returns its state before its last value, and this value."""
    known = prefix.shape[1]
    lengths = jnp.full(len(prefix), known) if prefix_lengths is None else clip_lengths(prefix_lengths, known)

    def read(carry: tuple[State, Array], now: tuple[Array, Array]) -> tuple[tuple[State, Array], None]:
        value, valid = now
        state = jax.vmap(lambda context, state, value: step(params, context, state, value)[1])(context, *carry)

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(valid.reshape(valid.shape + (1,) * (new.ndim - 1)), new, old)

        return jax.tree.map(keep, (state, value), carry), None

    by_time = jnp.moveaxis(prefix, 1, 0), within(lengths, known).T
    return lax.scan(read, (state, first), by_time)[0]


def _check(functions, params, context, state, first, prefix, prefix_lengths, max_length, num_samples) -> int:
    """Checks shapes, types and what the functions return; returns the number of rows."""
    as_count("max_length", max_length)
    as_count("num_samples", num_samples)
    step, stop, sample, log_prob, _ = functions
    batch = len(first)
    batch_size(context=context, state=state, first=first, prefix=prefix, prefix_lengths=prefix_lengths)
    if prefix is not None and (prefix.shape[2:], prefix.dtype) != (first.shape[1:], first.dtype):
        raise ValueError(
            f"prefix: expected {first.dtype}{[batch, 'P', *first.shape[1:]]}, like first, "
            f"got {prefix.dtype}{list(prefix.shape)}"
        )
    context, state, value = of_one((context, state, first))
    parameters = check_step(step, params, context, state, batch, value=value)

    def draw(parameters: Any) -> tuple[Array, Array]:
        value = sample(jax.random.key(0), parameters)
        return value, log_prob(parameters, value)

    drawn, _ = jax.eval_shape(draw, parameters)
    if described(drawn) != described(value):
        raise TypeError(
            f"first: expected {described(drawn)} for each row, as the distribution draws, got {described(value)}"
        )
    ends = jax.eval_shape(stop, context, state, value)
    if described(ends) != "bool[]":
        raise TypeError(f"stop: expected it to return bool[], got {described(ends)}")
    return batch
