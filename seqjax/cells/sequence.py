"""Whole sequences: the contract of `Cell.sequence`, and the scan over `Cell.step` for cells without it.

    sequence(params, state, restart, xs, valid, resets, *, reverse) -> (final_state, ys)

with one batch axis `B` and `T` steps:

- `xs` [B, T, I] is finite, even in the padding.
- `valid` [B, T] is true where a step counts; None means that all steps count. A step that does not count leaves the
  state unchanged, and its output is ignored.
- `resets` [B, T] is true where the state becomes `restart` before the step; None means no resets.
- `reverse` runs from the last step to the first.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from seqjax.cells.contract import Cell, Params, State, check_cell

Sequence = Callable[..., tuple[State, Array]]


def sequence_of(cell: Cell) -> Sequence:
    """Returns `cell.sequence`, or a scan over `cell.step` if it is None.

    For wrappers that change the parameters or the state of a cell once before the first step, not at every step.
    """
    check_cell(cell)
    return partial(scan_of_step, cell.step) if cell.sequence is None else cell.sequence


def of_one_type(sequence: Sequence, step: Callable[[Params, State, Array], tuple[State, Array]]) -> Sequence:
    """Returns a sequence function for parameters and a state of one dtype, and the scan over `step` for others."""

    def run(params: Params, state: State, *args: Any, reverse: bool) -> tuple[State, Array]:
        types = {leaf.dtype for leaf in jax.tree.leaves((params, state))}
        chosen = sequence if len(types) == 1 else partial(scan_of_step, step)
        return chosen(params, state, *args, reverse=reverse)

    return run


def scan_of_step(
    step: Callable[[Params, State, Array], tuple[State, Array]],
    params: Params,
    state: State,
    restart: State,
    xs: Array,
    valid: Array | None,
    resets: Array | None,
    *,
    reverse: bool,
) -> tuple[State, Array]:
    """Runs a sequence one step at a time; the reference for every implementation of `Cell.sequence`."""

    def masked_step(state: State, inputs: tuple[Array, Array | None, Array | None]) -> tuple[State, Array]:
        x, valid, reset = inputs
        if reset is not None:
            state = _select(reset, restart, state)
        next_state, y = step(params, state, x)
        if valid is not None:
            next_state = _select(valid, next_state, state)
        return next_state, y

    if xs.shape[1] == 0:  # a scan of no steps needs to be compiled
        _, y = jax.eval_shape(step, params, state, jax.ShapeDtypeStruct((xs.shape[0], *xs.shape[2:]), xs.dtype))
        return state, jnp.zeros((y.shape[0], 0, *y.shape[1:]), y.dtype)
    inputs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), (xs, valid, resets))
    final_state, ys = lax.scan(masked_step, state, inputs, reverse=reverse)
    return final_state, jnp.moveaxis(ys, 0, 1)


def split_like(rows: Array, leaf: Array) -> Array:
    """Splits the first axis of an array over devices like that of `rows`, if the axes of the mesh are explicit."""
    axis = jax.typeof(rows).sharding.spec[0]
    return leaf if axis is None else jax.sharding.reshard(leaf, jax.sharding.PartitionSpec(axis))


def _select(condition: Bool[Array, " B"], new: State, old: State) -> State:
    """Selects `new` in the rows where the condition holds and `old` in the others, in leaves of any rank."""
    return jax.tree.map(
        lambda n, o: jnp.where(condition.reshape(condition.shape + (1,) * (n.ndim - 1)), n, o), new, old
    )
