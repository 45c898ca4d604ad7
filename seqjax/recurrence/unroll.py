"""Runs a cell over time.

`unroll` handles everything that does not depend on the cell (layout, padding, resets, direction, rematerialisation) and
passes one rectangular batch to `seqjax.cells.sequence_of(cell)`.
"""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Integer

from seqjax.arguments import IntLike, within
from seqjax.cells.contract import (
    Cell,
    Params,
    State,
    arrays_of,
    check_array,
    check_cell,
    check_params,
    check_state,
    check_step,
)
from seqjax.cells.sequence import Sequence, sequence_of, split_like
from seqjax.recurrence.chunks import as_steps, chunked


def unroll(
    cell: Cell,
    params: Params,
    xs: Float[Array, "... I"],
    *,
    lengths: Integer[Array, "*B"] | IntLike | None = None,
    resets: Bool[Array, "..."] | None = None,
    initial_state: State | None = None,
    reverse: bool = False,
    time_major: bool = False,
    remat_every: IntLike | None = None,
) -> tuple[State, Float[Array, "... H"]]:
    """Runs a cell over the `T` steps of a batch of sequences.

    A step at or beyond a row's length changes neither the state nor the gradient, and its output is zero. No value in
    the padding reaches a result, not even NaN. A row of length 0 ends in its initial state.

    Args:
      cell: the cell.
      params: its parameters.
      xs: inputs [*B, T, I], with any number of batch axes `*B`, including none.
      lengths: number of steps of each row, [*B]; `T` for all rows if None. Values above `T` act as `T`, and values
        below 0 as 0.
      resets: [*B, T], true at the first step of each of several sequences packed into one row. The state restarts there
        from the cell's own initial state; in reverse, it restarts at the last step of each sequence.
      initial_state: state to start from, leaves [*B, ...]; the cell's own initial state if None.
      reverse: run from the last step of each row to its first. Each output stays at the position of its input.
      time_major: whether `xs`, `resets` and the outputs are [T, *B, ...].
      remat_every: for the gradient, store the state only every `remat_every` steps and recompute the steps in between.
        This takes the memory of `T / remat_every` states and `remat_every` steps instead of `T` steps (Chen et al.
        2016).

    Returns:
      The final state, leaves [*B, ...], and the outputs [*B, T, H].

    Raises:
      ValueError: if a shape or a size does not fit.
      TypeError: if `cell` is not a Cell, if a dtype does not fit, if the structure of `initial_state` differs from that
        of the cell's state, or if the step returns a state with a different structure from the one it took; from JAX,
        in forward mode (`jax.jvp`) for a cell with a `sequence`: use `cell._replace(sequence=None)`.

    >>> from seqjax.cells import SimpleRNNParams, simple_rnn
    >>> cell = simple_rnn(hidden_size=1, activation="relu")
    >>> params = SimpleRNNParams(jnp.array([[1.0]]), jnp.array([[2.0]]), jnp.array([0.0]))
    >>> final_state, ys = unroll(cell, params, jnp.ones((2, 3, 1)), lengths=jnp.array([3, 2]))
    >>> ys[:, :, 0]  # h' = x + 2 h
    Array([[1., 3., 7.],
           [1., 3., 0.]], dtype=float32)
    >>> final_state[:, 0]
    Array([7., 3.], dtype=float32)
    """
    sequence = sequence_of(cell)
    if remat_every is not None:
        sequence = chunked(partial(_rematerialised, sequence), as_steps("remat_every", remat_every))
    return run(sequence, cell, params, xs, lengths, resets, initial_state, reverse, time_major)


class Path(NamedTuple):
    """How `unroll` runs a sequence, and why."""

    way: Literal["sequence", "scan"]
    reason: str


