"""Cells over time: unrolling, both directions, and truncated back-propagation through time.

`unroll` settles what does not depend on the cell (layout, padding, resets, direction, rematerialisation) and hands one
rectangular batch to the cell's own `sequence`, or to a scan of its step where it has none. Either has the form

    sequence(params, state, restart, xs, valid, resets, *, reverse) -> (final_state, ys)

with one batch axis: `xs` [B, T, I], finite in the padding; `valid` [B, T], true where a step counts, or None where all
do; `resets` [B, T], true where the state becomes `restart` before the step, or None. A step that does not count leaves
the state as it was; what it puts out is not looked at.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Integer

from seqjax.contract import (
    Cell,
    Params,
    State,
    check_array,
    check_cell,
    check_params,
    check_state,
    check_step,
)

Sequence = Callable[..., tuple[State, Array]]


def unroll(
    cell: Cell,
    params: Params,
    xs: Float[Array, "... I"],
    *,
    lengths: Integer[Array, "*B"] | None = None,
    resets: Bool[Array, "..."] | None = None,
    initial_state: State | None = None,
    reverse: bool = False,
    time_major: bool = False,
    remat_every: int | None = None,
) -> tuple[State, Float[Array, "... H"]]:
    """Runs a cell over the `T` steps of a batch of sequences.

    A step at or beyond a row's length changes neither state nor gradient, its output is zero, and nothing that stands
    there, NaN included, reaches a result. A row of length 0 ends in its initial state.

    Args:
      cell: the cell.
      params: its parameters.
      xs: inputs [*B, T, I], with any number of batch axes `*B`, none included.
      lengths: number of steps of each row, [*B], above `T` the same as `T`, below 0 as 0; `T` for all if None.
      resets: [*B, T], true at the first step of each of several sequences packed into one row. The state starts anew
        there, from the cell's own initial state; in reverse it does so at the last step of each.
      initial_state: state to start from, leaves [*B, ...]; the cell's own if None.
      reverse: from the last step of each row to its first. Outputs stand where their inputs do.
      time_major: `xs`, `resets` and the outputs are [T, *B, ...].
      remat_every: for the gradient, keep the state only every so many steps and compute the steps between a second
        time: the memory of `T / remat_every` states and `remat_every` steps instead of `T` steps (Chen et al. 2016).

    Returns:
      The final state, leaves [*B, ...], and the outputs [*B, T, H].

    Raises:
      ValueError: if a shape or a size does not fit.
      TypeError: if `cell` is no cell, if a dtype does not fit, if the state has another structure than the cell's, or
        if the cell's step returns another than it took.

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
        sequence = _in_chunks("remat_every", remat_every, partial(_rematerialised, sequence))
    return _run(sequence, cell, params, xs, lengths, resets, initial_state, reverse, time_major)


def truncated_unroll(
    cell: Cell,
    params: Params,
    xs: Float[Array, "... I"],
    *,
    truncate_every: int,
    lengths: Integer[Array, "*B"] | None = None,
    resets: Bool[Array, "..."] | None = None,
    initial_state: State | None = None,
    time_major: bool = False,
) -> tuple[State, Float[Array, "... H"]]:
    """Runs a cell as `unroll` does, with gradients that stop at the border of every chunk of `truncate_every` steps.

    Truncated back-propagation through time (Williams and Peng 1990): values are those of `unroll`, but the state that
    one chunk hands to the next counts as a constant. A stream too long for one array is trained the same way from batch
    to batch, the final state of one being the `initial_state` of the next.

    Args:
      cell, params, xs, lengths, resets, initial_state, time_major: as in `unroll`.
      truncate_every: steps in a chunk.

    Returns:
      The final state and the outputs, as `unroll`.

    Raises:
      ValueError, TypeError: as `unroll`, or if `truncate_every` is below 1.

    >>> from seqjax.cells import SimpleRNNParams, simple_rnn
    >>> cell = simple_rnn(hidden_size=1, activation="relu")
    >>> params = SimpleRNNParams(jnp.array([[1.0]]), jnp.array([[1.0]]), jnp.array([0.0]))
    >>> last_output = lambda xs: truncated_unroll(cell, params, xs, truncate_every=2)[1][-1, 0]
    >>> jax.grad(last_output)(jnp.ones((5, 1)))[:, 0]
    Array([0., 0., 0., 0., 1.], dtype=float32)
    """
    sequence = _in_chunks("truncate_every", truncate_every, sequence_of(cell), hand_over=lax.stop_gradient)
    return _run(sequence, cell, params, xs, lengths, resets, initial_state, False, time_major)


