"""Types and checks that all searches share: the step function, the logits processors and the result.

A search sees the model as a function of a single hypothesis,

    step(params, context, state, token) -> (logits [V], state)

`token` is the last token emitted, `bos` at first. `state` is whatever the model carries from token to token. `context`
is what all hypotheses of an example share, such as the encoded source and its length. The search maps the step over the
batch and over the hypotheses of each example, without repeating `context` for each hypothesis.

A processor reshapes or constrains the model's distribution,

    processor(context, history, logits) -> logits [V]

The first processor receives log-probabilities, that is normalised logits. Minus infinity forbids a token. No logit may
rise above zero, because `beam_search` relies on that to decide when to stop.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Int32, Shaped

Params = Any  # a pytree of arrays
Context = Any  # a pytree of arrays; searches take it with a leading batch axis, steps without
State = Any  # a pytree of arrays; with and without the batch axis as for Context
Step = Callable[[Params, Context, State, Int32[Array, ""]], tuple[Float[Array, " V"], State]]


class History(NamedTuple):
    """The tokens that one hypothesis has emitted: `tokens[:length]`, without `bos`; the rest is undefined."""

    tokens: Int32[Array, " L"]
    length: Int32[Array, ""]


Processor = Callable[[Context, History, Float[Array, " V"]], Float[Array, " V"]]


class Decoded(NamedTuple):
    """The `n` sequences that a search found for each of `B` examples, best first.

    A sequence ends with `eos` or at the maximum length `L`, whichever comes first; it includes `eos` but not `bos`. A
    search that finds fewer than `n` sequences fills the other places with length 0, log-probability minus infinity and
    score minus infinity.
    """

    tokens: Int32[Array, "B n L"]  # padded after the end
    lengths: Int32[Array, "B n"]
    log_probs: Float[Array, "B n"]  # log-probability under the model, in nats
    scores: Float[Array, "B n"]  # the search ranks by these


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
    """Checks the arguments common to all searches, and what the step and the processors return.

    Call it while the search is traced: it needs only shapes and types, and costs nothing at run time.

    Returns:
      The batch size `B` and the vocabulary size `V`.

    Raises:
      TypeError: if the step does not return float logits and a state of the same structure and types, or a processor
        does not return logits of the same shape and type.
      ValueError: if a shape does not match, `max_length` is below 1 or `eos` is not a token.
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
    """Returns the static arguments of a search; raises TypeError for one that is not an int (`eos` may be None)."""
    for name, value in settings.items():
        if value is None and name == "eos":
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name}: expected an int, static under jit, got {value!r}")
    return settings


def check_sequences(decoded: Decoded, processors: Sequence[Processor]) -> Decoded:
    """Raises ValueError for rows in which the processors left no token.

    Under `jit` it does nothing, and the scores of these rows are minus infinity. It reads the scores only if there are
    processors, because reading them waits for the search to finish.
    """
    if processors and not isinstance(decoded.scores, jax.core.Tracer):
        impossible = np.isneginf(np.asarray(decoded.scores)).all(axis=1)
        if impossible.any():
            raise ValueError(
                "processors: expected at least one possible token in every row, "
                f"got no token for row(s) {np.flatnonzero(impossible).tolist()} of the batch"
            )
    return decoded


def as_argument(name: str, function: Callable) -> Partial:
    """Wraps a function as an argument of `jit`, so that new arrays in a `Partial` do not cause recompilation.

    Raises TypeError if the argument called `name` is not a function.
    """
    if not callable(function):
        raise TypeError(f"{name}: expected a function, got {function!r}")
    return function if isinstance(function, Partial) else Partial(function)


def as_arguments(step: Step, processors: Sequence[Processor], **penalties: Callable | None) -> tuple[Any, ...]:
    """Wraps the functions passed to a search as arguments of `jit`: the step, the processors and the penalties."""
    if callable(processors):
        raise TypeError(f"processors: expected a sequence of functions, got the function {processors!r}")
    chain = tuple(as_argument(f"processors[{place}]", processor) for place, processor in enumerate(processors))
    others = (None if penalty is None else as_argument(name, penalty) for name, penalty in penalties.items())
    return as_argument("step", step), chain, *others


def first_tokens(bos: Int[Array, "*B"], shape: tuple[int, int]) -> Int32[Array, "B K"]:
    """Broadcasts `bos` to the `K` hypotheses of each of `B` examples."""
    return jnp.broadcast_to(bos.astype(jnp.int32).reshape(-1, 1), shape)


def repeat_state(state: State, hypotheses: int) -> State:
    """Repeats each example's state for its `K` hypotheses: leaves [B, ...] become [B, K, ...]."""

    def repeat(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf[:, None], (leaf.shape[0], hypotheses, *leaf.shape[1:]))

    return jax.tree.map(repeat, state)


class Prediction(NamedTuple):
    """Logits of the next token of every hypothesis, before and after the processors.

    Log-probabilities are `logits - normalizer`; a search adds up `processed - shift`. Each search takes these
    differences only where it needs them.
    """

    logits: Float[Array, "B K V"]
    normalizer: Float[Array, "B K"]
    processed: Float[Array, "B K V"]  # processed log-probabilities; the logits themselves if there are no processors
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
    """Runs the step and the processors for all hypotheses, which have emitted `tokens[:length]`."""

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
    """Picks `K` values along the last axis."""
    return jnp.take_along_axis(values, place, axis=-1, mode="promise_in_bounds")


def _batch_size(context: Context, state: State, bos: Array) -> int:
    """Reads the batch size from the leaves of context and state (or from `bos`) and checks that they agree on it."""
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
            "bos: expected one token for each row, because context and state are empty, got a scalar: "
            "nothing has a batch axis"
        )
    if jnp.shape(bos) not in ((), (batch[0],)):
        raise ValueError(f"bos: expected a token or {batch[0]} tokens, one for each row, got shape {jnp.shape(bos)}")
    if not batch[0]:
        raise ValueError(f"{batch[1]}: expected at least one row, got none")
    return batch[0]


def _check_step(step: Step, params: Params, context: Context, state: State, batch: int) -> tuple[int, jnp.dtype]:
    """Checks what the step returns for one hypothesis; returns the number and the type of its logits."""
    try:
        returned = jax.eval_shape(step, params, context, state, jax.ShapeDtypeStruct((), jnp.int32))
    except Exception as failure:
        failure.add_note(
            f"step was called as step(params, context, state, token), for one hypothesis of a batch of {batch}: "
            f"context {_described(context)}, state {_described(state)}, token int32[]. "
            "Each leaf of the context and the state passed to a search has a leading batch axis, which it removes."
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
                f"step: expected it to keep the shape and type of state{jax.tree_util.keystr(path)}, "
                f"{_described(old)}, got {_described(new)}"
            )
    return logits.size, logits.dtype


def _at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    return jnp.promote_types(dtype, jnp.float32)


def _described(tree: Any) -> str:
    """Formats an array as float32[8], and a pytree of arrays as the tree of such strings."""
    if isinstance(tree, jax.ShapeDtypeStruct):
        return f"{tree.dtype}{list(tree.shape)}"
    return str(jax.tree.map(_described, tree)) if jax.tree.leaves(tree) else str(tree)
