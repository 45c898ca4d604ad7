"""The gated recurrent unit of Cho et al. (2014) over a whole sequence; its equations stand in `seqjax.gru`.

With the reset before the recurrent product, gates and candidate need a product each, the second of `[x; r * h]`. With
the reset after it, one product gives all; what the reset gate multiplies and what it does not are rows of their own:

    [U_r W_r; U_u W_u; U_n 0; 0 W_n] [h; x] + [b_r; b_u; d; b_n]
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from seqjax.fused.loop import Equations, Kernels, Product, run


def gru_sequence(params: Any, *args: Any, reverse: bool) -> tuple[Any, Array]:
    """fused, gradient by hand: a gated recurrent unit."""
    w, u, b, d = params
    if d is None:
        return run(Equations((2, 1), _step, _step_back), Kernels(w, u, b), *args, reverse=reverse)
    (w_ru, w_n), (u_ru, u_n), (b_ru, b_n) = (jnp.split(k, [2 * d.size], axis=-1) for k in (w, u, b))
    kernels = Kernels(
        jnp.concatenate([w_ru, jnp.zeros_like(w_n), w_n], axis=1),
        jnp.concatenate([u_ru, u_n, jnp.zeros_like(u_n)], axis=1),
        jnp.concatenate([b_ru, d, b_n]),
    )
    return run(Equations((4,), _reset_after_step, _reset_after_step_back), kernels, *args, reverse=reverse)


def _step(products: Sequence[Product], h: Array) -> tuple[Array, Array, Any, tuple[Array, Array]]:
    z, x_and_h = products[0](h)
    r, u = jnp.split(0.5 * jnp.tanh(0.5 * z) + 0.5, 2)
    z_n, x_and_rh = products[1](r * h)
    n = jnp.tanh(z_n)
    next_h = u * n + (1 - u) * h
    return next_h, next_h, (r, u, n, h), (x_and_h, x_and_rh)


def _step_back(us: Sequence[Array], d_h: Array, d_y: Array, saved: Any) -> tuple[Array, tuple[Array, Array]]:
    r, u, n, h = saved
    u_ru, u_n = us
    d_h = d_h + d_y
    d_z_n = d_h * u * (1 - n**2)
    d_rh = u_n @ d_z_n
    d_z = jnp.concatenate([d_rh * h * r * (1 - r), d_h * (n - h) * u * (1 - u)])
    return d_h * (1 - u) + d_rh * r + u_ru @ d_z, (d_z, d_z_n)


def _reset_after_step(products: Sequence[Product], h: Array) -> tuple[Array, Array, Any, tuple[Array]]:
    z, x_and_h = products[0](h)
    z_ru, u_n, w_n = jnp.split(z, [2 * h.shape[0], 3 * h.shape[0]])
    r, u = jnp.split(0.5 * jnp.tanh(0.5 * z_ru) + 0.5, 2)
    n = jnp.tanh(w_n + r * u_n)
    next_h = u * n + (1 - u) * h
    return next_h, next_h, (r, u, n, h, u_n), (x_and_h,)


def _reset_after_step_back(us: Sequence[Array], d_h: Array, d_y: Array, saved: Any) -> tuple[Array, tuple[Array]]:
    r, u, n, h, u_n = saved
    d_h = d_h + d_y
    d_z_n = d_h * u * (1 - n**2)
    d_z_h = jnp.concatenate([d_z_n * u_n * r * (1 - r), d_h * (n - h) * u * (1 - u), d_z_n * r])
    kernel = us[0][:, : 3 * h.shape[0]]
    return d_h * (1 - u) + kernel @ d_z_h, (jnp.concatenate([d_z_h, d_z_n]),)
