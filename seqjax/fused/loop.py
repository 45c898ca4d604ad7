"""The loop over the steps of a sequence, forward and backward, for a cell that brings the gradient of one step.

Every cell here multiplies its input and its hidden state, or a vector made of it, by one or more kernels:

    z = W x + U v + b

Of each such product the loop keeps `[x; v]` and the gradient of `z`. Their outer products, summed over all steps and
rows, are the gradient of `[W; U]`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

State = Any  # leaves [B, H] outside of the loop, [H, B] within
Product = Callable[[Array], tuple[Array, Array]]  # v [H, B] -> W x + U v + b, and what was multiplied
Saved = Any  # what the gradient of a step reads, leaves [_, B]


class Equations(NamedTuple):
    """One step of a cell and its gradient, features first, the batch last."""

    gates: tuple[int, ...]  # of each product, as multiples of H
    # (products, state) -> (next_state, y, saved, what each product multiplied)
    step: Callable[[Sequence[Product], State], tuple[State, Array, Saved, Sequence[Array]]]
    # (U of each product, gradient of next_state, of y, saved) -> (gradient of state, of each z)
    step_back: Callable[[Sequence[Array], State, Array, Saved], tuple[State, Sequence[Array]]]


class Kernels(NamedTuple):
    """The parameters, the products side by side; without `w` where the input comes multiplied by it."""

    w: Float[Array, "I G"] | None
    u: Float[Array, "H G"]
    b: Float[Array, " G"]


def hoists_input(batch_size: int) -> bool:
    """Tells whether the products of all inputs are formed before the loop, instead of within the one of the state.

    Before the loop they are one large product, but an array of its own to write and to read, and the product that stays
    in the loop is narrower. Only where each step reads the kernels for a single row does that pay. LSTM, float32, ms
    forward / with gradient of weights and inputs, the best of some seconds, in turn, on two cores with other work:

    | B, T, I, H        | within the loop | before it |
    |-------------------|-----------------|-----------|
    | 1, 256, 256, 256  | 9.3 / 20        | 5.3 / 15  |
    | 8, 4000, 64, 64   | 68 / 211        | 130 / 267 |
    | 32, 128, 256, 256 | 54 / 200        | 83 / 240  |
    | 128, 50, 128, 128 | 25 / 106        | 29 / 123  |
    """
    return batch_size == 1


def run(
    equations: Equations,
    kernels: Kernels,
    state: State,
    restart: State,
    xs: Float[Array, "B T I"],
    valid: Bool[Array, "B T"] | None,
    resets: Bool[Array, "B T"] | None,
    *,
    reverse: bool,
) -> tuple[State, Float[Array, "B T H"]]:
    """Runs a cell over a sequence; the contract stands in `seqjax.recurrence`."""
    xs = xs.astype(kernels.u.dtype)
    if hoists_input(xs.shape[0]):
        xs, kernels = xs @ kernels.w, kernels._replace(w=None)
    state, restart, valid, resets = jax.tree.map(jnp.transpose, (state, restart, valid, resets))
    xs = jnp.transpose(xs, (1, 2, 0))
    final_state, ys = _loop(equations, reverse, kernels, state, restart, xs, valid, resets)
    return jax.tree.map(jnp.transpose, final_state), jnp.transpose(ys, (2, 0, 1))


def _forward(
    equations: Equations,
    reverse: bool,
    save: bool,
    kernels: Kernels,
    state: State,
    restart: State,
    xs: Float[Array, "T _ B"],
    valid: Bool[Array, "T B"] | None,
    resets: Bool[Array, "T B"] | None,
) -> tuple[State, tuple[Array, Any]]:
    hoisted = kernels.w is None
    kernel = kernels.u if hoisted else jnp.concatenate([kernels.w, kernels.u])
    matrices = _split(equations, kernels, kernel.T)
    biases = _split(equations, kernels, kernels.b[:, None])

    def multiply(matrix: Array, bias: Array, x: Array, v: Array) -> tuple[Array, Array]:
        if hoisted:
            return x + matrix @ v + bias, v
        x_and_v = jnp.concatenate([x, v])
        return matrix @ x_and_v + bias, x_and_v

    def step(state: State, inputs: tuple[Array, Array | None, Array | None]) -> tuple[State, tuple[Array, Any]]:
        x, valid, reset = inputs
        if reset is not None:
            state = _where(reset, restart, state)
        x_of_each = _split(equations, kernels, x) if hoisted else [x] * len(matrices)
        products = [partial(multiply, *args) for args in zip(matrices, biases, x_of_each, strict=True)]
        next_state, y, saved, multiplied = equations.step(products, state)
        if valid is not None:
            next_state = _where(valid, next_state, state)
        return next_state, (y, (saved, [m.T for m in multiplied]) if save else None)

    return lax.scan(step, state, (xs, valid, resets), reverse=reverse)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _loop(equations: Equations, reverse: bool, kernels: Kernels, *args: Any) -> tuple[State, Array]:
    final_state, (ys, _) = _forward(equations, reverse, False, kernels, *args)
    return final_state, ys


def _loop_forward(equations: Equations, reverse: bool, kernels: Kernels, *args: Any) -> tuple[Any, Any]:
    final_state, (ys, (saved, multiplied)) = _forward(equations, reverse, True, kernels, *args)
    *_, valid, resets = args
    return (final_state, ys), (kernels, saved, multiplied, valid, resets)


def _loop_backward(equations: Equations, reverse: bool, residuals: Any, gradients: Any) -> tuple[Any, ...]:
    kernels, saved, multiplied, valid, resets = residuals
    d_state, d_ys = gradients
    zero = jax.tree.map(jnp.zeros_like, d_state)
    us = _split(equations, kernels, kernels.u, axis=1)

    def step(carry: tuple[State, State], inputs: tuple[Array, Saved, Any, Any]) -> tuple[Any, list[Array]]:
        d_state, d_restart = carry
        d_y, saved, valid, reset = inputs
        d_next = d_state
        if valid is not None:
            d_next, d_y = _where(valid, (d_state, d_y), jax.tree.map(jnp.zeros_like, (d_state, d_y)))
        before, d_zs = equations.step_back(us, d_next, d_y, saved)
        if valid is not None:
            before = _where(valid, before, d_state)
        if reset is not None:
            d_restart = jax.tree.map(jnp.add, d_restart, _where(reset, before, zero))
            before = _where(reset, zero, before)
        return (before, d_restart), [d_z.T for d_z in d_zs]

    (d_state, d_restart), d_zs = lax.scan(step, (d_state, zero), (d_ys, saved, valid, resets), reverse=not reverse)
    d_kernel = jnp.concatenate([_outer_products(*pair) for pair in zip(multiplied, d_zs, strict=True)], axis=1)
    d_bias = jnp.concatenate([d_z.sum(axis=(0, 1)) for d_z in d_zs])
    if kernels.w is None:
        d_w, d_u = None, d_kernel
        d_xs = jnp.concatenate(d_zs, axis=2).swapaxes(1, 2)
    else:
        d_w, d_u = jnp.split(d_kernel, [kernels.w.shape[0]])
        ws = _split(equations, kernels, kernels.w, axis=1)
        d_xs = sum(jnp.einsum("ig,tbg->tib", w, d_z) for w, d_z in zip(ws, d_zs, strict=True))
    return Kernels(d_w, d_u, d_bias), d_state, d_restart, d_xs, None, None


_loop.defvjp(_loop_forward, _loop_backward)


def _split(equations: Equations, kernels: Kernels, array: Array, axis: int = 0) -> list[Array]:
    """Cuts the gates of all products into those of each."""
    hidden_size = kernels.u.shape[0]
    return jnp.split(array, [gates * hidden_size for gates in accumulate(equations.gates[:-1])], axis)


def _outer_products(vs: Float[Array, "T B M"], d_zs: Float[Array, "T B N"]) -> Float[Array, "M N"]:
    """Sums `v d_z'` over steps and rows, in that order: einsum takes the other, and copies both arrays to do so."""
    return lax.dot_general(vs, d_zs, (((0, 1), (0, 1)), ((), ())))


def _where(condition: Bool[Array, " B"], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)
