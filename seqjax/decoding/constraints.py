"""Logits processors that forbid tokens or penalise repetition.

Each factory returns a processor, `(context, history, logits) -> logits`. Pass a constraint that differs between the
examples of a batch as a function of the context, `context -> array`; otherwise pass the array itself. A forbidden
token gets minus infinity. The other tokens keep their log-probabilities, so that a search ranks them as the model
does. In a chain, put constraints before `top_k` and similar processors, because a later constraint may forbid every
token that survives a cut.

Arrays and numbers may be traced. A token outside the vocabulary raises an error; under `jit`, it makes the logits NaN.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int

from seqjax.arguments import IntLike, as_count, check_setting, is_traced, where_defined
from seqjax.decoding.contract import Context, History, Processor, as_argument

Tokens = Sequence[int] | Int[Array, " N"] | Int[np.ndarray, " N"]
Given = Tokens | Callable[[Context], Int[Array, " N"]]
Held = Array | Partial  # the same, as an argument of a jitted function
Count = IntLike | Int[Array, ""]  # an array under jit


def ban(tokens: Given) -> Processor:
    """Forbids tokens at every position; negative entries of the list are padding.

    >>> ban([0, 2])(None, None, jnp.zeros(3))
    Array([-inf,   0., -inf], dtype=float32)
    """
    return Partial(_ban, _given("tokens", tokens))


def force(tokens: Given) -> Processor:
    """Forces the tokens of the first `N` positions, such as a prefix; a negative entry leaves its position free.

    >>> force([2, -1])(None, History(jnp.zeros(4, jnp.int32), jnp.int32(0)), jnp.zeros(3))
    Array([-inf, -inf,   0.], dtype=float32)
    """
    return Partial(_force, _given("tokens", tokens))


def min_length(length: Count, *, eos: Count) -> Processor:
    """Forbids `eos` until the sequence, `eos` included, would have at least `length` tokens.

    >>> min_length(2, eos=1)(None, History(jnp.zeros(4, jnp.int32), jnp.int32(0)), jnp.zeros(3))
    Array([  0., -inf,   0.], dtype=float32)
    """
    return Partial(_min_length, length, eos)


def keypad(digits: Given, keys: Tokens, *, eos: Count | None) -> Processor:
    """Allows at each position only the tokens on one key, as when typing words on a telephone keypad (T9).

    Args:
      digits: the key pressed at each position; negative after the last, where only `eos` is allowed.
      keys: the key of each of `V` tokens; negative for a token that is on no key.
      eos: the token that ends a sequence; if None, every token is allowed after the last key.

    >>> typed = keypad([2, 3], keys=[2, 2, 3, -1], eos=3)
    >>> for t in range(3):
    ...     print(typed(None, History(jnp.zeros(4, jnp.int32), jnp.int32(t)), jnp.zeros(4)))
    [  0.   0. -inf -inf]
    [-inf -inf   0. -inf]
    [-inf -inf -inf   0.]
    """
    return Partial(_keypad, _given("digits", digits), _array("keys", keys), eos)


def finite_state(transitions: Int[Array, "S V"] | Int[np.ndarray, "S V"], start: Count = 0) -> Processor:
    """Allows only the sequences that a finite automaton accepts.

    A sequence that ends at the maximum length without `eos` is accepted only where `eos` is allowed next.

    Args:
      transitions: the next state for each of `S` states and `V` tokens; negative if the token is forbidden in that
        state. In a state where a sequence may end, `eos` leads to any state.
      start: the state before the first token.

    Raises:
      ValueError: if `transitions` has not two axes, a transition is `S` or more, or `start` is not one of the `S`
        states; from the processor, if there is not one column for each of `V` logits.

    >>> alternating = finite_state(np.array([[1, -1], [-1, 0]]))
    >>> alternating(None, History(jnp.array([0, 1, 0]), jnp.int32(3)), jnp.zeros(2))
    Array([-inf,   0.], dtype=float32)
    """
    transitions = _array("transitions", transitions, axes=2)
    states = len(transitions)
    if not is_traced(transitions) and (most := np.max(np.asarray(transitions), initial=-1)) >= states:
        raise ValueError(f"transitions: expected states below {states}, one for each row, got {most}")
    check_setting("start", start, lambda start: 0 <= start < states, f"a state from 0 to {states - 1}")
    return Partial(_finite_state, transitions, start)


def trie(
    words: Iterable[Sequence[int]], vocabulary_size: IntLike, *, eos: IntLike, separator: IntLike | None = None
) -> Int[np.ndarray, "S V"]:
    """Builds the transitions of a `finite_state` processor that allows only the words of a lexicon.

    Args:
      words: the tokens of each word.
      vocabulary_size: `V`.
      eos: allowed after each complete word.
      separator: the token between words; None to allow a single word only.

    Raises:
      ValueError: if `words` is empty, if `eos` or the separator is outside the vocabulary, or if a word is empty or
        contains `eos`, the separator or a token outside the vocabulary.

    >>> trie([[0, 1], [0]], 3, eos=2)
    array([[ 1, -1, -1],
           [-1,  2,  0],
           [-1, -1,  0]], dtype=int32)
    """
    reserved = {eos, separator}
    for name, token in ("eos", eos), ("separator", separator):
        if token is not None and not 0 <= token < vocabulary_size:
            raise ValueError(f"{name}: expected a token below {vocabulary_size}, got {token}")
    children: list[dict[int, int]] = [{}]
    for word in words:
        node = 0
        for token in word:
            if token in reserved or not 0 <= token < vocabulary_size:
                raise ValueError(
                    f"words: expected tokens below {vocabulary_size}, not eos or separator, got {list(word)}"
                )
            if token not in children[node]:
                children.append({})
                children[node][token] = len(children) - 1
            node = children[node][token]
        if node == 0:
            raise ValueError("words: expected at least one token in each, got an empty word")
        children[node].update({int(end): 0 for end in reserved if end is not None})
    if len(children) == 1:
        raise ValueError("words: expected at least one, got none")
    transitions = np.full((len(children), vocabulary_size), -1, np.int32)
    for node, edges in enumerate(children):
        transitions[node, list(edges.keys())] = list(edges.values())
    return transitions


def repetition_penalty(theta: float | Float[Array, ""]) -> Processor:
    """Multiplies the log-probability of every token that has already occurred by theta.

    Keskar et al. (2019), section 4.1, divide the logits instead. Dividing lowers a positive logit but raises a negative
    one; log-probabilities are never positive, so multiplying never raises them.

    Raises:
      ValueError: if theta is below 1.

    >>> repetition_penalty(1.5)(None, History(jnp.array([2, 0, 0]), jnp.int32(1)), jnp.array([-1.0, -2.0, -2.0]))
    Array([-1., -2., -3.], dtype=float32)
    """
    check_setting("theta", theta, lambda theta: theta >= 1, "at least 1")
    return Partial(_repetition_penalty, theta)


@functools.lru_cache(maxsize=None, typed=True)  # one function per n, so that a search does not recompile
def no_repeat_ngram(n: IntLike) -> Processor:
    """Forbids tokens that would repeat an n-gram of the history (Paulus, Xiong and Socher 2018).

    Raises:
      ValueError: if n is below 1.

    >>> no_repeat_ngram(2)(None, History(jnp.array([0, 1, 0, 0]), jnp.int32(3)), jnp.zeros(3))
    Array([  0., -inf,   0.], dtype=float32)
    """
    n = as_count("n", n)

    def process(context: Context, history: History, logits: Float[Array, " V"]) -> Float[Array, " V"]:
        tokens, length = history.tokens, history.length
        starts = jnp.arange(tokens.size - n + 1)  # empty if n tokens do not fit
        seen = starts + n <= length
        for i in range(n - 1):
            seen &= tokens[starts + i] == tokens[length - n + 1 + i]
        return _forbid(logits, jnp.where(seen, tokens[starts + n - 1], -1))

    return process


def _ban(tokens: Held, context: Context, history: History | None, logits: Float[Array, " V"]) -> Float[Array, " V"]:
    tokens = _of("tokens", tokens, context)
    return _defined("tokens", tokens, _forbid(logits, tokens))


def _force(tokens: Held, context: Context, history: History, logits: Float[Array, " V"]) -> Float[Array, " V"]:
    tokens = _of("tokens", tokens, context)
    token = _at(tokens, history.length)
    return _defined("tokens", tokens, _only(logits, (token < 0) | (jnp.arange(logits.size) == token)))


def _min_length(
    length: Count, eos: Count, context: Context, history: History, logits: Float[Array, " V"]
) -> Float[Array, " V"]:
    allowed = _only(logits, (jnp.arange(logits.size) != eos) | (history.length + 1 >= length))
    return _defined("eos", jnp.asarray(eos), allowed)


def _keypad(
    digits: Held,
    keys: Int[Array, " V"],
    eos: Count | None,
    context: Context,
    history: History,
    logits: Float[Array, " V"],
) -> Float[Array, " V"]:
    _check_width("keys", keys, logits)
    digits = _of("digits", digits, context)
    digit = _at(digits, history.length)
    typed = _at(digits, jnp.asarray(history.tokens.size)) < 0  # all keys, when the sequence ends at the maximum length
    if eos is None:
        return _only(logits, typed & ((digit < 0) | (keys == digit)))
    ends = jnp.arange(logits.size) == eos
    return _defined("eos", jnp.asarray(eos), _only(logits, typed & jnp.where(digit < 0, ends, keys == digit)))


def _finite_state(
    transitions: Int[Array, "S V"], start: Count, context: Context, history: History, logits: Float[Array, " V"]
) -> Float[Array, " V"]:
    _check_width("transitions", transitions, logits)
    start = jnp.asarray(start, transitions.dtype)
    state = lax.fori_loop(0, history.length, lambda t, state: transitions[state, history.tokens[t]], start)
    after = transitions[state]
    allowed = after >= 0
    if history.eos is not None:

        def accepted() -> Bool[Array, " V"]:
            return (transitions[after, history.eos] >= 0) | (jnp.arange(logits.size) == history.eos)

        allowed &= lax.cond(history.length + 1 == history.tokens.size, accepted, lambda: jnp.ones_like(allowed))
    is_state = (state < len(transitions)) & jnp.all(after < len(transitions))
    return where_defined(is_state, _only(logits, allowed))


def _repetition_penalty(
    theta: float | Float[Array, ""], context: Context, history: History, logits: Float[Array, " V"]
) -> Float[Array, " V"]:
    emitted = jnp.where(jnp.arange(history.tokens.size) < history.length, history.tokens, logits.size)
    return logits.at[emitted].set(theta * logits[emitted], mode="drop")


def _given(name: str, tokens: Given) -> Held:
    return as_argument(name, tokens) if callable(tokens) else _array(name, tokens)


def _of(name: str, tokens: Held, context: Context) -> Int[Array, " N"]:
    return _array(name, tokens(context)) if callable(tokens) else tokens


def _array(name: str, numbers: Any, axes: int = 1) -> Int[Array, "..."]:
    """Returns integers as an array; raises unless they are integers with the given number of axes."""
    array = numbers if isinstance(numbers, jax.Array) else np.asarray(numbers)
    if array.ndim != axes:
        raise ValueError(f"{name}: expected an array with {axes} axes, got shape {array.shape}")
    if array.size and not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name}: expected integers, got {array.dtype}")
    return jnp.asarray(array, jnp.int32)


def _check_width(name: str, array: Array, logits: Float[Array, " V"]) -> None:
    if array.shape[-1] != logits.size:
        raise ValueError(f"{name}: expected one number for each of {logits.size} logits, got shape {array.shape}")


def _defined(name: str, tokens: Int[Array, "*N"], logits: Float[Array, " V"]) -> Float[Array, " V"]:
    """Returns the logits, NaN if a token is above the vocabulary; outside `jit`, raises ValueError instead."""
    if not is_traced(tokens) and (most := np.max(np.asarray(tokens), initial=-1)) >= logits.size:
        raise ValueError(f"{name}: expected tokens below {logits.size}, the number of logits, got {most}")
    return where_defined(jnp.all(tokens < logits.size), logits)


def _at(tokens: Int[Array, " N"], position: Int[Array, ""]) -> Int[Array, ""]:
    """Returns the token at a position, or -1 past the end."""
    return jnp.append(tokens, -1)[jnp.minimum(position, tokens.size)]


def _only(logits: Float[Array, " V"], allowed: Array) -> Float[Array, " V"]:
    return jnp.where(allowed, logits, -jnp.inf)


def _forbid(logits: Float[Array, " V"], tokens: Int[Array, " N"]) -> Float[Array, " V"]:
    return logits.at[jnp.where(tokens < 0, logits.size, tokens)].set(-jnp.inf, mode="drop")
