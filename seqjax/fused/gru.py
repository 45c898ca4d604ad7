"""The gated recurrent unit of Cho et al. (2014) over a whole sequence; its equations stand in `seqjax.gru`.

With the reset before the recurrent product, gates and candidate need a product each, the second of `r * h`. With the
reset after it, what the reset gate multiplies is kept apart, so that one product reads the input and one the state.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from seqjax.fused.loop import Equations, Gates, Kernel, run, sigma, sigma_back


def gru_sequence(params: Any, *args: Any, reverse: bool) -> tuple[Any, Array]:
    """Runs a gated recurrent unit."""
    w, u, b, d = params
    size = u.shape[0]
    halves = jnp.repeat(jnp.array([0.5, 0.5, 1], b.dtype), size)
    w, u, b = halves * w, halves * u, halves * b
    if d is None:
        (w_ru, w_n), (u_ru, u_n), (b_ru, b_n) = (jnp.split(k, [2 * size], axis=-1) for k in (w, u, b))
        return run(_EQUATIONS, [Kernel(w_ru, u_ru, b_ru), Kernel(w_n, u_n, b_n)], *args, reverse=reverse)
    d = jnp.pad(d, (2 * size, 0))
    return run(_RESET_AFTER_EQUATIONS, [Kernel(w, None, b), Kernel(None, u, d)], *args, reverse=reverse)


def _step(products: Sequence[Callable[..., Gates]], h: Array) -> tuple[Array, Array, Any, tuple[Array, Array]]:
    r, u = map(sigma, products[0](h))
    rh = r * h
    (z_n,) = products[1](rh)
    n = jnp.tanh(z_n)
    next_h = u * n + (1 - u) * h
    return next_h, next_h, (r, u, n, h), (h, rh)


def _step_back(
    products_back: Sequence[Callable[..., Array]], d_h: Array, d_y: Array, saved: Any
) -> tuple[Array, tuple[Gates, Gates]]:
    r, u, n, h = saved
    d_h = d_h + d_y
    d_z_n = d_h * u * (1 - n**2)
    d_rh = products_back[1](d_z_n)
    d_gates = sigma_back(r, d_rh * h), sigma_back(u, d_h * (n - h))
    return d_h * (1 - u) + d_rh * r + products_back[0](*d_gates), (d_gates, (d_z_n,))


def _reset_after_step(
    products: Sequence[Callable[..., Gates]], h: Array
) -> tuple[Array, Array, Any, tuple[None, Array]]:
    (w_r, w_u, w_n), (u_r, u_u, u_n) = products[0](), products[1](h)
    r, u = sigma(w_r + u_r), sigma(w_u + u_u)
    n = jnp.tanh(w_n + r * u_n)
    next_h = u * n + (1 - u) * h
    return next_h, next_h, (r, u, n, h, u_n), (None, h)


def _reset_after_step_back(
    products_back: Sequence[Callable[..., Array]], d_h: Array, d_y: Array, saved: Any
) -> tuple[Array, tuple[Gates, Gates]]:
    r, u, n, h, u_n = saved
    d_h = d_h + d_y
    d_z_n = d_h * u * (1 - n**2)
    d_gates = sigma_back(r, d_z_n * u_n), sigma_back(u, d_h * (n - h))
    of_state = (*d_gates, d_z_n * r)
    return d_h * (1 - u) + products_back[1](*of_state), ((*d_gates, d_z_n), of_state)


_EQUATIONS = Equations(_step, _step_back)
_RESET_AFTER_EQUATIONS = Equations(_reset_after_step, _reset_after_step_back)
