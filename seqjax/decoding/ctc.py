"""Connectionist temporal classification: loss and decoding of unaligned labels from per-frame distributions.

Graves et al. (2006). A path takes one of `V` symbols, one of them the blank, at each of `T` frames. Merging repeated
symbols and then dropping the blanks turns a path into labels. The probability of a label sequence is the sum over its
paths,

    p(y | x) = sum_{path: labels(path) = y} prod_t p_t(path_t)

Logits are normalised here, so log-probabilities work too. Frames beyond a row's length have no effect. If a logit
within it is NaN or plus infinity, the loss is NaN, and a search raises an error that names the row (under `jit`, its
scores are NaN).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int32, Integer

from seqjax.arguments import (
    IntLike,
    as_count,
    as_int,
    at_least,
    check_symbols,
    clip_lengths,
    is_symbol,
    is_traced,
    where_defined,
    within,
)
from seqjax.decoding.contract import (
    Context,
    Decoded,
    Params,
    State,
    Step,
    as_argument,
    as_settings,
    check_search,
    first_tokens,
    repeat_state,
    settle,
)

_IMPOSSIBLE = -1e30  # instead of log 0, which optax multiplies by 0


class CTCLoss(NamedTuple):
    """The loss of each row, and whether its labels can be aligned with its frames at all."""

    loss: Float[Array, " B"]
    alignable: Bool[Array, " B"]


def ctc_loss(
    logits: Float[Array, "B T V"],
    lengths: Integer[Array, " B"],
    labels: Integer[Array, "B N"],
    label_lengths: Integer[Array, " B"],
    *,
    blank: IntLike = 0,
) -> CTCLoss:
    """Computes -log p(labels | x) of each row: never negative, and infinite for a row without an alignment.

    `N` labels need at least N frames, plus one for each pair of equal neighbours. The loss is infinite and its gradient
    zero if there are too few frames, if the labels contain the blank or (under `jit`) a number out of range, or if
    every alignment needs a symbol of probability 0. Average only over the alignable rows.

    Args:
      logits: logits of `V` symbols at each of `T` frames.
      lengths: number of frames of each row; above `T`, it counts as `T`.
      labels: the symbols of each row, with any values in the padding.
      label_lengths: number of labels of each row; above `N`, it counts as `N`.
      blank: the symbol that is not a label.

    Raises:
      ValueError: if the shapes do not match, `blank` is not a symbol or (outside `jit`) a label is not a symbol.

    >>> logits = jnp.log(jnp.array([[[0.5, 0.5], [0.5, 0.5]]] * 2))
    >>> losses = ctc_loss(logits, jnp.array([2, 2]), jnp.array([[1, 0], [1, 1]]), jnp.array([1, 2]))
    >>> jnp.exp(-losses.loss), losses.alignable  # paths 1 1, 0 1 and 1 0; none
    (Array([0.75, 0.  ], dtype=float32), Array([ True, False], dtype=bool))
    """
    blank = _check_frames(logits, lengths, blank)
    batch, count = logits.shape[0], labels.shape[1]
    if labels.shape[0] != batch or label_lengths.shape != (batch,):
        shapes = f"{labels.shape} and {label_lengths.shape}"
        raise ValueError(f"labels, label_lengths: expected {batch} rows, as in logits, got shapes {shapes}")
    if not is_traced((labels, label_lengths)):
        check_symbols("labels", labels, logits.shape[2], within(label_lengths, count))
    return _ctc_loss(logits, lengths, labels, label_lengths, blank=blank)


@partial(jax.jit, static_argnames="blank")
def _ctc_loss(logits, lengths, labels, label_lengths, *, blank) -> CTCLoss:
    import optax  # not needed to decode

    (_, frames, vocabulary), count = logits.shape, labels.shape[1]
    logits = at_least(logits, jnp.float32)
    lengths, label_lengths = clip_lengths(lengths, frames), clip_lengths(label_lengths, count)
    padded_frame, padded_label = ~within(lengths, frames), ~within(label_lengths, count)
    undefined = _undefined(logits, lengths)
    repeats = jnp.sum((labels[:, 1:] == labels[:, :-1]) & ~padded_label[:, 1:], axis=1, dtype=jnp.int32)
    possible = is_symbol(labels, vocabulary) & (labels != blank)
    alignable = (lengths >= label_lengths + repeats) & jnp.all(possible | padded_label, axis=1)
    loss = optax.losses.ctc_loss(
        jnp.where(padded_frame[..., None], 0.0, jnp.maximum(logits, _IMPOSSIBLE)),
        padded_frame.astype(logits.dtype),
        jnp.where(possible & ~padded_label, labels, blank),
        padded_label.astype(logits.dtype),
        blank_id=blank,
        log_epsilon=_IMPOSSIBLE,
    )
    alignable &= loss < -_IMPOSSIBLE / 2
    loss = jnp.where(alignable, jnp.maximum(loss, 0.0), jnp.inf)
    return CTCLoss(where_defined(~undefined, loss), alignable | undefined)


def ctc_greedy_search(
    logits: Float[Array, "B T V"], lengths: Integer[Array, " B"], *, blank: IntLike = 0, pad: IntLike = 0
) -> Decoded:
    """Returns the labels of the most probable path; other labels may be more probable when summed over all their paths.

    Returns:
      One sequence per row, of maximum length `T`; its score is the log-probability of that path.

    Raises:
      ValueError: if the shapes do not match, `blank` is not a symbol or (outside `jit`) a logit is NaN.

    >>> logits = jnp.log(jnp.array([[[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.2, 0.8, 0.0]]]))
    >>> ctc_greedy_search(logits, jnp.array([4])).tokens  # the path is 1 1 0 1
    Array([[[1, 1, 0, 0]]], dtype=int32)
    """
    blank = _check_frames(logits, lengths, blank)
    return _check_found(_ctc_greedy_search(logits, lengths, blank=blank, **as_settings(pad=pad)))


@partial(jax.jit, static_argnames=("blank", "pad"))
def _ctc_greedy_search(logits, lengths, *, blank, pad) -> Decoded:
    valid = within(lengths, logits.shape[1])
    log_probs = jax.nn.log_softmax(jnp.where(valid[..., None], at_least(logits, jnp.float32), 0.0))
    path = jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
    first = jnp.concatenate([jnp.ones_like(valid[:, :1]), path[:, 1:] != path[:, :-1]], axis=1)
    kept = valid & first & (path != blank)
    place = jnp.where(kept, jnp.cumsum(kept, axis=1) - 1, logits.shape[1])
    tokens = jax.vmap(lambda place, path: jnp.full_like(path, pad).at[place].set(path, mode="drop"))(place, path)
    score = jnp.sum(jnp.max(log_probs, axis=-1), axis=1, where=valid, keepdims=True)
    undefined = _undefined(logits, lengths)[:, None]
    return settle(tokens[:, None], jnp.sum(kept, axis=1, keepdims=True, dtype=jnp.int32), score, score, undefined, pad)


class LanguageModel(NamedTuple):
    """A language model for `ctc_beam_search`, which adds weight * log p(y) + bonus * |y| to the score of labels y.

    The model predicts the same `V` symbols as the frames; its prediction for the blank is ignored.
    """

    step: Step
    params: Params
    context: Context  # with a leading batch axis
    state: State  # with a leading batch axis
    bos: IntLike | Int[Array, "..."]
    weight: float | Float[Array, ""] = 1.0
    bonus: float | Float[Array, ""] = 0.0


def ctc_beam_search(
    logits: Float[Array, "B T V"],
    lengths: Integer[Array, " B"],
    *,
    beam_size: IntLike,
    n_best: IntLike = 1,
    blank: IntLike = 0,
    language_model: LanguageModel | None = None,
    pad: IntLike = 0,
) -> Decoded:
    """Searches for the most probable labels, summing the probabilities of the paths that lead to the same prefix.

    Graves and Jaitly (2014), algorithm 1; Hannun et al. (2014) with a language model. Each prefix has two
    probabilities: of the paths that end with its last label, and of those that end with a blank. The same label again
    extends the prefix after a blank, and otherwise repeats its last label. If an extension is already in the beam, the
    two are merged.

    Args:
      logits: logits of `V` symbols at each of `T` frames.
      lengths: number of valid frames in each row.
      beam_size: number of prefixes kept. If it covers all prefixes, the probabilities are exact; otherwise they are
        lower bounds.
      n_best: number of sequences to return, at most `beam_size`.
      blank: the symbol that is not a label.
      language_model: takes part in the ranking at every frame; see `LanguageModel`.
      pad: the token that fills a sequence after its end.

    Returns:
      The best labels of each row, of maximum length `T`. `log_probs` is log p(y | x); `scores` adds the terms of the
      language model.

    Raises:
      TypeError: if the step of the language model returns a wrong type.
      ValueError: if the shapes do not match, a setting is out of range or (outside `jit`) a logit is NaN.

    >>> logits = jnp.log(jnp.array([[[0.6, 0.4], [0.6, 0.4]]]))
    >>> found = ctc_beam_search(logits, jnp.array([2]), beam_size=2, n_best=2)
    >>> for n in range(2):  # the most probable path is 0 0, but 1 1, 0 1 and 1 0 share a label
    ...     print(found.tokens[0, n, : found.lengths[0, n]], f"{jnp.exp(found.scores[0, n]):.2f}")
    [1] 0.64
    [] 0.36
    """
    blank = _check_frames(logits, lengths, blank)
    as_count("beam_size", beam_size)
    if not 1 <= n_best <= beam_size:
        raise ValueError(f"n_best: expected at least 1 and at most beam_size, {beam_size}, got {n_best}")
    if language_model is not None:
        language_model = language_model._replace(step=as_argument("language_model.step", language_model.step))
    settings = as_settings(beam_size=beam_size, n_best=n_best, blank=blank, pad=pad)
    return _check_found(_ctc_beam_search(logits, lengths, language_model, **settings))


class _Prefixes(NamedTuple):
    """`K` distinct prefixes of one row and the probabilities of their paths; unused places have probability 0."""

    tokens: Int32[Array, "K T"]
    lengths: Int32[Array, " K"]
    ending_blank: Float[Array, " K"]  # log-probability of the paths that end with a blank
    ending_label: Float[Array, " K"]  # log-probability of the paths that end with the last label
    bonus: Float[Array, " K"]  # what the language model has added to the score
    predicted: Float[Array, "K V"]  # what the language model would add for each next label
    state: State  # of the language model


@partial(jax.jit, static_argnames=("beam_size", "n_best", "blank", "pad"))
def _ctc_beam_search(logits, lengths, language_model, *, beam_size, n_best, blank, pad) -> Decoded:
    batch, frames, vocabulary = logits.shape
    logits = at_least(logits, jnp.float32)
    lengths = clip_lengths(lengths, frames)
    log_probs = jax.nn.log_softmax(jnp.where(within(lengths, frames)[..., None], logits, 0.0))
    context = state = ()
    bos = jnp.zeros((batch, beam_size), jnp.int32)
    if language_model is not None:
        step, params, context, state, bos, weight, bonus = language_model
        predicts = check_search(step, (), params, context, state, bos, None, 1)
        if predicts != (batch, vocabulary):
            frame = f"{batch} rows and {vocabulary} logits, as in the frames"
            raise ValueError(f"language_model: expected {frame}, got {predicts[0]} and {predicts[1]}")
        bos, state = first_tokens(bos, (batch, beam_size)), repeat_state(state, beam_size)

    def predict(context: Context, state: State, token: Array) -> tuple[Array, State]:
        if language_model is None:
            return jnp.zeros((beam_size, vocabulary)), state
        predicted, state = jax.vmap(step, in_axes=(None, None, 0, 0))(params, context, state, token)
        is_blank = jnp.arange(vocabulary) == blank
        labels = jax.nn.log_softmax(jnp.where(is_blank, -jnp.inf, predicted.astype(logits.dtype)))
        weighted = jnp.where(is_blank | (weight == 0), 0.0, weight * labels)  # weight 0 turns the model off
        return weighted + bonus, state

    def search(
        log_probs: Array, length: Array, context: Context, state: State, bos: Array
    ) -> tuple[Array, Array, Array, Array, Array]:
        def next_frame(prefixes: _Prefixes, frame: tuple[Array, Array]) -> tuple[_Prefixes, Array]:
            t, log_probs = frame
            undefined = (t < length) & jnp.any(jnp.isnan(prefixes.predicted) & ~jnp.isneginf(_total(prefixes))[:, None])
            grown, extended, token = _grow(prefixes, log_probs, blank)
            predicted = predict(context, grown.state, token)
            predicted, state = _where(extended, predicted, (grown.predicted, grown.state))
            return _where(t < length, grown._replace(predicted=predicted, state=state), prefixes), undefined

        predicted, state = predict(context, state, bos)
        nothing = jnp.full(beam_size, -jnp.inf)
        prefixes = _Prefixes(
            tokens=jnp.full((beam_size, frames), pad, jnp.int32),
            lengths=jnp.zeros(beam_size, jnp.int32),
            ending_blank=nothing.at[0].set(0.0),
            ending_label=nothing,
            bonus=jnp.zeros(beam_size),
            predicted=predicted,
            state=state,
        )
        prefixes, undefined = lax.scan(next_frame, prefixes, (jnp.arange(frames), log_probs))
        log_prob = _total(prefixes)
        scores, best = lax.top_k(log_prob + prefixes.bonus, n_best)
        return prefixes.tokens[best], prefixes.lengths[best], log_prob[best], scores, jnp.any(undefined)

    tokens, found_lengths, log_probs, scores, undefined = jax.vmap(search)(log_probs, lengths, context, state, bos)
    undefined |= _undefined(logits, lengths)
    return settle(tokens, found_lengths, log_probs, scores, undefined[:, None], pad)


def _total(prefixes: _Prefixes) -> Float[Array, " K"]:
    """Computes the log-probability of each prefix."""
    return jnp.logaddexp(prefixes.ending_blank, prefixes.ending_label)


def _grow(
    prefixes: _Prefixes, log_probs: Float[Array, " V"], blank: IntLike
) -> tuple[_Prefixes, Bool[Array, " K"], Int32[Array, " K"]]:
    """Processes one frame: returns the best prefixes, which of them were extended, and their last labels.

    Does not call the language model: its states and predictions are still those of the parent prefixes.
    """
    size, vocabulary = len(prefixes.lengths), len(log_probs)
    slots = jnp.arange(size)
    total = _total(prefixes)
    last = jnp.where(prefixes.lengths > 0, prefixes.tokens[slots, prefixes.lengths - 1], blank)

    ending_blank = total + log_probs[blank]
    ending_label = prefixes.ending_label + log_probs[last]
    equal = jnp.arange(vocabulary, dtype=jnp.int32)[None] == last[:, None]
    extended = jnp.where(equal, prefixes.ending_blank[:, None], total[:, None]) + log_probs[None]
    extended = extended.at[:, blank].set(-jnp.inf)

    # If prefix j is prefix i plus one label, the paths of that extension of i are paths of j.
    beyond = ~within(prefixes.lengths, prefixes.tokens.shape[1])
    begins = (prefixes.tokens[:, None] == prefixes.tokens[None]) | beyond[:, None]
    longer = prefixes.lengths[None] == prefixes.lengths[:, None] + 1
    extends = jnp.all(begins, axis=-1) & longer
    ending_label = jnp.logaddexp(ending_label, jnp.max(extended[:, last], axis=0, where=extends, initial=-jnp.inf))
    known = jnp.zeros((size, vocabulary), bool).at[slots[:, None], last].max(extends)
    extended = jnp.where(known, -jnp.inf, extended)

    stay = jnp.logaddexp(ending_blank, ending_label) + prefixes.bonus
    extend = extended + prefixes.bonus[:, None] + prefixes.predicted
    _, place = lax.top_k(jnp.concatenate([stay, extend.ravel()]), size)
    is_longer = place >= size
    parent = jnp.where(is_longer, (place - size) // vocabulary, place)
    token = jnp.where(is_longer, (place - size) % vocabulary, last[parent])
    kept = jax.tree.map(lambda leaf: leaf[parent], prefixes)
    position = jnp.where(is_longer, kept.lengths, prefixes.tokens.shape[1])
    return (
        kept._replace(
            tokens=kept.tokens.at[slots, position].set(token, mode="drop"),
            lengths=kept.lengths + jnp.where(is_longer, 1, 0),
            ending_blank=jnp.where(is_longer, -jnp.inf, ending_blank[parent]),
            ending_label=jnp.where(is_longer, extended[parent, token], ending_label[parent]),
            bonus=kept.bonus + jnp.where(is_longer, kept.predicted[slots, token], 0.0),
        ),
        is_longer,
        token,
    )


def _where(condition: Bool[Array, "*K"], chosen: State, otherwise: State) -> State:
    """Selects from two pytrees along the leading axes of their leaves, as `jnp.where` does for arrays."""

    def choose(chosen: Array, otherwise: Array) -> Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (chosen.ndim - condition.ndim)), chosen, otherwise)

    return jax.tree.map(choose, chosen, otherwise)


def _undefined(logits: Float[Array, "B T V"], lengths: Integer[Array, " B"]) -> Bool[Array, " B"]:
    """Returns in which rows a logit within the length is NaN or plus infinity."""
    return jnp.any(within(lengths, logits.shape[1]) & ~(jnp.max(logits, axis=-1) < jnp.inf), axis=1)


def _check_found(decoded: Decoded) -> Decoded:
    """Raises ValueError for rows in which a logit was not a number; does nothing under `jit`."""
    if not is_traced(decoded) and decoded.scores.is_fully_addressable:
        rows = np.flatnonzero(np.isnan(np.asarray(decoded.scores)).any(axis=1)).tolist()
        if rows:
            raise ValueError(
                f"logits: expected numbers below infinity, got NaN or infinity in row(s) {rows} of the batch"
            )
    return decoded


def _check_frames(logits: Array, lengths: Array, blank: IntLike) -> int:
    if logits.ndim != 3 or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(f"logits: expected floats of shape [B, T, V], got {logits.dtype}{list(logits.shape)}")
    if lengths.shape != logits.shape[:1]:
        raise ValueError(f"lengths: expected shape {logits.shape[:1]}, got {lengths.shape}")
    if not 0 <= as_int("blank", blank) < logits.shape[2]:
        raise ValueError(f"blank: expected a symbol below {logits.shape[2]}, got {blank}")
    return int(blank)
