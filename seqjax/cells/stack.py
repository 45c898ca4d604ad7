"""Several cells stacked into one cell."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqjax.arguments import IntLike, check_setting
from seqjax.by_value import by_value
from seqjax.cells.contract import Cell, Params, Shape, State, check_cell
from seqjax.cells.regularization import variational_dropout
from seqjax.cells.sequence import sequence_of


@by_value
def stack(
    cells: Sequence[Cell],
    *,
    residual: bool = False,
    dropout_rate: float = 0.0,
    key: Key[Array, ""] | None = None,
) -> Cell:
    """Stacks several cells into one, in which each layer reads the outputs of the layer below.

    Graves (2013). Layers may differ in width. Parameters and state are tuples, lowest layer first. A whole sequence
    runs through one layer after another, each with its `sequence` if it has one. A single step runs through all layers.

    Args:
      cells: the layers, lowest first.
      residual: add the input of a layer to its output if both have the same size (Wu et al. 2016).
      dropout_rate: probability of dropping a feature between two layers, with one mask for all steps (Gal and
        Ghahramani 2016).
      key: the key of this pass over the data; without one, nothing is dropped.

    Raises:
      ValueError: if `cells` is empty or the rate is outside [0, 1).
      TypeError: if an element of `cells` is not a Cell, for example if a single cell is passed instead of a list.

    >>> from seqjax.cells import gru, lstm
    >>> cell = stack([lstm(hidden_size=8), gru(hidden_size=4)])
    >>> params = cell.init(jax.random.key(0), input_size=3)
    >>> state, y = cell.step(params, cell.initial_state(params, (5,)), jnp.ones((5, 3)))
    >>> y.shape, params[1].input_kernel.shape
    ((5, 4), (8, 12))
    """
    if not cells:
        raise ValueError("cells: expected at least one, got none")
    for cell in cells:
        check_cell(cell)
    check_setting("dropout_rate", dropout_rate, lambda rate: 0 <= rate < 1, "a probability in [0, 1)")

    def init(key: Key[Array, ""], *, input_size: IntLike) -> tuple[Params, ...]:
        params = []
        for cell, cell_key in zip(cells, jax.random.split(key, len(cells)), strict=True):
            params.append(cell.init(cell_key, input_size=input_size))
            x = jax.ShapeDtypeStruct((input_size,), jnp.float32)
            input_size = jax.eval_shape(cell.step, params[-1], cell.initial_state(params[-1]), x)[1].shape[-1]
        return tuple(params)

    def initial_state(params: tuple[Params, ...], batch_shape: Shape = ()) -> tuple[State, ...]:
        return tuple(cell.initial_state(p, batch_shape) for cell, p in zip(cells, params, strict=True))

    def between(layer: int, below: Array, above: Array, time_axis: int) -> Array:
        """Applies the residual connection around `layer`, then dropout if another layer follows."""
        y = below + above if residual and below.shape == above.shape else above
        if key is None or layer == len(cells) - 1:
            return y
        return variational_dropout(jax.random.fold_in(key, layer), y, dropout_rate, time_axis=time_axis)

    def step(params: tuple[Params, ...], state: tuple[State, ...], x: Array) -> tuple[tuple[State, ...], Array]:
        states = []
        for layer, cell in enumerate(cells):
            layer_state, y = cell.step(params[layer], state[layer], x)
            states.append(layer_state)
            x = between(layer, x[None], y[None], time_axis=0)[0]
        return tuple(states), x

    def sequence(
        params: tuple[Params, ...],
        state: tuple[State, ...],
        restart: tuple[State, ...],
        xs: Array,
        *masks: Any,
        reverse: bool,
    ) -> tuple[tuple[State, ...], Array]:
        states = []
        for layer, cell in enumerate(cells):
            run = sequence_of(cell)
            layer_state, ys = run(params[layer], state[layer], restart[layer], xs, *masks, reverse=reverse)
            states.append(layer_state)
            xs = between(layer, xs, ys, time_axis=1)
        return tuple(states), xs

    return Cell(init, initial_state, step, sequence)
