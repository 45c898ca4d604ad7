"""A wrapper that turns the initial state of a cell into a parameter."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqjax.cells.contract import Cell, Params, State


class LearnedStateParams(NamedTuple):
    """Parameters of `learned_initial_state`."""

    cell: Params
    initial_state: State


def learned_initial_state(cell: Cell) -> Cell:
    """Turns the initial state of a cell into a parameter.

    Before training, the parameter is the initial state of `cell`, usually zero. `unroll` also returns to it at resets.

    >>> from seqjax import gru
    >>> cell = learned_initial_state(gru(hidden_size=2))
    >>> params = cell.init(jax.random.key(0), input_size=3)._replace(initial_state=jnp.array([1.0, -1.0]))
    >>> cell.initial_state(params, batch_shape=(2,))
    Array([[ 1., -1.],
           [ 1., -1.]], dtype=float32)
    """

    def init(key: Key[Array, ""], *, input_size: int) -> LearnedStateParams:
        params = cell.init(key, input_size=input_size)
        return LearnedStateParams(params, cell.initial_state(params))

    def initial_state(params: LearnedStateParams, batch_shape: tuple[int, ...] = ()) -> State:
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, batch_shape + leaf.shape), params.initial_state)

    def step(params: LearnedStateParams, state: State, x: Array) -> tuple[State, Array]:
        return cell.step(params.cell, state, x)

    def sequence(params: LearnedStateParams, *args: Any, **kwargs: Any) -> tuple[State, Array]:
        assert cell.sequence is not None
        return cell.sequence(params.cell, *args, **kwargs)

    return Cell(init, initial_state, step, sequence if cell.sequence else None)
