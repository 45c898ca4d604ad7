"""The gated recurrent unit of Cho et al. (2014) over a whole sequence; its equations stand in `seqjax.gru`.

With the reset before the recurrent product, gates and candidate need a product each, the second of `r * h`. With the
reset after it, the candidate needs two, `W_n x + b_n` and `U_n h + d`, for the reset gate multiplies but the second.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array

from seqjax.fused.loop import Equations, Gates, Kernel, Step, run, sigmoid_back


def gru_sequence(params: Any, *args: Any, reverse: bool) -> tuple[Any, Array]:
    """Runs a gated recurrent unit with either of the two resets."""
    w, u, b, d = params
    (w_ru, w_n), (u_ru, u_n), (b_ru, b_n) = (jnp.split(k, [2 * u.shape[0]], axis=-1) for k in (w, u, b))
    gates = Kernel(w_ru, u_ru, b_ru)
    if d is None:
        return run(_EQUATIONS, [gates, Kernel(w_n, u_n, b_n)], *args, reverse=reverse)
    kernels = [gates, Kernel(w_n, None, b_n), Kernel(None, u_n, d)]
    return run(_RESET_AFTER_EQUATIONS, kernels, *args, reverse=reverse)


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
    r, u = map(sigmoid, products[0](h))
    (w_n,), (u_n,) = products[1](), products[2](h)
    n = jnp.tanh(w_n + r * u_n)
    next_h = u * n + (1 - u) * h
    return next_h, Step(next_h, vs=(h,), saved=(r, u, n, u_n))


def _reset_after_step_back(
    products_back: Sequence[Callable[..., Array]], d_h: Array, d_y: Array, left: Step
) -> tuple[Array, tuple[Gates, Gates, Gates]]:
    (h,), (r, u, n, u_n) = left.vs, left.saved
    d_h = d_h + d_y
    d_w_n = d_h * u * (1 - n**2)
    d_u_n = d_w_n * r
    d_gates = sigmoid_back(r, d_w_n * u_n), sigmoid_back(u, d_h * (n - h))
    return d_h * (1 - u) + products_back[0](*d_gates) + products_back[2](d_u_n), (d_gates, (d_w_n,), (d_u_n,))


_EQUATIONS = Equations(_step, _step_back, reads=(0, 1))
_RESET_AFTER_EQUATIONS = Equations(_reset_after_step, _reset_after_step_back, reads=(0, None, 0))
