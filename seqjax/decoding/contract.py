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

Two rules keep the compiled search of an earlier call in use and its results right. Define the step once, outside the
code that calls the search, because a new function compiles a new search. And pass the weights as `params`: what a step
reads from elsewhere, such as a module that it is a method of, is compiled into the search as a constant, and later
updates of it have no effect.

If a step returns a logit that is NaN or plus infinity, a search raises an error that lists the affected rows. Under
`jit`, the scores of these rows are NaN.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int32, Shaped

from seqjax.arguments import IntLike, as_count, as_int, at_least, is_traced, where_defined

Params = Any  # a pytree of arrays
Context = Any  # a pytree of arrays; searches take it with a leading batch axis, steps without
State = Any  # a pytree of arrays; with and without the batch axis as for Context
Step = Callable[[Params, Context, State, Int32[Array, ""]], tuple[Float[Array, " V"], State]]


class History(NamedTuple):
    """The tokens that one hypothesis has emitted, `tokens[:length]`, without `bos`; the rest is undefined.

    `L` is the maximum length of the search. `eos` is the token that ends a sequence, None if only the maximum length
    does.
    """

    tokens: Int32[Array, " L"]
    length: Int32[Array, ""]
    eos: int | None = None


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
    bos: IntLike | Array | np.ndarray,
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
    as_count("max_length", max_length)
    batch = _rows_of_search(context, state, bos)
    context, state = of_one((context, state))
    token = jax.ShapeDtypeStruct((), jnp.int32)
    vocabulary, dtype = _check_logits(check_step(step, params, context, state, batch, token=token))
    if eos is not None and not 0 <= eos < vocabulary:
        raise ValueError(f"eos: expected a token below {vocabulary}, the number of logits, got {eos}")
    logits = jax.eval_shape(lambda: at_least(jnp.zeros(vocabulary, dtype), jnp.float32))
    for place, processor in enumerate(processors):

        def process(context: Context, logits: Array, processor: Processor = processor) -> Any:
            return processor(context, _no_history(max_length, eos), logits)

        got = jax.eval_shape(process, context, logits)
        if described(got) != described(logits):
            raise TypeError(f"processors[{place}]: expected it to return {described(logits)}, got {described(got)}")
    return batch, vocabulary


def as_settings(**settings: IntLike | None) -> dict[str, int | None]:
    """Returns the static arguments of a search as ints; raises TypeError for one that is none (`eos` may be None)."""
    return {
        name: None if value is None and name == "eos" else as_int(name, value, "an int, static under jit")
        for name, value in settings.items()
    }


def settle(
    tokens: Int32[Array, "B n L"],
    lengths: Int32[Array, "B n"],
    log_probs: Float[Array, "B n"],
    scores: Float[Array, "B n"],
    undefined: Bool[Array, "B #n"],
    pad: int,
) -> Decoded:
    """Builds the result of a search, in which a sequence that was not found has length 0 and holds only padding.

    Its log-probability and its score are minus infinity if it is impossible, and NaN where `undefined` is true, because
    a logit was NaN or plus infinity.
    """
    none = jnp.isneginf(scores) | undefined
    return Decoded(
        tokens=jnp.where(none[..., None], pad, tokens),
        lengths=jnp.where(none, 0, lengths),
        log_probs=where_defined(~undefined, jnp.where(none, -jnp.inf, log_probs)),
        scores=where_defined(~undefined, jnp.where(none, -jnp.inf, scores)),
    )


