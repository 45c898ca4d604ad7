"""Attention: a sum over all source positions, weighted by how well each matches the decoder's state.

Like a cell, an attention mechanism is a set of pure functions:

    init(key, *, query_size, value_size) -> params
    remember(params, values, lengths) -> memory                        # once per example
    attend(params, memory, alignment, query) -> (context, weights)     # once per step

All steps and all hypotheses of an example share one `memory`; the searches of `seqjax.decoding` never copy it.
`alignment` records where the decoder has attended so far. Weights are zero in the padding, and in the whole row if it
has no valid position. Values in the padding, NaN included, affect neither results nor gradients.

Letters: `S` source positions with `D` features each, `H` features of the decoder's state (the query), `A` features of a
key; `*B` any batch axes, possibly none.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import glorot_uniform, normal
from jaxtyping import Array, Bool, Float, Int32, Integer, Key

from seqjax.arguments import IntLike, as_count, within
from seqjax.by_value import by_value

Params = Any


class Memory(NamedTuple):
    """A source, prepared for attention."""

    keys: Float[Array, "*B S A"]
    values: Float[Array, "*B S D"]  # zero in the padding
    mask: Bool[Array, "*B S"]  # true at valid positions


class Alignment(NamedTuple):
    """Where a decoder has attended before this step."""

    position: Int32[Array, "*B"]  # number of steps taken
    attended: Float[Array, "*B S"]  # sum of the weights of these steps: the coverage of See et al. (2017)


class Attention(NamedTuple):
    """The functions of an attention mechanism; see the top of this file for their arguments."""

    init: Callable[..., Params]
    remember: Callable[[Params, Array, Array | None], Memory]
    attend: Callable[[Params, Memory, Alignment, Array], tuple[Array, Array]]
    recurrent: bool = False  # whether a step depends on the weights of earlier steps


class GeneralParams(NamedTuple):
    """Parameters of `general`."""

    kernel: Float[Array, "D H"]


class AdditiveParams(NamedTuple):
    """Parameters of `additive`."""

    query_kernel: Float[Array, "H A"]
    key_kernel: Float[Array, "D A"]
    bias: Float[Array, " A"]
    score_kernel: Float[Array, " A"]
    coverage_kernel: Float[Array, " A"] | None = None


class LocalPredictiveParams(NamedTuple):
    """Parameters of `local_predictive`."""

    attention: Params
    kernel: Float[Array, "H P"]
    position_kernel: Float[Array, " P"]


def new_alignment(memory: Memory) -> Alignment:
    """Returns the alignment of a decoder that has not taken a step.

    >>> memory = dot().remember((), jnp.ones((2, 3, 4)), None)
    >>> jax.tree.map(jnp.shape, new_alignment(memory))
    Alignment(position=(2,), attended=(2, 3))
    """
    return Alignment(jnp.zeros(memory.mask.shape[:-1], jnp.int32), jnp.zeros(memory.mask.shape, memory.values.dtype))


def next_alignment(alignment: Alignment, weights: Float[Array, "*B S"]) -> Alignment:
    """Adds one step and its weights to the alignment.

    >>> next_alignment(Alignment(jnp.int32(0), jnp.zeros(2)), jnp.array([0.25, 0.75]))
    Alignment(position=Array(1, dtype=int32), attended=Array([0.25, 0.75], dtype=float32))
    """
    return Alignment(alignment.position + 1, alignment.attended + weights)


@by_value
def dot() -> Attention:
    """Scores a position by the inner product of its features and the query, which must have the same size.

    Luong et al. (2015), equation 8, `dot`: score(h, v_s) = h . v_s

    >>> attention = dot()
    >>> memory = attention.remember((), jnp.array([[1.0, 0.0], [0.0, 1.0], [jnp.nan, 9.0]]), jnp.int32(2))
    >>> context, weights = attention.attend((), memory, new_alignment(memory), jnp.log(jnp.array([3.0, 1.0])))
    >>> print(jnp.round(weights, 2), jnp.round(context, 2))
    [0.75 0.25 0.  ] [0.75 0.25]
    """

    def init(key: Key[Array, ""], *, query_size: IntLike, value_size: IntLike) -> tuple[()]:
        if query_size != value_size:
            raise ValueError(f"query_size: expected {value_size}, the size of the values, got {query_size}")
        return ()

    return _attention(init, lambda params, values: values, lambda params, keys, alignment, query: _inner(query, keys))


@by_value
def general() -> Attention:
    """Scores a position by the inner product of the query and a linear map of the position's features.

    Luong et al. (2015), equation 8, `general`: score(h, v_s) = h . (W v_s)

    >>> attention = general()
    >>> params = GeneralParams(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
    >>> memory = attention.remember(params, jnp.array([[1.0, 0.0], [0.0, 1.0]]), None)
    >>> _, weights = attention.attend(params, memory, new_alignment(memory), jnp.log(jnp.array([3.0, 1.0])))
    >>> print(jnp.round(weights, 2))
    [0.25 0.75]
    """

    def init(key: Key[Array, ""], *, query_size: IntLike, value_size: IntLike) -> GeneralParams:
        return GeneralParams(glorot_uniform()(key, (value_size, query_size), jnp.float32))

    return _attention(
        init,
        lambda params, values: values @ params.kernel,
        lambda params, keys, alignment, query: _inner(query, keys),
    )


@by_value
def additive(size: IntLike, *, coverage: bool = False) -> Attention:
    """Scores a position by a layer of `A` = `size` tanh units over the query and the position's features.

    Bahdanau et al. (2015), appendix A.1.2, with a bias. Luong et al. (2015), equation 8, `concat`, is the same:
    its one matrix, applied to the concatenated query and features, gives the sum of the two products here.

        score(h, v_s) = v . tanh(W h + U v_s + b)

    With `coverage`, the tanh has one more term, w c_s, where c_s is the sum of the weights of s so far (See et al.
    2017, equation 11).

    Raises:
      ValueError: if `size` is below 1.

    >>> attention = additive(size=1)
    >>> params = AdditiveParams(jnp.array([[1.0]]), jnp.array([[1.0]]), jnp.zeros(1), jnp.array([2.0]))
    >>> memory = attention.remember(params, jnp.array([[0.0], [1.0]]), None)
    >>> _, weights = attention.attend(params, memory, new_alignment(memory), jnp.array([0.0]))
    >>> print(*(f"{weight:.3f}" for weight in weights))
    0.179 0.821
    """
    size = as_count("size", size)

    def init(key: Key[Array, ""], *, query_size: IntLike, value_size: IntLike) -> AdditiveParams:
        query_key, key_key, score_key, coverage_key = jax.random.split(key, 4)
        return AdditiveParams(
            query_kernel=glorot_uniform()(query_key, (query_size, size), jnp.float32),
            key_kernel=glorot_uniform()(key_key, (value_size, size), jnp.float32),
            bias=jnp.zeros(size, jnp.float32),
            score_kernel=normal(size**-0.5)(score_key, (size,), jnp.float32),
            coverage_kernel=normal(size**-0.5)(coverage_key, (size,), jnp.float32) if coverage else None,
        )

    def scores(params: AdditiveParams, keys: Array, alignment: Alignment, query: Array) -> Array:
        features = (query @ params.query_kernel)[..., None, :] + keys
        if coverage:
            assert params.coverage_kernel is not None
            features += alignment.attended[..., None] * jnp.broadcast_to(params.coverage_kernel, features.shape)
        return jnp.tanh(features) @ params.score_kernel

    def keys_of(params: AdditiveParams, values: Array) -> Array:
        keys = values @ params.key_kernel
        return keys + jnp.broadcast_to(params.bias, keys.shape)

    attention = _attention(init, keys_of, scores)
    return attention._replace(recurrent=coverage)


@by_value
def local_monotonic(attention: Attention, half_width: IntLike) -> Attention:
    """Attends only to the positions from t - D to t + D at step t, where D is `half_width`.

    Luong et al. (2015), section 3.2, `local-m`, for sources and targets that are roughly aligned. Once the window lies
    beyond the end of the source, weights and context are zero.

    Raises:
      ValueError: if `half_width` is negative.

    >>> attention = local_monotonic(dot(), half_width=1)
    >>> memory = attention.remember((), jnp.ones((5, 2)), None)
    >>> print(attention.attend((), memory, Alignment(jnp.int32(4), jnp.zeros(5)), jnp.ones(2))[1])
    [0.  0.  0.  0.5 0.5]
    """
    half_width = as_count("half_width", half_width, at_least=0)

    def attend(params: Params, memory: Memory, alignment: Alignment, query: Array) -> tuple[Array, Array]:
        distance = _positions(memory) - alignment.position[..., None]
        window = jnp.abs(distance) <= half_width
        return attention.attend(params, memory._replace(mask=memory.mask & window), alignment, query)

    return attention._replace(attend=attend)


@by_value
def local_predictive(attention: Attention, half_width: IntLike, *, size: IntLike) -> Attention:
    """Attends only near a position that a layer of `size` tanh units predicts, with less weight further away.

    Luong et al. (2015), equations 9 and 10, `local-p`. For a source of S positions and D = `half_width`:

        p = S sigma(v . tanh(W h))        weights = softmax(scores) exp(-(s - p)^2 / (2 (D / 2)^2)), |s - p| <= D

    The weights add up to less than 1, as in the paper.

    Raises:
      ValueError: if `half_width` or `size` is below 1.

    >>> attention = local_predictive(dot(), half_width=2, size=1)
    >>> params = LocalPredictiveParams((), jnp.zeros((2, 1)), jnp.zeros(1))  # p = 5 / 2
    >>> memory = attention.remember(params, jnp.ones((5, 2)), None)
    >>> _, weights = attention.attend(params, memory, new_alignment(memory), jnp.ones(2))
    >>> print(*(f"{weight:.3f}" for weight in weights))
    0.000 0.081 0.221 0.221 0.081
    """
    half_width, size = as_count("half_width", half_width), as_count("size", size)

    def init(key: Key[Array, ""], *, query_size: IntLike, value_size: IntLike) -> LocalPredictiveParams:
        attention_key, kernel_key, position_key = jax.random.split(key, 3)
        return LocalPredictiveParams(
            attention.init(attention_key, query_size=query_size, value_size=value_size),
            glorot_uniform()(kernel_key, (query_size, size), jnp.float32),
            normal(size**-0.5)(position_key, (size,), jnp.float32),
        )

    def remember(params: LocalPredictiveParams, values: Array, lengths: Array | None) -> Memory:
        return attention.remember(params.attention, values, lengths)

    def attend(
        params: LocalPredictiveParams, memory: Memory, alignment: Alignment, query: Array
    ) -> tuple[Array, Array]:
        length = jnp.sum(memory.mask, axis=-1, dtype=query.dtype)
        predicted = length * jax.nn.sigmoid(jnp.tanh(query @ params.kernel) @ params.position_kernel)
        distance = _positions(memory).astype(predicted.dtype) - predicted[..., None]
        near = memory._replace(mask=memory.mask & (jnp.abs(distance) <= half_width))
        _, weights = attention.attend(params.attention, near, alignment, query)
        weights *= jnp.exp(-2 * (distance / half_width) ** 2)
        return _weighted_sum(weights, memory.values), weights

    return Attention(init, remember, attend, attention.recurrent)


def coverage_loss(weights: Float[Array, "*B T S"]) -> Float[Array, "*B T"]:
    """Computes how much each of `T` steps attends to positions that earlier steps attended to.

    See et al. (2017), equation 12: sum_s min(a_ts, c_ts) with c_t = a_1 + ... + a_(t-1)

    >>> coverage_loss(jnp.array([[1.0, 0.0], [0.75, 0.25], [0.0, 1.0]]))
    Array([0.  , 0.75, 0.25], dtype=float32)
    """
    before = jnp.cumsum(weights, axis=-2) - weights
    return jnp.sum(jnp.minimum(weights, before), axis=-1)


def masked_softmax(scores: Float[Array, "*B S"], mask: Bool[Array, "*B S"]) -> Float[Array, "*B S"]:
    """Computes the softmax of the scores where the mask is true; zero elsewhere, and in a row that is fully masked.

    >>> masked_softmax(
    ...     jnp.array([[1.0, 1.0, jnp.nan], [5.0, jnp.inf, 0.0]]), jnp.array([[True, True, False], [False] * 3])
    ... )
    Array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]], dtype=float32)
    """
    scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    exponentials = jnp.where(mask, jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True)), 0)
    total = jnp.sum(exponentials, axis=-1, keepdims=True)
    return exponentials / jnp.where(total == 0, 1, total)


def _attention(
    init: Callable[..., Params],
    keys_of: Callable[[Params, Array], Array],
    scores: Callable[[Params, Array, Alignment, Array], Array],
) -> Attention:
    """Builds an attention mechanism over all positions from functions that compute its keys and its scores."""

    def remember(params: Params, values: Float[Array, "*B S D"], lengths: Integer[Array, "*B"] | None = None) -> Memory:
        mask = jnp.ones(values.shape[:-1], bool)
        if lengths is not None:
            mask = within(lengths, values.shape[-2])
            values = jnp.where(mask[..., None], values, 0)
        return Memory(keys_of(params, values), values, mask)

    def attend(
        params: Params, memory: Memory, alignment: Alignment, query: Float[Array, "*B H"]
    ) -> tuple[Float[Array, "*B D"], Float[Array, "*B S"]]:
        weights = masked_softmax(scores(params, memory.keys, alignment, query), memory.mask)
        return _weighted_sum(weights, memory.values), weights

    return Attention(init, remember, attend)


def _positions(memory: Memory) -> Int32[Array, "*B S"]:
    """Returns the position of each entry of the source."""
    return jnp.broadcast_to(jnp.arange(memory.mask.shape[-1], dtype=jnp.int32), memory.mask.shape)


def _inner(query: Array, keys: Array) -> Array:
    return jnp.einsum("...a,...sa->...s", query, keys)


def _weighted_sum(weights: Array, values: Array) -> Array:
    return jnp.einsum("...s,...sd->...d", weights, values)
