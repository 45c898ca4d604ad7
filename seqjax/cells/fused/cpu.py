"""Hints that make XLA compile a step to faster code on CPUs; the results are the same."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Float


def in_order(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes the operations of `function`, at most eight, run one after another on one thread.

    XLA's runtime does this for a sequence of up to eight operations. It distributes a longer sequence over threads; if
    the step is small, this takes longer than an operation itself. A function that is called, not inlined, is a separate
    sequence.
    """

    def on_cpu(*args: Any) -> Any:
        with set_xla_metadata(inlineable="false"):
            return jax.jit(function)(*args)

    return lambda *args: lax.platform_dependent(*args, cpu=on_cpu, default=function)


def product_weights_left(v: Float[Array, "B M"], weights: Float[Array, "N M"]) -> Float[Array, "B N"]:
    """Computes `v weights'` with the weights as the left factor, which XLA reads without a copy.

    XLA copies the right factor into another memory layout at every step, and if `v` is small, this copy takes much of
    the step's time.
    """

    def on_cpu(v: Array, weights: Array) -> Array:
        product = lax.dot_general(weights, v, (((1,), (1,)), ((), ())))
        return lax.optimization_barrier(product).T  # without the barrier, XLA swaps the factors

    return lax.platform_dependent(v, weights, cpu=on_cpu, default=lambda v, weights: v @ weights.T)


def product_by_convolution(xs: Float[Array, "B T M"], weights: Float[Array, "M N"]) -> Float[Array, "B T N"]:
    """Computes `xs weights` as a convolution with a window of one time step.

    XLA uses different libraries for convolutions and products. The one for convolutions is faster if `M`, the number of
    terms in each sum, is large.
    """

    def on_cpu(xs: Array, weights: Array) -> Array:
        return lax.conv_general_dilated(xs, weights[None], (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))

    return lax.platform_dependent(xs, weights, cpu=on_cpu, default=lambda xs, weights: xs @ weights)
