"""The simple recurrent network of Elman (1990) over a whole sequence; its equation stands in `seqjax.simple_rnn`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from seqjax.fused.loop import Equations, Kernels, Product, run


def _kernels(params: Any) -> Kernels:
    w, u, b = params
    return Kernels(w, u, jnp.zeros(u.shape[1], u.dtype) if b is None else b)


def _step(
    activation: Callable[[Array], Array], products: Sequence[Product], h: Array
) -> tuple[Array, Array, Array, tuple[Array]]:
    z, x_and_h = products[0](h)
    h = activation(z)
    return h, h, h, (x_and_h,)


def _step_back(
    gradient: Callable[[Array, Array], Array], us: Sequence[Array], d_h: Array, d_y: Array, h: Array
) -> tuple[Array, tuple[Array]]:
    d_z = gradient(h, d_h + d_y)
    return us[0] @ d_z, (d_z,)


def _equations(activation: Callable[[Array], Array], gradient: Callable[[Array, Array], Array]) -> Equations:
    return Equations((1,), partial(_step, activation), partial(_step_back, gradient))


_TANH = _equations(jnp.tanh, lambda h, d_h: d_h * (1 - h**2))
_RELU = _equations(jax.nn.relu, lambda h, d_h: jnp.where(h > 0, d_h, 0))


def _tanh_sequence(params: Any, *args: Any, reverse: bool) -> tuple[Any, Array]:
    """fused, gradient by hand: a simple recurrent network with tanh."""
    return run(_TANH, _kernels(params), *args, reverse=reverse)


def _relu_sequence(params: Any, *args: Any, reverse: bool) -> tuple[Any, Array]:
    """fused, gradient by hand: a simple recurrent network with relu."""
    return run(_RELU, _kernels(params), *args, reverse=reverse)


SIMPLE_RNN_SEQUENCES = {"tanh": _tanh_sequence, "relu": _relu_sequence}  # by activation
