"""A wrapper that turns the initial state of a cell into a parameter."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqjax.arguments import IntLike
from seqjax.by_value import by_value
from seqjax.cells.contract import Cell, Params, Shape, State


class LearnedStateParams(NamedTuple):
    """Parameters of `learned_initial_state`."""

    cell: Params
    initial_state: State  # None for each leaf that is not of floats


@by_value
def learned_initial_state(cell: Cell) -> Cell:
    """Turns the initial state of a cell into a parameter.

    Before training, the parameter is the initial state of `cell`, usually zero. `unroll` also returns to it at resets.
    Only floats are learned. What counts, such as the time of `zoneout`, is None in the parameter, and starts as in
    `cell`.

    >>> from seqjax import gru
    >>> cell = learned_initial_state(gru(hidden_size=2))
    >>> params = cell.init(jax.random.key(0), input_size=3)._replace(initial_state=jnp.array([1.0, -1.0]))
    >>> cell.initial_state(params, batch_shape=(2,))
    Array([[ 1., -1.],
           [ 1., -1.]], dtype=float32)
    """

    def init(key: Key[Array, ""], *, input_size: IntLike) -> LearnedStateParams:
        params = cell.init(key, input_size=input_size)
        state = cell.initial_state(params)
        return LearnedStateParams(params, jax.tree.map(lambda leaf: leaf if _is_float(leaf) else None, state))

    def initial_state(params: LearnedStateParams, batch_shape: Shape = ()) -> State:
        def start(own: Array, learned: Array | None) -> Array:
            return own if learned is None else jnp.broadcast_to(learned, own.shape).astype(own.dtype)

        return jax.tree.map(start, cell.initial_state(params.cell, batch_shape), params.initial_state)

    def step(params: LearnedStateParams, state: State, x: Array) -> tuple[State, Array]:
        return cell.step(params.cell, state, x)

    def sequence(params: LearnedStateParams, *args: Any, **kwargs: Any) -> tuple[State, Array]:
        assert cell.sequence is not None
        return cell.sequence(params.cell, *args, **kwargs)

    return Cell(init, initial_state, step, sequence if cell.sequence else None)


def _is_float(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)
