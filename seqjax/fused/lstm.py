"""The LSTM of Hochreiter and Schmidhuber (1997) over a whole sequence; its equations stand in `seqjax.lstm`."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from seqjax.fused.loop import Equations, Kernels, Product, State, run


def lstm_sequence(params: Any, *args: Any, reverse: bool) -> tuple[Any, Array]:
    """fused, gradient by hand: an LSTM without peepholes, projection, coupling and clipping."""
    kernels = Kernels(params.input_kernel, params.recurrent_kernel, params.bias)
    return run(Equations((4,), _step, _step_back), kernels, *args, reverse=reverse)


def _step(products: Sequence[Product], state: State) -> tuple[State, Array, Any, tuple[Array]]:
    z, x_and_h = products[0](state.h)
    half = jnp.repeat(jnp.array([0.5, 0.5, 1.0, 0.5], z.dtype), state.c.shape[0])[:, None]
    gates = half * jnp.tanh(half * z) + (1 - half)
    i, f, g, o = jnp.split(gates, 4)
    c = f * state.c + i * g
    tanh_c = jnp.tanh(c)
    h = o * tanh_c
    return state._replace(h=h, c=c), h, (gates, state.c, tanh_c), (x_and_h,)


def _step_back(us: Sequence[Array], d_state: State, d_y: Array, saved: Any) -> tuple[State, tuple[Array]]:
    gates, c, tanh_c = saved
    i, f, g, o = jnp.split(gates, 4)
    d_h = d_state.h + d_y
    d_c = d_state.c + d_h * o * (1 - tanh_c**2)
    d_i, d_f, d_g, d_o = d_c * g, d_c * c, d_c * i, d_h * tanh_c
    d_z = jnp.concatenate([d_i * i * (1 - i), d_f * f * (1 - f), d_g * (1 - g**2), d_o * o * (1 - o)])
    return d_state._replace(h=us[0] @ d_z, c=d_c * f), (d_z,)