def check_decoded(
    decoded: Decoded, processors: Sequence[Processor], step: Step, params: Params, context: Context, state: State
) -> Decoded:
    """Raises ValueError for rows in which a logit was not a number, or in which the processors left no token.

    Under `jit` it does nothing; the scores of these rows are then NaN and minus infinity.
    """
    if is_traced(decoded) or not decoded.scores.is_fully_addressable:
        return decoded
    scores = np.asarray(decoded.scores)
    rows = np.flatnonzero(np.isnan(scores).any(axis=1)).tolist()
    if rows:
        row = jax.tree.map(lambda leaf: leaf[rows[0]], (context, state))
        logits = jax.eval_shape(step, params, *row, jax.ShapeDtypeStruct((), jnp.int32))[0]
        for place, processor in enumerate(processors):
            try:  # outside `jit`, a constraint names the token that is none
                processor(row[0], _no_history(decoded.tokens.shape[-1], None), jnp.zeros(logits.shape))
            except ValueError as error:
                raise ValueError(f"processors[{place}]: {error}, for row {rows[0]} of the batch") from error
        raise ValueError(f"step: expected logits below infinity, got NaN or infinity in row(s) {rows} of the batch")
    rows = np.flatnonzero(np.isneginf(scores).all(axis=1)).tolist()
    if processors and rows:
        raise ValueError(
            "processors: expected at least one possible token in every row, "
            f"got no token for row(s) {rows} of the batch"
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


def first_tokens(bos: IntLike | Array | np.ndarray, shape: tuple[int, int]) -> Int32[Array, "B K"]:
    """Broadcasts `bos` to the `K` hypotheses of each of `B` examples."""
    return jnp.broadcast_to(jnp.asarray(bos, jnp.int32).reshape(-1, 1), shape)


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
    undefined: Bool[Array, "B K"]  # true where a logit is NaN or plus infinity


def advance(
    step: Step,
    processors: Sequence[Processor],
    params: Params,
    context: Context,
    state: State,
    token: Int32[Array, "B K"],
    tokens: Int32[Array, "L B K"],
    length: Int32[Array, ""],
    eos: int | None,
) -> tuple[Prediction, State]:
    """Runs the step and the processors for all hypotheses, which have emitted `tokens[:length]`."""

    def one(context: Context, state: State, token: Array, tokens: Array) -> tuple[Prediction, State]:
        logits, state = step(params, context, state, token)
        logits = at_least(logits, jnp.float32)
        normalizer = jax.nn.logsumexp(logits)
        undefined = ~(jnp.max(logits) < jnp.inf)
        normalizer = jnp.where(jnp.isneginf(normalizer), 0.0, normalizer)  # no token is possible: all stay at -inf
        if not processors:
            return Prediction(logits, normalizer, logits, normalizer, undefined), state
        processed = logits - normalizer
        for processor in processors:
            processed = processor(context, History(tokens, length, eos), processed)
        undefined |= ~(jnp.max(processed) < jnp.inf)
        return Prediction(logits, normalizer, processed, jnp.zeros_like(normalizer), undefined), state

    hypotheses = jax.vmap(one, in_axes=(None, 0, 0, 1))
    return jax.vmap(hypotheses, in_axes=(0, 0, 0, 1))(context, state, token, tokens)


def take(values: Shaped[Array, "*B N"], place: Int32[Array, "*B K"]) -> Shaped[Array, "*B K"]:
    """Picks `K` values along the last axis."""
    return jnp.take_along_axis(values, place, axis=-1, mode="promise_in_bounds")


def batch_size(**trees: Any) -> int | None:
    """Returns the number of rows of the named pytrees, or None if they have no leaves.

    Raises:
      ValueError: if a leaf has no batch axis, or two leaves have different numbers of rows, or no row.

    >>> batch_size(context=None, state={"h": jnp.zeros((2, 8))})
    2
    """
    batch = None
    for name, tree in trees.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            leaf_name = name + jax.tree_util.keystr(path)
            if not jnp.ndim(leaf):
                raise ValueError(f"{leaf_name}: expected the batch axis first, got a scalar")
            batch = batch or (leaf.shape[0], leaf_name)
            if leaf.shape[0] != batch[0]:
                raise ValueError(f"{leaf_name} has {leaf.shape[0]} rows but {batch[1]} has {batch[0]}")
    if batch is not None and not batch[0]:
        raise ValueError(f"{batch[1]}: expected at least one row, got none")
    return None if batch is None else batch[0]


def of_one(tree: Any) -> Any:
    """Returns the shapes and types of one row of a pytree with leading batch axes."""
    return jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), tree)


