"""The gated recurrent unit of Cho et al. (2014) over a whole sequence; see `seqjax.gru` for the equations.

With the reset before the recurrent product, the gates and the candidate need one product each, and the second one reads
`r * h`. With the reset after it, they need one product of the input and one of the state, because the reset gate
multiplies only `U_n h + d`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array

from seqjax.cells.fused.loop import Equations, Gates, Kernel, Step, run, sigmoid_back


def gru_sequence(params: Any, *args: Any, reverse: bool) -> tuple[Any, Array]:
    """Runs a gated recurrent unit with the reset before or after the recurrent product."""
    w, u, b, d = params
    if d is not None:
        of_x_and_h = [Kernel(w, None, b), Kernel(None, u, jnp.pad(d, (b.size - d.size, 0)))]
        return run(_RESET_AFTER_EQUATIONS, of_x_and_h, *args, reverse=reverse)
    gates_and_candidate = map(Kernel, *(jnp.split(k, [2 * u.shape[0]], axis=-1) for k in (w, u, b)))
    return run(_EQUATIONS, list(gates_and_candidate), *args, reverse=reverse)


def _step(products: Sequence[Callable[..., Gates]], h: Array) -> tuple[Array, Step]:
    r, u = map(sigmoid, products[0](h))
    rh = r * h
    (z_n,) = products[1](rh)
    n = jnp.tanh(z_n)
    next_h = u * n + (1 - u) * h
    return next_h, Step(next_h, vs=(h, rh), saved=(r, u, n))


def _step_back(
    products_back: Sequence[Callable[..., Array]], d_h: Array, d_y: Array, left: Step
) -> tuple[Array, tuple[Gates, Gates]]:
    (h, _), (r, u, n) = left.vs, left.saved
    d_h = d_h + d_y
    d_z_n = d_h * u * (1 - n**2)
    d_rh = products_back[1](d_z_n)
    d_gates = sigmoid_back(r, d_rh * h), sigmoid_back(u, d_h * (n - h))
    return d_h * (1 - u) + d_rh * r + products_back[0](*d_gates), (d_gates, (d_z_n,))


def _reset_after_step(products: Sequence[Callable[..., Gates]], h: Array) -> tuple[Array, Step]:
    (w_r, w_u, w_n), (u_r, u_u, u_n) = products[0](), products[1](h)
    r, u = sigmoid(w_r + u_r), sigmoid(w_u + u_u)
    n = jnp.tanh(w_n + r * u_n)
    next_h = u * n + (1 - u) * h
    return next_h, Step(next_h, vs=(h,), saved=(r, u, n, u_n))


def _reset_after_step_back(
    products_back: Sequence[Callable[..., Array]], d_h: Array, d_y: Array, left: Step
) -> tuple[Array, tuple[Gates, Gates]]:
    (h,), (r, u, n, u_n) = left.vs, left.saved
    d_h = d_h + d_y
    d_w_n = d_h * u * (1 - n**2)
    d_r, d_u = sigmoid_back(r, d_w_n * u_n), sigmoid_back(u, d_h * (n - h))
    d_products = (d_r, d_u, d_w_n), (d_r, d_u, d_w_n * r)
    return d_h * (1 - u) + products_back[1](*d_products[1]), d_products


_EQUATIONS = Equations(_step, _step_back, reads=(0, 1))
_RESET_AFTER_EQUATIONS = Equations(_reset_after_step, _reset_after_step_back, reads=(None, 0))
