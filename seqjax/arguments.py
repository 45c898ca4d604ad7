"""Checks of arguments by value, which every room may use: settings, counts, symbols, lengths, logits.

Shapes and types are known while JAX traces a function; values are not. One rule holds for a value that is wrong:

- Outside `jit` it raises an error that names the argument, the row and the value.
- Under `jit` no error is possible. The result is NaN in that row, or infinite where that is the mathematics, but never
  a plausible number.

A length is never wrong: below 0 it counts as 0, and above the size of the array as that size.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Integer

IntLike = int | np.integer


def is_traced(tree: Any) -> bool:
    """Returns whether the values of a pytree are unknown, because JAX is tracing a function of them.

    >>> is_traced(jnp.ones(2)), jax.eval_shape(lambda x: x * int(is_traced(x)), 1.0) is not None
    (False, True)
    """
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def as_int(name: str, value: Any, expected: str = "an int") -> int:
    """Returns an integer of Python or NumPy as an int.

    Raises:
      TypeError: if it is not an integer.

    >>> as_int("pad", 0.5)
    Traceback (most recent call last):
    TypeError: pad: expected an int, got 0.5
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    return int(value)


def as_count(name: str, value: Any, at_least: int = 1) -> int:
    """Returns a size or a number of steps as an int; `name` is the name of the argument.

    Raises:
      TypeError: if it is not an integer.
      ValueError: if it is below `at_least`.

    >>> as_count("hidden_size", np.int64(8))
    8
    >>> as_count("hidden_size", 0)
    Traceback (most recent call last):
    ValueError: hidden_size: expected at least 1, got 0
    """
    value = as_int(name, value)
    if value < at_least:
        raise ValueError(f"{name}: expected at least {at_least}, got {value}")
    return value


def check_setting(name: str, value: Any, holds: Callable[[Any], Any], expected: str) -> None:
    """Raises ValueError unless a number fulfils a condition; a traced number is not checked.

    >>> check_setting("rate", 1.5, lambda rate: 0 <= rate < 1, "a probability in [0, 1)")
    Traceback (most recent call last):
    ValueError: rate: expected a probability in [0, 1), got 1.5
    """
    if not is_traced(value) and not holds(value):
        raise ValueError(f"{name}: expected {expected}, got {value}")


def check_symbols(
    name: str, symbols: Integer[Array | np.ndarray, "*B"], size: int, counts: Bool[Array, "*B"] | None = None
) -> None:
    """Raises ValueError for a symbol that is not one of `size`; does nothing for traced symbols.

    Args:
      name: the name of the argument.
      symbols: numbers from 0 to `size - 1`.
      size: number of symbols.
      counts: true where a symbol counts, so that it must be one; everywhere if None.

    >>> check_symbols("targets", jnp.array([[0, 4], [7, 1]]), 5)
    Traceback (most recent call last):
    ValueError: targets: expected symbols from 0 to 4, got 7 in row 1, position 0
    """
    if is_traced((symbols, counts)) or not getattr(symbols, "is_fully_addressable", True):
        return
    numbers = np.asarray(symbols)
    wrong = (numbers < 0) | (numbers >= size)
    if counts is not None:
        wrong = wrong & np.asarray(counts)
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise ValueError(f"{name}: expected symbols from 0 to {size - 1}, got {numbers[place]}{_row(place)}")


def is_symbol(symbols: Integer[Array | np.ndarray, "*B"], size: int) -> Bool[Array, "*B"]:
    """Returns where symbols are from 0 to `size - 1`, for any type of integers.

    >>> is_symbol(jnp.array([-1, 0, 2], jnp.int8), 300)
    Array([False,  True,  True], dtype=bool)
    """
    numbers = at_least(symbols, jnp.int32)
    return (numbers >= 0) & (numbers < size)


def where_defined(defined: Bool[Array, "*#B"], values: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Returns the values where a condition holds, and NaN elsewhere.

    NaN is computed as 0 / 0, because a constant is not safe: XLA's code for `exp` on CPUs makes arbitrary numbers of
    `jnp.where(condition, values, jnp.nan)`.

    >>> where_defined(jnp.array([True, False]), jnp.array([2.0, 3.0]))
    Array([ 2., nan], dtype=float32)
    """
    one = defined.astype(values.dtype)
    return values * one / one


def clip_lengths(lengths: Integer[Array | np.ndarray, "*B"] | IntLike, most: Any) -> Int32[Array, "*B"]:
    """Limits lengths to the range from 0 to `most`.

    >>> clip_lengths(jnp.array([-1, 2, 9]), 4)
    Array([0, 2, 4], dtype=int32)
    """
    return jnp.clip(at_least(lengths, jnp.int32), 0, most).astype(jnp.int32)


def within(lengths: Integer[Array | np.ndarray, "*B"] | IntLike, steps: Any) -> Bool[Array, "*B T"]:
    """Returns which of `T` = `steps` steps are within the length of each row.

    >>> within(jnp.array([2, 0, 9]), 3)
    Array([[ True,  True, False],
           [False, False, False],
           [ True,  True,  True]], dtype=bool)
    """
    lengths = at_least(lengths, jnp.int32)[..., None]
    return jnp.arange(steps, dtype=lengths.dtype).reshape(*[1] * (lengths.ndim - 1), steps) < lengths


def at_least(numbers: Any, dtype: Any) -> Array:
    """Converts numbers to a wider type if theirs is narrower.

    >>> at_least(jnp.ones(2, jnp.bfloat16), jnp.float32).dtype, at_least(np.ones(2, np.uint8), jnp.int32).dtype
    (dtype('float32'), dtype('int32'))
    """
    numbers = jnp.asarray(numbers)
    with jax.numpy_dtype_promotion("standard"):  # deliberate, so the strict mode is not for it
        return numbers.astype(jnp.result_type(numbers.dtype, dtype))


def _row(place: tuple[int, ...]) -> str:
    """Describes a place in an array of rows: its row, and its position in that row."""
    if len(place) < 2:
        return "".join(f" in row {row}" for row in place)
    *row, position = place
    return f" in row {', '.join(map(str, row))}, position {position}"