def bidirectional(
    cells: tuple[Cell, Cell],
    params: tuple[Params, Params],
    xs: Float[Array, "... I"],
    *,
    lengths: Integer[Array, "*B"] | None = None,
    resets: Bool[Array, "..."] | None = None,
    initial_state: tuple[State, State] | None = None,
    merge: Literal["concat", "sum", "mean"] = "concat",
    time_major: bool = False,
    remat_every: int | None = None,
) -> tuple[tuple[State, State], Float[Array, "... M"]]:
    """Runs one cell from the first step to the last, another from the last to the first, and merges their outputs.

    Schuster and Paliwal (1997). Each row is reversed within its own length.

    Args:
      cells: the forward and the backward cell.
      params: the parameters of each.
      xs, lengths, resets, time_major, remat_every: as in `unroll`.
      initial_state: the state each starts from; the cells' own if None.
      merge: "concat" joins the two outputs on the last axis, `M = 2 H`; "sum" and "mean" keep `M = H`.

    Returns:
      The final states, forward and backward, and the merged outputs [*B, T, M].

    Raises:
      ValueError, TypeError: as `unroll`, or if `merge` is unknown, if an argument is not a pair, or if the two outputs
        have not one size to be added.

    >>> from seqjax.cells import SimpleRNNParams, simple_rnn
    >>> cell = simple_rnn(hidden_size=1, activation="relu")
    >>> params = SimpleRNNParams(jnp.array([[1.0]]), jnp.array([[1.0]]), jnp.array([0.0]))
    >>> _, ys = bidirectional((cell, cell), (params, params), jnp.ones((3, 1)))
    >>> ys
    Array([[1., 3.],
           [2., 2.],
           [3., 1.]], dtype=float32)
    """
    if merge not in ("concat", "sum", "mean"):
        raise ValueError(f"merge: expected 'concat', 'sum' or 'mean', got {merge!r}")
    for name, pair in (("cells", cells), ("params", params), ("initial_state", initial_state)):
        if pair is not None and not (type(pair) in (tuple, list) and len(pair) == 2):  # and no NamedTuple
            raise TypeError(f"{name}: expected a pair, one for each direction, got {jax.tree.structure(pair)}")
    run = partial(unroll, xs=xs, lengths=lengths, resets=resets, time_major=time_major, remat_every=remat_every)
    forward_start, backward_start = (None, None) if initial_state is None else initial_state
    forward_state, forward = run(cells[0], params[0], initial_state=forward_start)
    backward_state, backward = run(cells[1], params[1], initial_state=backward_start, reverse=True)
    states = (forward_state, backward_state)
    if merge == "concat":
        return states, jnp.concatenate([forward, backward], axis=-1)
    if forward.shape != backward.shape:
        raise ValueError(f"merge: expected outputs of one size to {merge}, got {forward.shape} and {backward.shape}")
    total = forward + backward
    return states, total if merge == "sum" else total / 2


def sequence_of(cell: Cell) -> Sequence:
    """Gives a cell's own way through a whole sequence, or the scan of its step where it has none.

    For wrappers that change a cell's parameters or state once before the first step, and not at each.
    """
    check_cell(cell)
    return partial(_scan, cell.step) if cell.sequence is None else cell.sequence


class Path(NamedTuple):
    """The way that `unroll` takes through a sequence."""

    way: Literal["sequence", "scan"]
    reason: str


def path_of(cell: Cell, *, remat_every: int | None = None) -> Path:
    """Tells which way `unroll` takes through a sequence, and why; computes nothing.

    A cell made of others, such as a stack, can have a sequence that scans one of them; ask for the path of each.

    Args:
      cell, remat_every: as in `unroll`.

    >>> from seqjax.cells import lstm
    >>> path_of(lstm(hidden_size=8))
    Path(way='sequence', reason='the cell has a sequence of its own')
    >>> path_of(lstm(hidden_size=8, peepholes=True))
    Path(way='scan', reason='cell.sequence is None')
    """
    check_cell(cell)
    path = Path("sequence", "the cell has a sequence of its own")
    if cell.sequence is None:
        path = Path("scan", "cell.sequence is None")
    if remat_every is None:
        return path
    return Path(path.way, f"{path.reason}; remat_every: {remat_every} steps at a time, computed again for the gradient")


