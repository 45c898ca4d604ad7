"""Runs two cells over time, one in each direction."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from seqjax.arguments import IntLike
from seqjax.cells.contract import Cell, Params, State
from seqjax.recurrence.unroll import unroll


def bidirectional(
    cells: tuple[Cell, Cell],
    params: tuple[Params, Params],
    xs: Float[Array, "... I"],
    *,
    lengths: Integer[Array, "*B"] | IntLike | None = None,
    resets: Bool[Array, "..."] | None = None,
    initial_state: tuple[State, State] | None = None,
    merge: Literal["concat", "sum", "mean"] = "concat",
    time_major: bool = False,
    remat_every: IntLike | None = None,
) -> tuple[tuple[State, State], Float[Array, "... M"]]:
    """Runs one cell from the first step to the last and another from the last to the first, and merges their outputs.

    Schuster and Paliwal (1997). Each row is reversed within its own length.

    Args:
      cells: the forward and the backward cell.
      params: the parameters of each cell.
      xs, lengths, resets, time_major, remat_every: as in `unroll`.
      initial_state: the state that each cell starts from; its own initial state if None.
      merge: "concat" joins the two outputs on the last axis, `M = 2 H`; "sum" and "mean" keep `M = H`.

    Returns:
      The final states, forward and backward, and the merged outputs [*B, T, M].

    Raises:
      ValueError, TypeError: as in `unroll`, or if `merge` is unknown, if an argument is not a pair, or if the two
        outputs cannot be added because their sizes differ.

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
        if pair is not None and not (type(pair) in (tuple, list) and len(pair) == 2):  # not a NamedTuple
            raise TypeError(f"{name}: expected a pair, one for each direction, got {jax.tree.structure(pair)}")
    run = partial(unroll, xs=xs, lengths=lengths, resets=resets, time_major=time_major, remat_every=remat_every)
    forward_start, backward_start = (None, None) if initial_state is None else initial_state
    forward_state, forward = run(cells[0], params[0], initial_state=forward_start)
    backward_state, backward = run(cells[1], params[1], initial_state=backward_start, reverse=True)
    states = (forward_state, backward_state)
    if merge == "concat":
        return states, jnp.concatenate([forward, backward], axis=-1)
    if forward.shape != backward.shape:
        raise ValueError(f"merge: expected equal output shapes for {merge}, got {forward.shape} and {backward.shape}")
    total = forward + backward
    return states, total if merge == "sum" else total / 2
