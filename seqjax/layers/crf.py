"""Linear-chain conditional random fields: models that choose the tags of a sequence jointly.

Lafferty, McCallum and Pereira (2001); over the outputs of a recurrent network, Lample et al. (2016). The score of
a tag sequence `y` of length `n` adds up a score for each tag at its step, for each pair of adjacent tags and for the
tags at both ends:

    s(x, y) = start[y_1] + sum_t x[t, y_t] + sum_(t > 1) transitions[y_(t-1), y_t] + end[y_n]
    p(y | x) = exp s(x, y) / sum_y' exp s(x, y')

In the shapes, `B` is the batch size, `T` the number of steps and `K` the number of tags. Values beyond the length of
a row have no effect, NaN and infinity included, and a row of length 0 scores 0. All scores within a length must be
finite.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Integer

from seqjax.arguments import check_symbols, clip_lengths, is_symbol, is_traced, where_defined, within


class CRFParams(NamedTuple):
    """Scores of adjacent tags, and of the tags at both ends."""

    start: Float[Array, " K"]
    transitions: Float[Array, "K K"]  # from the row's tag to the column's
    end: Float[Array, " K"]


class Viterbi(NamedTuple):
    """The best tags of each row, 0 in the padding, and their score."""

    tags: Integer[Array, "B T"]
    scores: Float[Array, " B"]


def sequence_score(
    params: CRFParams, scores: Float[Array, "B T K"], tags: Integer[Array, "B T"], lengths: Integer[Array, " B"]
) -> Float[Array, " B"]:
    """Computes the score s(x, y) of the given tags, which is their unnormalised log-probability.

    Args:
      params: parameters of the field.
      scores: `x`, the score of each tag at each step.
      tags: `y`, from 0 to `K - 1`, with any values in the padding; a row with another number is NaN under `jit`.
      lengths: number of tags in each row; above `T`, it counts as `T`.

    Raises:
      ValueError: if the shapes do not match or (outside `jit`) a tag is out of range.

    >>> params = CRFParams(jnp.array([0.0, 1.0]), jnp.array([[0.0, 3.0], [5.0, 0.0]]), jnp.array([0.0, 7.0]))
    >>> sequence_score(params, jnp.zeros((1, 3, 2)), jnp.array([[1, 0, 1]]), jnp.array([3]))
    Array([16.], dtype=float32)
    """
    _check(params, scores, lengths)
    if tags.shape != scores.shape[:2]:
        raise ValueError(f"tags: expected shape {scores.shape[:2]}, one tag per step, got {tags.shape}")
    steps, count = scores.shape[1:]
    lengths = clip_lengths(lengths, steps)
    valid = within(lengths, steps)
    check_symbols("tags", tags, count, valid)
    defined = jnp.all(is_symbol(tags, count) | ~valid, axis=1)
    tags = jnp.where(valid & is_symbol(tags, count), tags, 0)
    own = jnp.take_along_axis(jnp.where(valid[..., None], scores, 0), tags[..., None], axis=-1)[..., 0]
    between = jnp.where(valid[:, 1:], params.transitions[tags[:, :-1], tags[:, 1:]], 0)
    last = jnp.take_along_axis(tags, jnp.maximum(lengths - 1, 0)[:, None], axis=1)[:, 0]
    ends = jnp.where(lengths > 0, params.start[tags[:, 0]] + params.end[last], 0)
    return where_defined(defined, own.sum(axis=1) + between.sum(axis=1) + ends)


def log_normalizer(
    params: CRFParams, scores: Float[Array, "B T K"], lengths: Integer[Array, " B"]
) -> Float[Array, " B"]:
    """Computes the logarithm of the sum of exp s(x, y) over all tag sequences y, with the forward algorithm.

    With a_t[j] the same logarithm over all prefixes that end in tag j at step t (Rabiner 1989, equation 20),

        a_t[j] = x[t, j] + log sum_i exp(a_(t-1)[i] + transitions[i, j])

    The sum is a matrix product of exp(a - max a) and exp(transitions), with each column of transitions shifted by its
    maximum. With hundreds of tags this is much faster than logsumexp, which is used for the whole batch only if a sum
    is too small for a float. The gradient with respect to the scores is the probability of each tag at each step.

    Args and raises: see `sequence_score`.

    >>> params = CRFParams(jnp.zeros(2), jnp.zeros((2, 2)), jnp.zeros(2))
    >>> jnp.exp(log_normalizer(params, jnp.zeros((2, 3, 2)), jnp.array([3, 1]))).round(3)  # number of taggings
    Array([8., 2.], dtype=float32)
    """
    _check(params, scores, lengths)
    shift = lax.stop_gradient(params.transitions.max(axis=0))
    factors = jnp.exp(params.transitions - shift[None])
    floor = jnp.finfo(factors.dtype).tiny / jnp.finfo(factors.dtype).eps

    def product(alpha: Array) -> tuple[Array, Array]:
        largest = lax.stop_gradient(alpha.max(axis=-1, keepdims=True))
        total = jnp.exp(alpha - largest) @ factors
        return largest + shift[None] + jnp.log(jnp.maximum(total, floor)), total.min() > floor

    def sum_of_logs(alpha: Array) -> tuple[Array, Array]:
        return jax.nn.logsumexp(alpha[:, :, None] + params.transitions[None], axis=1), jnp.array(True)

    fast, exact = _forward(product, params, scores, lengths)
    slow = jax.checkpoint(lambda: _forward(sum_of_logs, params, scores, lengths)[0])
    return lax.cond(exact, lambda: fast, slow)


def _forward(
    advance: Callable[[Array], tuple[Array, Array]], params: CRFParams, scores: Array, lengths: Array
) -> tuple[Array, Array]:
    """Runs the forward algorithm; `advance` sums over the previous tag, and returns whether this was exact."""

    def step(alpha: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        x, valid = now
        after, exact = advance(alpha)
        return jnp.where(valid[:, None], x + after, alpha), exact

    first, rest = _time_major(scores, lengths)
    alpha, exact = _scan(step, params.start[None] + first, rest)
    return jnp.where(lengths > 0, jax.nn.logsumexp(alpha + params.end[None], axis=-1), 0), exact.all()


def log_likelihood(
    params: CRFParams, scores: Float[Array, "B T K"], tags: Integer[Array, "B T"], lengths: Integer[Array, " B"]
) -> Float[Array, " B"]:
    """Computes log p(y | x) of the given tags.

    Args and raises: see `sequence_score`.

    >>> params = CRFParams(jnp.zeros(2), jnp.zeros((2, 2)), jnp.zeros(2))
    >>> scores = jnp.log(jnp.array([[[0.9, 0.1], [0.2, 0.8]]]))
    >>> jnp.exp(log_likelihood(params, scores, jnp.array([[0, 1]]), jnp.array([2]))).round(3)
    Array([0.72], dtype=float32)
    """
    return sequence_score(params, scores, tags, lengths) - log_normalizer(params, scores, lengths)


def viterbi(params: CRFParams, scores: Float[Array, "B T K"], lengths: Integer[Array, " B"]) -> Viterbi:
    """Finds the tags with the highest score, NaN if a score within the length is NaN or plus infinity.

    Viterbi (1967); Rabiner (1989), equations 32 to 35:

        a_t[j] = x[t, j] + max_i (a_(t-1)[i] + transitions[i, j])

    The backward pass recomputes each best tag from a_t and the tag after it, which is faster than storing back-pointers
    for every tag. Ties go to the first tag.

    Raises:
      ValueError: as in `sequence_score`; also (outside `jit`) if a score within the length is NaN or plus infinity.

    >>> params = CRFParams(jnp.zeros(2), jnp.array([[0.0, -9.0], [0.0, 0.0]]), jnp.zeros(2))
    >>> scores = jnp.array([[[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]]])
    >>> viterbi(params, scores, jnp.array([3]))  # 1 cannot follow 0
    Viterbi(tags=Array([[1, 1, 0]], dtype=int32), scores=Array([4.], dtype=float32))
    """
    _check(params, scores, lengths)
    first, rest = _time_major(scores, lengths)

    def forward(alpha: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        x, valid = now
        after = x + jnp.max(alpha[:, :, None] + params.transitions[None], axis=1)
        return jnp.where(valid[:, None], after, alpha), alpha

    def back(tag: Array, before: tuple[Array, Array]) -> tuple[Array, Array]:
        alpha, valid = before
        tag = jnp.where(valid, jnp.argmax(alpha + params.transitions.T[tag], axis=-1), tag)
        return tag, tag

    alpha, alphas = _scan(forward, params.start[None] + first, rest)
    alpha += params.end[None]
    last = jnp.argmax(alpha, axis=-1)
    _, tags = _scan(back, last, (alphas, rest[1]), reverse=True)
    tags = jnp.concatenate([tags, last[None]]).T
    valid = within(lengths, scores.shape[1])
    defined = jnp.all((jnp.max(scores, axis=-1) < jnp.inf) | ~valid, axis=1)
    best = where_defined(defined, jnp.where(lengths > 0, alpha.max(axis=-1), 0))
    if not is_traced(best) and best.is_fully_addressable and np.isnan(best).any():
        rows = np.flatnonzero(np.isnan(best)).tolist()
        raise ValueError(f"scores: expected numbers below infinity, got NaN or infinity in row(s) {rows}")
    return Viterbi(jnp.where(valid & defined[:, None], tags, 0), best)


def _scan(step: Callable, start: Any, inputs: Any, reverse: bool = False) -> Any:
    """Scans any number of steps; JAX cannot scan none while `jit` is disabled, as for a batch of one step."""
    if jax.tree.leaves(inputs)[0].shape[0]:
        return lax.scan(step, start, inputs, reverse=reverse)
    with jax.disable_jit(False):
        return lax.scan(step, start, inputs, reverse=reverse)


def _time_major(scores: Array, lengths: Array) -> tuple[Array, tuple[Array, Array]]:
    """Returns the scores of the first step, and the scores and the mask of the steps after it."""
    valid = within(lengths, scores.shape[1]).T
    scores = jnp.where(valid[..., None], jnp.moveaxis(scores, 1, 0), 0)
    return scores[0], (scores[1:], valid[1:])


def _check(params: CRFParams, scores: Array, lengths: Array) -> None:
    if scores.ndim != 3 or 0 in scores.shape[1:]:
        raise ValueError(f"scores: expected shape [B, T, K] with T and K at least 1, got {scores.shape}")
    batch, _, tags = scores.shape
    if lengths.shape != (batch,):
        raise ValueError(f"lengths: expected shape {(batch,)}, one for each row of scores, got {lengths.shape}")
    for name, expected in (("start", (tags,)), ("transitions", (tags, tags)), ("end", (tags,))):
        if getattr(params, name).shape != expected:
            raise ValueError(f"{name}: expected shape {expected}, got {getattr(params, name).shape}")
