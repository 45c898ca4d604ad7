"""The contract of a recurrent cell, and checks for the code that builds or runs one.

A cell maps a state and an input to the next state and an output. The code that runs a cell over time (`unroll`, the
decoders, the Flax modules) relies only on the contract `Cell`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from seqjax.arguments import as_count

Params = Any  # a pytree of arrays
State = Any  # a pytree of arrays, each with the batch axes first
Shape = tuple[Any, ...]  # of ints, or of symbolic sizes under jax.export


class Cell(NamedTuple):
    """A recurrent cell: pure functions of its parameters and its state.

    By convention, the parameters are a NamedTuple in which the weights that multiply the hidden state are called
    `recurrent_kernel`, and the state is either the hidden state `h` or a NamedTuple with a field `h`. The wrappers in
    `seqjax.cells.regularization` require nothing else of a cell.

    Attributes:
      init: builds the parameters, `(key, *, input_size) -> params`.
      initial_state: builds the state before the first step, `(params, batch_shape=()) -> state`, with leaves
        [*batch_shape, ...].
      step: computes one step for any number of rows, `(params, state, x [*B, I]) -> (state, y [*B, H])`.
      sequence: optional, runs a whole sequence faster than a scan over `step`; see `seqjax.cells.sequence`.

    A leaky integrator, h' = h + (W x - h) / 2:

    >>> import seqjax
    >>> def leaky(hidden_size):
    ...     def init(key, *, input_size):
    ...         return jax.random.normal(key, (input_size, hidden_size))
    ...
    ...     def initial_state(params, batch_shape=()):
    ...         return jnp.zeros((*batch_shape, hidden_size))
    ...
    ...     def step(params, h, x):
    ...         h = h + (x @ params - h) / 2
    ...         return h, h
    ...
    ...     return Cell(init, initial_state, step)
    >>> _, ys = seqjax.unroll(leaky(1), jnp.ones((1, 1)), jnp.ones((3, 1)))
    >>> ys[:, 0]
    Array([0.5  , 0.75 , 0.875], dtype=float32)
    """

    init: Callable[..., Params]
    initial_state: Callable[..., State]
    step: Callable[[Params, State, Array], tuple[State, Array]]
    sequence: Callable[..., tuple[State, Array]] | None = None


def arrays_of(params: Params) -> Params:
    """Replaces each parameter, which may be a NumPy array or wrap an array as `nnx.Param` does, by an array of JAX."""

    def is_parameter(node: Any) -> bool:
        return hasattr(node, "shape") and hasattr(node, "dtype")

    return jax.tree.map(lambda node: jnp.asarray(jax.tree.leaves(node)[0]), params, is_leaf=is_parameter)


def float_type(params: Params) -> Any:
    """Returns the dtype in which a cell computes: the widest of its parameters.

    Raises:
      TypeError: if `params` has no field `recurrent_kernel`, for example if it is a plain tuple.
    """
    if not hasattr(params, "recurrent_kernel"):
        raise TypeError(f"params: expected the parameters that cell.init returns, got {jax.tree.structure(params)}")
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*_types(params))


def check_features(params: Params, x: Array) -> None:
    """Checks that an input has as many features as `params.input_kernel` has rows.

    Raises:
      TypeError: if `params` is not what `cell.init` returns, for example if it is a plain tuple.
      ValueError: if the two numbers differ.
    """
    float_type(params)
    expected = params.input_kernel.shape[0]
    if x.ndim == 0 or x.shape[-1] != expected:
        raise ValueError(f"x: expected {expected} features on the last axis to match input_kernel, got shape {x.shape}")


def check_cell(cell: Any) -> None:
    """Raises TypeError unless `cell` is a Cell."""
    if not isinstance(cell, Cell):
        raise TypeError(f"cell: expected a seqjax.Cell, such as seqjax.lstm(hidden_size=8), got {cell!r}")


def check_params(cell: Cell, params: Params, xs: Array) -> None:
    """Raises ValueError unless the parameters match those that the cell builds for the features of `xs`."""

    def shapes(input_size: int) -> Params:
        made = jax.eval_shape(partial(cell.init, input_size=input_size), jax.random.key(0))
        return jax.tree.map(jnp.shape, made)

    features = as_count("input_size", xs.shape[-1])
    got, expected = jax.tree.map(jnp.shape, params), shapes(features)
    if jax.tree.structure(got) == jax.tree.structure(expected) and got == expected:  # type: ignore[operator]
        return
    if hasattr(params, "input_kernel") and got == shapes(read := params.input_kernel.shape[0]):
        raise ValueError(f"xs: expected {read} features on the last axis to match input_kernel, got shape {xs.shape}")
    raise ValueError(f"params: expected {expected}, the shapes from cell.init for {features} features, got {got}")


def check_array(name: str, array: Array | None, shape: Shape, kind: Any) -> None:
    """Raises ValueError or TypeError unless `array` is None or has the given shape and kind of dtype."""
    if array is None:
        return
    if not isinstance(array, jax.Array | np.ndarray):
        raise TypeError(f"{name}: expected an array, got {array!r}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape} to match xs, got {array.shape}")
    if not jnp.issubdtype(array.dtype, kind):
        raise TypeError(f"{name}: expected dtype {kind.__name__}, got {array.dtype}")


def check_state(name: str, state: State, expected: State) -> None:
    """Raises TypeError or ValueError unless `state` has the structure, shapes and dtypes of `expected`."""
    if jax.tree.structure(state) != jax.tree.structure(expected):  # type: ignore[operator]  # jaxlib ships no types
        raise TypeError(f"{name}: expected {jax.tree.structure(expected)}, got {jax.tree.structure(state)}")
    for leaf, like in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        leaf, like = jax.typeof(leaf), jax.typeof(like)
        if (leaf.shape, leaf.dtype) != (like.shape, like.dtype):
            raise ValueError(f"{name}: expected {like}, got {leaf}")


def check_step(cell: Cell, params: Params, state: State, x: jax.ShapeDtypeStruct) -> None:
    """Raises TypeError or ValueError unless `cell.step` returns a state like the one it took and an output per row."""
    with jax.numpy_dtype_promotion("standard"):
        stepped = jax.eval_shape(cell.step, params, state, x)
    if not isinstance(stepped, tuple) or len(stepped) != 2:
        raise TypeError(f"cell.step: expected to return a state and an output, got {jax.tree.structure(stepped)}")
    next_state, y = stepped
    types = {leaf.dtype for leaf in jax.tree.leaves(params)}
    if x.dtype not in types and jnp.issubdtype(x.dtype, jnp.floating) and _types(next_state) != _types(state):
        own = ", ".join(sorted(str(each) for each in types))
        raise TypeError(
            f"xs: expected the type of params, {own}, got {x.dtype}; cast one of the two: xs.astype({own!r}) "
            f"or jax.tree.map(lambda leaf: leaf.astype({str(x.dtype)!r}), params)"
        )
    check_state("state returned by cell.step", next_state, state)
    if not isinstance(y, jax.ShapeDtypeStruct) or y.shape[:1] != x.shape[:1]:
        raise ValueError(f"output returned by cell.step: expected an array with {x.shape[0]} rows, got {y}")


def _types(tree: Any) -> list[Any]:
    return [leaf.dtype for leaf in jax.tree.leaves(tree)]
