"""What XLA's compiler for CPUs is told of a step, so that it makes more of the machine; the results are the same."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Float


def in_order(function: Callable[..., Any]) -> Callable[..., Any]:
    """Has the operations of `function`, up to eight of them, run one after the other on one thread.

    The runtime does so with a sequence of up to eight operations, and shares out longer ones among threads, which takes
    longer than an operation of a small step. A function that is called, not inlined, is a sequence of its own.
    """

    def on_cpu(*args: Any) -> Any:
        with set_xla_metadata(inlineable="false"):
            return jax.jit(function)(*args)

    return lambda *args: lax.platform_dependent(*args, cpu=on_cpu, default=function)


def product_by_turned(v: Float[Array, "B M"], turned: Float[Array, "N M"]) -> Float[Array, "B N"]:
    """Forms `v turned'` with the weights as the left factor, which is read as it lies in memory.

    The right factor is first copied into another order, in each step again; that is much of the time if `v` is small.
    """

    def on_cpu(v: Array, turned: Array) -> Array:
        product = lax.dot_general(turned, v, (((1,), (1,)), ((), ())))
        return lax.optimization_barrier(product).T  # without the barrier, XLA takes the factors the other way round

    return lax.platform_dependent(v, turned, cpu=on_cpu, default=lambda v, turned: v @ turned.T)


def product_by_convolution(xs: Float[Array, "B T M"], weights: Float[Array, "M N"]) -> Float[Array, "B T N"]:
    """Forms `xs weights` as a convolution that looks at one step at a time.

    XLA leaves convolutions to another library than products, which is the faster one where the sums are long.
    """

    def on_cpu(xs: Array, weights: Array) -> Array:
        return lax.conv_general_dilated(xs, weights[None], (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))

    return lax.platform_dependent(xs, weights, cpu=on_cpu, default=lambda xs, weights: xs @ weights)
