"""What every search shares: the step function it is given, the processors of its logits, the result, and their checks.

A model is known to a search as one function of one hypothesis,

    step(params, context, state, token) -> (logits [V], state)

`token` is what was emitted last (`bos` at first), `state` whatever the model carries from token to token, `context`
what all hypotheses of an example share (the encoded source, its length ...). The search maps it over the batch and over
the hypotheses of each example; `context` is not repeated for them.

A processor reshapes or constrains what the model says,

    processor(context, history, logits) -> logits [V]

The logits that enter the first processor are normalised, that is log-probabilities. Minus infinity forbids a token. No
logit may rise above zero: `beam_search` relies on it to know when nothing better will come.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Int32, Shaped

Params = Any  # a pytree of arrays
Context = Any  # a pytree of arrays; with the batch axis first where a search takes it, without where a step does
State = Any  # likewise
Step = Callable[[Params, Context, State, Int32[Array, ""]], tuple[Float[Array, " V"], State]]


class History(NamedTuple):
    """What one hypothesis has emitted: `tokens[:length]`, `bos` not among them; the rest means nothing."""

    tokens: Int32[Array, " L"]
    length: Int32[Array, ""]


Processor = Callable[[Context, History, Float[Array, " V"]], Float[Array, " V"]]


class Decoded(NamedTuple):
    """The `n` sequences that a search found for each of `B` examples, best first.

    A sequence ends with `eos` or at the greatest length `L`, whichever comes first; `eos` is part of it, `bos` is not.
    A search that finds fewer than `n` sequences leaves places of length 0, log-probability and score minus infinity.
    """

    tokens: Int32[Array, "B n L"]  # padded after the end
    lengths: Int32[Array, "B n"]
    log_probs: Float[Array, "B n"]  # log-probability under the model, in nats
    scores: Float[Array, "B n"]  # what the search ranks by


def check_search(
    step: Step,
    processors: Sequence[Processor],
    params: Params,
    context: Context,
    state: State,
    bos: Array,
    eos: int | None,
    max_length: int,
) -> tuple[int, int]:
    """Checks the arguments that all searches have in common and what the step and the processors return.

    All of it is known when a search is traced: call it there, so that it costs nothing later.

    Returns:
      The batch size `B` and the size of the vocabulary `V`.

    Raises:
      TypeError: if the step returns no pair of float logits and a state of the same structure and types, or a processor
        does not return what it was given.
      ValueError: if a shape does not fit, `max_length` is below 1 or `eos` is not a token.
    """
    check_count("max_length", max_length)
    batch = _batch_size(context, state, bos)
    context, state = jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), (context, state))
    vocabulary, dtype = _check_step(step, params, context, state, batch)
    if eos is not None and not 0 <= eos < vocabulary:
        raise ValueError(f"eos: expected a token below {vocabulary}, the number of logits, got {eos}")
    history = jax.eval_shape(lambda: History(jnp.zeros(max_length, jnp.int32), jnp.int32(0)))
    logits = jax.ShapeDtypeStruct((vocabulary,), _at_least_float32(dtype))
    for place, processor in enumerate(processors):
        got = jax.eval_shape(processor, context, history, logits)
        if _described(got) != _described(logits):
            raise TypeError(f"processors[{place}]: expected it to return {_described(logits)}, got {_described(got)}")
    return batch, vocabulary


def check_count(name: str, value: int) -> None:
    """Raises TypeError unless the argument called `name` is an int, ValueError unless it is at least 1."""
    as_settings(**{name: value})
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, got {value}")


def as_settings(**settings: int | None) -> dict[str, int | None]:
    """Gives what a search compiles for, each value anew; raises TypeError for one that is no int."""
    for name, value in settings.items():
        if value is None and name == "eos":
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name}: expected an int, known before anything is traced, got {value!r}")
    return settings


def check_sequences(decoded: Decoded, processors: Sequence[Processor]) -> Decoded:
    """Raises ValueError for rows in which processors left no token; under `jit` their scores are minus infinity.

    Only then does it look at the scores, for which it has to wait.
    """
    if processors and not isinstance(decoded.scores, jax.core.Tracer):
        impossible = np.isneginf(np.asarray(decoded.scores)).all(axis=1)
        if impossible.any():
            raise ValueError(f"processors leave no token to row(s) {np.flatnonzero(impossible).tolist()} of the batch")
    return decoded


def as_argument(name: str, function: Callable) -> Partial:
    """Makes a function an argument of `jit`: it compiles once, whatever the arrays that a `Partial` holds.

    Raises TypeError if the argument called `name` is no function.
    """
    if not callable(function):
        raise TypeError(f"{name}: expected a function, got {function!r}")
    return function if isinstance(function, Partial) else Partial(function)


def as_arguments(step: Step, processors: Sequence[Processor], **penalties: Callable | None) -> tuple[Any, ...]:
    """Makes the functions that a search is given arguments of `jit`: step, processors, and what else by its name."""
    if callable(processors):
        raise TypeError(f"processors: expected a sequence of functions, got the function {processors!r}")
    chain = tuple(as_argument(f"processors[{place}]", processor) for place, processor in enumerate(processors))
    others = (None if penalty is None else as_argument(name, penalty) for name, penalty in penalties.items())
    return as_argument("step", step), chain, *others


def first_tokens(bos: Int[Array, "*B"], shape: tuple[int, int]) -> Int32[Array, "B K"]:
    """Gives each of `K` hypotheses of `B` examples its first token."""
    return jnp.broadcast_to(bos.astype(jnp.int32).reshape(-1, 1), shape)


def repeat_state(state: State, hypotheses: int) -> State:
    """Gives each of `K` hypotheses the state of its example: leaves [B, ...] become [B, K, ...]."""

    def repeat(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf[:, None], (leaf.shape[0], hypotheses, *leaf.shape[1:]))

    return jax.tree.map(repeat, state)


class Prediction(NamedTuple):
    """What the model says of the next token of every hypothesis, and what the processors made of it.

    Log-probabilities are `logits - normalizer`; what a search adds up is `processed - shift`. The differences are taken
    only where they are needed.
    """

    logits: Float[Array, "B K V"]
    normalizer: Float[Array, "B K"]
    processed: Float[Array, "B K V"]  # of the log-probabilities; the logits themselves if there are no processors
    shift: Float[Array, "B K"]  # 0; the normalizer if there are no processors


def advance(
    step: Step,
    processors: Sequence[Processor],
    params: Params,
    context: Context,
    state: State,
    token: Int32[Array, "B K"],
    tokens: Int32[Array, "L B K"],
    length: Int32[Array, ""],
) -> tuple[Prediction, State]:
    """Runs the step and the processors for all hypotheses, which have emitted the first `length` of `tokens`."""

    def one(context: Context, state: State, token: Array, tokens: Array) -> tuple[Prediction, State]:
        logits, state = step(params, context, state, token)
        logits = logits.astype(_at_least_float32(logits.dtype))
        normalizer = jax.nn.logsumexp(logits)
        normalizer = jnp.where(jnp.isneginf(normalizer), 0.0, normalizer)  # no token is possible: all stay at -inf
        if not processors:
            return Prediction(logits, normalizer, logits, normalizer), state
        processed = logits - normalizer
        for processor in processors:
            processed = processor(context, History(tokens, length), processed)
        return Prediction(logits, normalizer, processed, jnp.zeros_like(normalizer)), state

    hypotheses = jax.vmap(one, in_axes=(None, 0, 0, 1))
    return jax.vmap(hypotheses, in_axes=(0, 0, 0, 1))(context, state, token, tokens)


def take(values: Shaped[Array, "*B N"], place: Int32[Array, "*B K"]) -> Shaped[Array, "*B K"]:
    """Picks `K` of the values along the last axis."""
    return jnp.take_along_axis(values, place, axis=-1, mode="promise_in_bounds")


def _batch_size(context: Context, state: State, bos: Array) -> int:
    """Reads the batch size off the leaves of context and state (or off `bos`) and checks that all have it."""
    batch = None
    for name, tree in (("context", context), ("state", state)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            leaf_name = name + jax.tree_util.keystr(path)
            if not jnp.ndim(leaf):
                raise ValueError(f"{leaf_name}: expected the batch axis first, got a scalar")
            batch = batch or (leaf.shape[0], leaf_name)
            if leaf.shape[0] != batch[0]:
                raise ValueError(f"{leaf_name} has {leaf.shape[0]} rows but {batch[1]} has {batch[0]}")
    if isinstance(bos, list | tuple):
        raise TypeError(f"bos: expected a token or an array of tokens, got a {type(bos).__name__}")
    if not jnp.issubdtype(jnp.result_type(bos), jnp.integer):
        raise TypeError(f"bos: expected a token or an array of tokens, got one of type {jnp.result_type(bos)}")
    if batch is None and jnp.ndim(bos) == 1:
        batch = (len(bos), "bos")
    if batch is None:
        raise ValueError(
            "bos: expected one for each row where state and context are empty, got a scalar: nothing has a batch axis"
        )
    if jnp.shape(bos) not in ((), (batch[0],)):
        raise ValueError(f"bos: expected a token or {batch[0]} tokens, one for each row, got shape {jnp.shape(bos)}")
    if not batch[0]:
        raise ValueError(f"{batch[1]}: expected at least one row, got none")
    return batch[0]


def _check_step(step: Step, params: Params, context: Context, state: State, batch: int) -> tuple[int, jnp.dtype]:
    """Checks what the step returns for one hypothesis; gives the number and the type of its logits."""
    try:
        returned = jax.eval_shape(step, params, context, state, jax.ShapeDtypeStruct((), jnp.int32))
    except Exception as failure:
        failure.add_note(
            f"step was called as step(params, context, state, token), for one hypothesis of a batch of {batch}: "
            f"context {_described(context)}, state {_described(state)}, token int32[]. "
            "Each leaf of the context and the state given to a search leads with the batch axis, which it takes off."
        )
        raise
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise TypeError(f"step: expected it to return the pair (logits, state), got {_described(returned)}")
    logits, new_state = returned
    if not (isinstance(logits, jax.ShapeDtypeStruct) and jnp.issubdtype(logits.dtype, jnp.floating)):
        raise TypeError(f"step: expected it to return logits that are an array of floats, got {_described(logits)}")
    if logits.ndim != 1 or not logits.size:
        raise ValueError(f"step: expected it to return logits of the shape [V], got {_described(logits)}")
    if jax.tree.structure(new_state) != jax.tree.structure(state):  # type: ignore[operator]  # jaxlib ships no types
        raise TypeError(
            "step: expected it to return a state of the structure it was given, "
            f"{jax.tree.structure(state)}, got {jax.tree.structure(new_state)}"
        )
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(new_state), strict=True):
        if _described(old) != _described(new):
            error = ValueError if old.shape != new.shape else TypeError
            raise error(
                f"step: expected it to keep shape and type of state{jax.tree_util.keystr(path)}, "
                f"{_described(old)}, got {_described(new)}"
            )
    return logits.size, logits.dtype


def _at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    return jnp.promote_types(dtype, jnp.float32)


def _described(tree: Any) -> str:
    """Writes an array as float32[8], a pytree of arrays likewise."""
    if isinstance(tree, jax.ShapeDtypeStruct):
        return f"{tree.dtype}{list(tree.shape)}"
    return str(jax.tree.map(_described, tree)) if jax.tree.leaves(tree) else str(tree)