def path_of(cell: Cell, *, remat_every: IntLike | None = None) -> Path:
    """Returns whether `unroll` uses `cell.sequence` or a scan over `cell.step`, and why; runs nothing.

    The sequence of a composite cell, such as a stack, may scan one of its parts. Call this function on each part.

    Args:
      cell, remat_every: as in `unroll`.

    >>> from seqjax.cells import lstm
    >>> path_of(lstm(hidden_size=8))
    Path(way='sequence', reason='cell.sequence is set')
    >>> path_of(lstm(hidden_size=8, peepholes=True))
    Path(way='scan', reason='cell.sequence is None')
    """
    check_cell(cell)
    path = Path("sequence", "cell.sequence is set")
    if cell.sequence is None:
        path = Path("scan", "cell.sequence is None")
    if remat_every is None:
        return path
    return Path(path.way, f"{path.reason}; remat_every: {remat_every} steps at a time, recomputed for the gradient")


def run(
    sequence: Sequence,
    cell: Cell,
    params: Params,
    xs: Array,
    lengths: Array | IntLike | None,
    resets: Array | None,
    initial_state: State | None,
    reverse: bool,
    time_major: bool,
) -> tuple[State, Array]:
    """Converts the arguments of `unroll` to those of `sequence`, and converts the results back."""
    if not isinstance(xs, jax.Array | np.ndarray):
        raise TypeError(f"xs: expected an array [*B, T, I], got {type(xs).__name__}")
    if xs.ndim < 2:
        raise ValueError(f"xs: expected [*B, T, I], two axes or more, got shape {xs.shape}")
    params = arrays_of(params)
    check_params(cell, params, xs)
    check_array("resets", resets, xs.shape[:-1], jnp.bool_)
    if time_major:
        xs = jnp.moveaxis(xs, 0, -2)
        resets = None if resets is None else jnp.moveaxis(resets, 0, -1)
    batch_shape, steps = xs.shape[:-2], xs.shape[-2]
    rows = math.prod(batch_shape)
    if isinstance(lengths, int | np.integer):  # of the one row
        lengths = jnp.asarray(lengths)
    check_array("lengths", lengths, batch_shape, jnp.integer)
    restart = cell.initial_state(params, batch_shape)
    state = restart if initial_state is None else initial_state
    check_state("initial_state", state, restart)

    def merge_rows(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.reshape(rows, *leaf.shape[len(batch_shape) :]), tree)

    xs, lengths, resets, state, restart = merge_rows((xs, lengths, resets, state, restart))
    params, xs, lengths, resets, state, restart = _varying((params, xs, lengths, resets, state, restart))
    state, restart = (jax.tree.map(partial(split_like, xs), tree) for tree in (state, restart))
    check_step(cell, params, state, jax.ShapeDtypeStruct((rows, xs.shape[-1]), xs.dtype))

    valid = None
    if lengths is not None:
        valid = within(lengths, steps)
        xs = jnp.where(valid[..., None], xs, 0)
        resets = None if resets is None else resets & valid
    if resets is not None and reverse:  # a sequence ends one step before the next one begins
        resets = jnp.concatenate([resets[:, 1:], jnp.zeros_like(resets[:, :1])], axis=1)
    final_state, ys = sequence(params, state, restart, xs, valid, resets, reverse=reverse)
    if valid is not None:
        ys = jnp.where(valid[..., None], ys, 0)

    final_state, ys = jax.tree.map(lambda leaf: leaf.reshape(*batch_shape, *leaf.shape[1:]), (final_state, ys))
    return final_state, jnp.moveaxis(ys, -2, 0) if time_major else ys


def _varying(tree: Any) -> Any:
    """Marks all leaves as varying over the axes of a mesh over which one of them varies, as loops in `shard_map` need.

    The gradient of a leaf that did not vary is thereby summed over the axis.
    """
    tree = jax.tree.map(jnp.asarray, tree)
    axes = frozenset().union(*(jax.typeof(leaf).manual_axis_type.varying for leaf in jax.tree.leaves(tree)))

    def vary(leaf: Array) -> Array:
        missing = tuple(axes - jax.typeof(leaf).manual_axis_type.varying)
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(vary, tree)


def _rematerialised(sequence: Sequence, *args: Any, reverse: bool) -> tuple[State, Array]:
    return jax.checkpoint(partial(sequence, reverse=reverse), prevent_cse=False)(*args)
