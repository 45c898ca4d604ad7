"""The simple recurrent network of Elman (1990) over a whole sequence; see `seqjax.simple_rnn` for the equation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from seqjax.cells.fused.loop import Equations, Gates, Kernel, Step, run


def _sequence(equations: Equations, params: Any, *args: Any, reverse: bool) -> tuple[Any, Array]:
    w, u, b = params
    bias = jnp.zeros_like(u[0]) if b is None else b  # on the devices that hold the kernel
    return run(equations, [Kernel(w, u, bias)], *args, reverse=reverse)


def _step(
    activation: Callable[[Array], Array], products: Sequence[Callable[..., Gates]], h: Array
) -> tuple[Array, Step]:
    (z,) = products[0](h)
    next_h = activation(z)
    return next_h, Step(next_h, vs=(h,), saved=None)


def _step_back(
    gradient: Callable[[Array, Array], Array],
    products_back: Sequence[Callable[..., Array]],
    d_h: Array,
    d_y: Array,
    left: Step,
) -> tuple[Array, tuple[Gates]]:
    d_z = gradient(left.y, d_h + d_y)
    return products_back[0](d_z), ((d_z,),)


def _equations(activation: Callable[[Array], Array], gradient: Callable[[Array, Array], Array]) -> Equations:
    return Equations(partial(_step, activation), partial(_step_back, gradient), reads=(0,))


_TANH = _equations(jnp.tanh, lambda h, d_h: d_h * (1 - h**2))
_RELU = _equations(jax.nn.relu, lambda h, d_h: jnp.where(h > 0, d_h, 0))
SIMPLE_RNN_SEQUENCES = {"tanh": partial(_sequence, _TANH), "relu": partial(_sequence, _RELU)}  # by activation