def check_step(
    step: Callable, params: Params, context: Context, state: State, batch: int, **last: jax.ShapeDtypeStruct
) -> Any:
    """Checks that a step returns a pair whose second part is a state of the same structure, shapes and types.

    Args:
      step: a function of one hypothesis.
      params: its first argument.
      context, state: shapes and types for one row, see `of_one`.
      batch: number of rows, which error messages mention.
      last: the name of the last argument of the step, with its shape and type.

    Returns:
      The shapes and types of the first part.

    Raises:
      TypeError: if it is not such a pair, or structures or types differ.
      ValueError: if shapes differ.
    """
    [(name, argument)] = last.items()
    try:
        returned = jax.eval_shape(step, params, context, state, argument)
    except Exception as failure:
        failure.add_note(
            f"step was called as step(params, context, state, {name}), for one hypothesis of a batch of {batch}: "
            f"context {described(context)}, state {described(state)}, {name} {described(argument)}. "
            "Each leaf of the context and the state passed to a search has a leading batch axis, which it removes."
        )
        raise
    if not (isinstance(returned, tuple) and len(returned) == 2):
        predicted = "logits" if name == "token" else "parameters"
        raise TypeError(f"step: expected it to return the pair ({predicted}, state), got {described(returned)}")
    predicted, new_state = returned
    if jax.tree.structure(new_state) != jax.tree.structure(state):  # type: ignore[operator]  # jaxlib ships no types
        raise TypeError(
            "step: expected it to return a state of the structure it was given, "
            f"{jax.tree.structure(state)}, got {jax.tree.structure(new_state)}"
        )
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(new_state), strict=True):
        if described(old) != described(new):
            error = ValueError if old.shape != new.shape else TypeError
            raise error(
                f"step: expected it to keep the shape and type of state{jax.tree_util.keystr(path)}, "
                f"{described(old)}, got {described(new)}"
            )
    return predicted


def described(tree: Any) -> str:
    """Formats an array as float32[8], and a pytree of arrays as the tree of such strings."""
    if isinstance(tree, jax.ShapeDtypeStruct):
        return f"{tree.dtype}{list(tree.shape)}"
    return str(jax.tree.map(described, tree)) if jax.tree.leaves(tree) else str(tree)


def _rows_of_search(context: Context, state: State, bos: IntLike | Array | np.ndarray) -> int:
    """Reads the batch size from the leaves of context and state, or from `bos`, and checks `bos`."""
    batch = batch_size(context=context, state=state)
    if isinstance(bos, list | tuple):
        raise TypeError(f"bos: expected a token or an array of tokens, got a {type(bos).__name__}")
    if not jnp.issubdtype(jnp.result_type(bos), jnp.integer):
        raise TypeError(f"bos: expected a token or an array of tokens, got one of type {jnp.result_type(bos)}")
    if batch is None and jnp.ndim(bos) == 1:
        batch = batch_size(bos=bos)
    if batch is None:
        raise ValueError(
            "bos: expected one token for each row, because context and state are empty, got a scalar: "
            "nothing has a batch axis"
        )
    if jnp.shape(bos) not in ((), (batch,)):
        raise ValueError(f"bos: expected a token or {batch} tokens, one for each row, got shape {jnp.shape(bos)}")
    return batch


def _check_logits(logits: Any) -> tuple[int, jnp.dtype]:
    """Checks the logits of one hypothesis; returns their number and their type."""
    if not (isinstance(logits, jax.ShapeDtypeStruct) and jnp.issubdtype(logits.dtype, jnp.floating)):
        raise TypeError(f"step: expected it to return logits that are an array of floats, got {described(logits)}")
    if logits.ndim != 1 or not logits.size:
        raise ValueError(f"step: expected it to return logits of the shape [V], got {described(logits)}")
    return logits.size, logits.dtype


def _no_history(max_length: int, eos: int | None) -> History:
    """Returns the history of a hypothesis that has emitted nothing."""
    return History(jnp.zeros(max_length, jnp.int32), jnp.int32(0), eos)
