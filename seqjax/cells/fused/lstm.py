"""The LSTM of Hochreiter and Schmidhuber (1997) over a whole sequence; see `seqjax.lstm` for the equations."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array

from seqjax.cells.fused.loop import Equations, Gates, Kernel, State, Step, run, sigmoid_back


def lstm_sequence(params: Any, *args: Any, reverse: bool) -> tuple[Any, Array]:
    """Runs an LSTM without peepholes, projection, coupling or clipping."""
    w, u, b, _, _ = params
    return run(_EQUATIONS, [Kernel(w, u, b)], *args, reverse=reverse)


def _step(products: Sequence[Callable[..., Gates]], state: State) -> tuple[State, Step]:
    i, f, g, o = products[0](state.h)
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    c = f * state.c + i * g
    h = o * jnp.tanh(c)
    return state._replace(h=h, c=c), Step(h, vs=(state.h,), saved=(i, f, g, o, state.c))


def _step_back(
    products_back: Sequence[Callable[..., Array]], d_state: State, d_y: Array, left: Step
) -> tuple[State, tuple[Gates]]:
    i, f, g, o, c = left.saved
    tanh_c = jnp.tanh(f * c + i * g)
    d_h = d_state.h + d_y
    d_c = d_state.c + d_h * o * (1 - tanh_c**2)
    d_gates = (
        sigmoid_back(i, d_c * g),
        sigmoid_back(f, d_c * c),
        d_c * i * (1 - g**2),
        sigmoid_back(o, d_h * tanh_c),
    )
    return d_state._replace(h=products_back[0](*d_gates), c=d_c * f), (d_gates,)


_EQUATIONS = Equations(_step, _step_back, reads=(0,))