def _run(
    sequence: Sequence,
    cell: Cell,
    params: Params,
    xs: Array,
    lengths: Array | None,
    resets: Array | None,
    initial_state: State | None,
    reverse: bool,
    time_major: bool,
) -> tuple[State, Array]:
    """Brings the arguments of `unroll` into the form that `sequence` takes, and its results back."""
    if not isinstance(xs, jax.Array | np.ndarray):
        raise TypeError(f"xs: expected an array [*B, T, I], got {type(xs).__name__}")
    if xs.ndim < 2:
        raise ValueError(f"xs: expected [*B, T, I], two axes or more, got shape {xs.shape}")
    check_params(cell, params, xs)
    check_array("resets", resets, xs.shape[:-1], jnp.bool_)
    if time_major:
        xs = jnp.moveaxis(xs, 0, -2)
        resets = None if resets is None else jnp.moveaxis(resets, 0, -1)
    batch_shape, steps = xs.shape[:-2], xs.shape[-2]
    rows = math.prod(batch_shape)
    check_array("lengths", lengths, batch_shape, jnp.integer)
    restart = cell.initial_state(params, batch_shape)
    state = restart if initial_state is None else initial_state
    check_state("initial_state", state, restart)

    def merge_rows(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.reshape(rows, *leaf.shape[len(batch_shape) :]), tree)

    xs, lengths, resets, state, restart = merge_rows((xs, lengths, resets, state, restart))
    check_step(cell, params, state, jax.ShapeDtypeStruct((rows, xs.shape[-1]), xs.dtype))

    valid = None
    if lengths is not None:
        valid = jnp.arange(steps) < lengths[:, None]
        xs = jnp.where(valid[..., None], xs, 0)
        resets = None if resets is None else resets & valid
    if resets is not None and reverse:  # a sequence ends where the next one begins
        resets = jnp.concatenate([resets[:, 1:], jnp.zeros_like(resets[:, :1])], axis=1)
    final_state, ys = sequence(params, state, restart, xs, valid, resets, reverse=reverse)
    if valid is not None:
        ys = jnp.where(valid[..., None], ys, 0)

    final_state, ys = jax.tree.map(lambda leaf: leaf.reshape(*batch_shape, *leaf.shape[1:]), (final_state, ys))
    return final_state, jnp.moveaxis(ys, -2, 0) if time_major else ys


def _scan(
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
    """One step of the cell after another: the oracle of every other way through a sequence."""

    def masked_step(state: State, inputs: tuple[Array, Array | None, Array | None]) -> tuple[State, Array]:
        x, valid, reset = inputs
        if reset is not None:
            state = _select(reset, restart, state)
        next_state, y = step(params, state, x)
        if valid is not None:
            next_state = _select(valid, next_state, state)
        return next_state, y

    inputs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), (xs, valid, resets))
    final_state, ys = lax.scan(masked_step, state, inputs, reverse=reverse)
    return final_state, jnp.moveaxis(ys, 0, 1)


def _in_chunks(
    name: str, every: int, run_chunk: Sequence, hand_over: Callable[[State], State] = lambda state: state
) -> Sequence:
    """Makes the sequence that gives chunks of `every` steps, the last one perhaps shorter, to `run_chunk` in turn.

    What a chunk hands over to the next one, forward, is `hand_over` of its final state.
    """
    if not isinstance(every, int) or every < 1:
        raise ValueError(f"{name}: expected a number of steps, at least 1, got {every!r}")

    def sequence(
        params: Params,
        state: State,
        restart: State,
        xs: Array,
        valid: Array | None,
        resets: Array | None,
        *,
        reverse: bool,
    ) -> tuple[State, Array]:
        def run(state: State, inputs: tuple[Array, Array | None, Array | None]) -> tuple[State, Array]:
            return run_chunk(params, state, restart, *inputs, reverse=reverse)

        def run_and_hand_over(state: State, inputs: tuple[Array, Array | None, Array | None]) -> tuple[State, Array]:
            state, ys = run(state, inputs)
            return hand_over(state), ys

        rows, steps = xs.shape[:2]
        chunks = max(steps - 1, 0) // every  # and the last one
        inputs = (xs, valid, resets)
        body = jax.tree.map(
            lambda leaf: jnp.moveaxis(leaf[:, : chunks * every].reshape(rows, chunks, every, *leaf.shape[2:]), 1, 0),
            inputs,
        )
        tail = jax.tree.map(lambda leaf: leaf[:, chunks * every :], inputs)
        if reverse:
            state, tail_ys = run(state, tail)
            state, body_ys = lax.scan(run, state, body, reverse=True)
        else:
            state, body_ys = lax.scan(run_and_hand_over, state, body)
            state, tail_ys = run(state, tail)
        body_ys = jnp.moveaxis(body_ys, 0, 1).reshape(rows, chunks * every, *body_ys.shape[3:])
        return state, jnp.concatenate([body_ys, tail_ys], axis=1)

    return sequence


def _rematerialised(sequence: Sequence, *args: Any, reverse: bool) -> tuple[State, Array]:
    return jax.checkpoint(partial(sequence, reverse=reverse), prevent_cse=False)(*args)


def _select(condition: Bool[Array, " B"], new: State, old: State) -> State:
    """For each row, `new` where the condition holds and `old` where not, in leaves of any rank."""
    return jax.tree.map(
        lambda n, o: jnp.where(condition.reshape(condition.shape + (1,) * (n.ndim - 1)), n, o), new, old
    )
