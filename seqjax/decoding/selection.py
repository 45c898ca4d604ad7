"""Exact maximum and top k of many values, in about one pass over them.

Taking the maximum of each block of neighbours runs at memory speed; locating a value or selecting the k largest does
not. Those two steps therefore see only the block maxima and the values of the selected blocks. Ties go to the first
value.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32

from seqjax.decoding.contract import take

_WIDTH = 32  # values in a block, chosen for speed on CPU
_MANY = 1000  # values in a row; below this, `lax.top_k` over all values is faster on CPU than blocks


def maximum(values: Float[Array, "*B V"]) -> tuple[Float[Array, "*B"], Int32[Array, "*B"]]:
    """Finds the largest value along the last axis and its place, the same as that of `jnp.argmax`.

    >>> maximum(jnp.array([3.0, 1.0, 5.0, 1.0, 5.0]))
    (Array(5., dtype=float32), Array(2, dtype=int32))
    """
    size = values.shape[-1]
    if size < 2 * _WIDTH:
        return _first_maximum(values)
    largest, block = _first_maximum(_maxima(values))
    places = _places(block)
    inside = jnp.where(places < size, take(values, jnp.minimum(places, size - 1)), -jnp.inf)
    return largest, block * _WIDTH + _first_maximum(inside)[1]


def largest_sums(
    sums: Float[Array, "*B K"], values: Float[Array, "*B K V"], k: int, without: int | None = None
) -> tuple[Float[Array, "*B k"], Int32[Array, "*B k"]]:
    """Finds the k largest of all `sums[..., None] + values`, as `lax.top_k` does, without computing all of them.

    They lie in the k blocks with the largest maxima. Sorting these blocks by place preserves the order of equal sums. A
    sum of minus infinity does not count as found, and its place is arbitrary.

    Args:
      sums: the number to add to each row of values.
      values: `K` rows of `V` values.
      k: how many sums to find, at most `K V`.
      without: a place to ignore in each row.

    Returns:
      The sums in descending order, and their places among the `K V` values of an example.

    >>> largest_sums(jnp.array([0.0, 1.0]), jnp.array([[3.0, 5.0, 2.0], [3.0, 9.0, 4.0]]), 2, without=1)
    (Array([5., 4.], dtype=float32), Array([5, 3], dtype=int32))
    """
    *batch, rows, size = values.shape
    blocks = -(-size // _WIDTH)
    if size < _MANY or rows * blocks < k:
        counted = values if without is None else values.at[..., without].set(-jnp.inf)
        found, places = lax.top_k((sums[..., None] + counted).reshape(*batch, rows * size), k)
        return found, places
    maxima = _maxima(values)
    if without is not None:
        its_block, place = divmod(without, _WIDTH)
        others = values[..., its_block * _WIDTH : (its_block + 1) * _WIDTH].at[..., place].set(-jnp.inf)
        maxima = maxima.at[..., its_block].set(jnp.max(others, axis=-1))
    block = lax.top_k((sums[..., None] + maxima).reshape(*batch, rows * blocks), k)[1]
    row, block = jnp.divmod(jnp.sort(block, axis=-1), blocks)
    column = _places(block)
    counts = (column < size) & (column != (size if without is None else without))
    places = (row[..., None] * size + jnp.minimum(column, size - 1)).reshape(*batch, k * _WIDTH)
    candidates = take(values.reshape(*batch, rows * size), places).reshape(column.shape) + take(sums, row)[..., None]
    found, order = lax.top_k(jnp.where(counts, candidates, -jnp.inf).reshape(places.shape), k)
    return found, take(places, order)


def _places(block: Int32[Array, "*B"]) -> Int32[Array, "*B W"]:
    """Returns the places of the values of each block."""
    inside = jnp.arange(_WIDTH, dtype=jnp.int32)
    return block[..., None] * _WIDTH + jnp.broadcast_to(inside, (*block.shape, _WIDTH))


def _maxima(values: Float[Array, "*B V"]) -> Float[Array, "*B N"]:
    """Computes the maximum of each block; the last block may be short."""
    *batch, size = values.shape
    rest = size % _WIDTH
    maxima = jnp.max(values[..., : size - rest].reshape(*batch, -1, _WIDTH), axis=-1)
    if rest:
        maxima = jnp.concatenate([maxima, jnp.max(values[..., -rest:], axis=-1, keepdims=True)], axis=-1)
    return lax.optimization_barrier(maxima)  # otherwise XLA may recompute them for each use


def _first_maximum(values: Float[Array, "*B V"]) -> tuple[Float[Array, "*B"], Int32[Array, "*B"]]:
    """Computes `maximum` in plain passes, faster on CPU than one reduction over pairs of value and place."""
    largest = jnp.max(values, axis=-1)
    places = jnp.arange(values.shape[-1], dtype=jnp.int32)
    is_largest = (values == largest[..., None]) | jnp.isnan(values)
    return largest, jnp.min(jnp.where(is_largest, places, places[-1]), axis=-1)
