"""The largest of many values, exactly, in about one pass over them.

A pass of maxima over blocks of neighbours runs at the speed of memory; finding where a value is, or which few are the
largest, does not. So that is done among the maxima, and in the blocks they point to. Of equal values the first counts.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32

from seqjax.decoding.contract import take

_WIDTH = 32  # of a block: of 8 to 128 the fastest on CPU, or near it, for 1,000 to 50,000 values
_MANY = 1000  # values, from which on blocks beat `lax.top_k` in a loop on CPU: 2 to 3 times at 8,000


def argmax(values: Float[Array, "*B V"]) -> Int32[Array, "*B"]:
    """Finds the place of the largest value of the last axis, as `jnp.argmax` does.

    >>> argmax(jnp.array([3.0, 1.0, 5.0, 1.0, 5.0]))
    Array(2, dtype=int32)
    """
    *batch, size = values.shape
    if size < 2 * _WIDTH:
        return jnp.argmax(values, axis=-1).astype(jnp.int32)
    maxima = jnp.max(values[..., : size - size % _WIDTH].reshape(*batch, -1, _WIDTH), axis=-1)
    last = jnp.max(values[..., -_WIDTH:], axis=-1, keepdims=True)  # overlaps; what it shares was found before
    block = jnp.argmax(jnp.concatenate([maxima, last], axis=-1), axis=-1, keepdims=True)
    places = jnp.minimum(block * _WIDTH, size - _WIDTH) + jnp.arange(_WIDTH)
    best = jnp.argmax(take(values, places.astype(jnp.int32)), axis=-1, keepdims=True)
    return take(places, best.astype(jnp.int32))[..., 0].astype(jnp.int32)


def largest(values: Float[Array, "*B V"], k: int) -> tuple[Float[Array, "*B k"], Int32[Array, "*B k"]]:
    """Finds the k largest values of the last axis and their places, as `lax.top_k` does.

    They lie in the k blocks of the largest maxima; taken in order, these keep the order of equal values.

    >>> largest(jnp.array([3.0, 1.0, 4.0, 1.0, 5.0]), 2)
    (Array([5., 4.], dtype=float32), Array([4, 2], dtype=int32))
    """
    if k == 1:
        place = argmax(values)[..., None]
        return take(values, place), place
    *batch, size = values.shape
    blocks, rest = divmod(size, _WIDTH)
    if size < _MANY or blocks <= k:
        found, places = lax.top_k(values, k)
        return found, places
    maxima = jnp.max(values[..., : size - rest].reshape(*batch, blocks, _WIDTH), axis=-1)
    block = jnp.sort(lax.top_k(maxima, k)[1], axis=-1)
    places = (_WIDTH * block[..., None] + jnp.arange(_WIDTH)).reshape(*batch, k * _WIDTH)
    remainder = jnp.broadcast_to(jnp.arange(size - rest, size), (*batch, rest))
    places = jnp.concatenate([places, remainder], axis=-1).astype(jnp.int32)
    found, order = lax.top_k(take(values, places), k)
    return found, take(places, order)
