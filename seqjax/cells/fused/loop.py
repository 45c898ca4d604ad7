"""The loop over the steps of a sequence, forward and backward, for a cell that brings the gradient of one step.

All that such a cell does with its parameters is to form products of its input `x` and of a vector `v`, its hidden
state or one made of it:

    z = W x + U v + b

Of each product the loop keeps `v`, once for all products that read it, and the gradient of `z`. Their outer products,
summed over all steps and rows, are the gradient of `U`; those of `x` and the gradient of `z` are the gradient of `W`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from seqjax.cells.fused.cpu import in_order, product_by_convolution, product_by_turned

State = Any  # leaves [B, H]
Gates = Sequence[Array]  # each [B, H]


class Step(NamedTuple):
    """What a step leaves."""

    y: Float[Array, "B H"]
    vs: tuple[Array, ...]  # each [B, H]: what its products read beside the input
    saved: Any  # what its gradient reads beside these, leaves [B, H]


class Equations(NamedTuple):
    """One step of a cell and its gradient."""

    # (products v -> gates of z, state) -> (next_state, left)
    step: Callable[[Sequence[Callable[..., Gates]], State], tuple[State, Step]]
    # (gates of d_z -> d_v of each product, d_next_state, d_y, left) -> (d_state, gates of each d_z)
    step_back: Callable[[Sequence[Callable[..., Array]], State, Array, Step], tuple[State, Sequence[Gates]]]
    # for each product, which of vs it reads; None if it only reads the input
    reads: tuple[int | None, ...]


class Kernel(NamedTuple):
    """The parameters of one product; without `w` if it does not read the input, without `u` if it only does."""

    w: Float[Array, "I G"] | None
    u: Float[Array, "H G"] | None
    b: Float[Array, " G"]


def sigmoid_back(gate: Array, d_gate: Array) -> Array:
    """The gradient of `z` where `gate = sigmoid(z)`."""
    return d_gate * gate * (1 - gate)


def run(
    equations: Equations,
    kernels: Sequence[Kernel],
    state: State,
    restart: State,
    xs: Float[Array, "B T I"],
    valid: Bool[Array, "B T"] | None,
    resets: Bool[Array, "B T"] | None,
    *,
    reverse: bool,
) -> tuple[State, Float[Array, "B T H"]]:
    """Runs a cell over a sequence; the contract stands in `seqjax.recurrence`."""
    if xs.shape[1] == 0:
        return state, _over_all_steps(state, xs)
    return _loop(equations, reverse, kernels, state, restart, xs.astype(kernels[0].b.dtype), valid, resets)


def _over_all_steps(state: State, xs: Float[Array, "B T I"]) -> Float[Array, "B T H"]:
    """Makes an array for something like the hidden state at each step, yet to be filled."""
    h = jax.tree.leaves(state)[0]
    return lax.empty((*xs.shape[:2], h.shape[-1]), h.dtype)


def _over_time(
    step: Callable[[Any, Any, Any], tuple[Any, Any, Any]],
    carry: Any,
    inputs: Any,
    outputs: Any,
    stacked: Any = None,
    *,
    reverse: bool,
    ordered: bool,
) -> tuple[Any, Any, Any]:
    """Scans `step(carry, input, stacked) -> (carry, output, stacked)` over arrays [B, T, ...] without turning them.

    Each input is cut out of its array, each output is put into one, whose values before do not matter. What nothing but
    another loop reads, `stacked`, is [T, B, ...]. `ordered` has the operations of a step run in order.
    """
    steps = jax.tree.leaves(inputs)[0].shape[1]

    def step_at(t: Array, carry: Any, stacked: Any) -> tuple[Any, Any, Any]:
        now = jax.tree.map(lambda whole: lax.dynamic_index_in_dim(whole, t, axis=1, keepdims=False), inputs)
        return step(carry, now, stacked)

    if ordered:
        step_at = in_order(step_at)

    def body(loop: tuple[Any, Any], scanned: tuple[Array, Any]) -> tuple[tuple[Any, Any], Any]:
        (carry, outputs), (t, stacked) = loop, scanned
        carry, output, stacked = step_at(t, carry, stacked)
        put = partial(lax.dynamic_update_index_in_dim, index=t, axis=1)
        return (carry, jax.tree.map(put, outputs, output)), stacked

    # unsigned, for a signed index may count from the end, which is looked at in each step
    times = jnp.arange(steps, dtype=jnp.uint32)
    (carry, outputs), stacked = lax.scan(body, (carry, outputs), (times, stacked), reverse=reverse)
    return carry, outputs, stacked


def _forward(
    equations: Equations,
    reverse: bool,
    save: bool,
    kernels: Sequence[Kernel],
    state: State,
    restart: State,
    xs: Float[Array, "B T I"],
    valid: Bool[Array, "B T"] | None,
    resets: Bool[Array, "B T"] | None,
) -> tuple[State, Array, Any, Any]:
    rows, hidden_size = jax.tree.leaves(state)[0].shape
    hoisted = _hoists_input(rows)
    x_products = [xs @ w if hoisted and w is not None else None for w, _, _ in kernels]
    turned = [_turned(kernel, rows, hidden_size) for kernel in kernels]

    def product(kernel: Kernel, turned: Array | None, wx: Array | None, x: Array, v: Array | None = None) -> Gates:
        z = kernel.b
        if turned is not None:
            assert v is not None
            z = z + product_by_turned(jnp.concatenate([x, v], axis=-1), turned)
        else:
            if kernel.w is not None:
                z = z + (x @ kernel.w if wx is None else wx)
            if kernel.u is not None:
                assert v is not None
                z = z + v @ kernel.u
        return jnp.split(z, z.shape[-1] // hidden_size, axis=-1)

    def step(state: State, inputs: tuple[Array, Any, Array | None, Array | None], _: None) -> tuple[State, Any, Any]:
        x, x_products, valid, reset = inputs
        if reset is not None:
            state = _where(reset, restart, state)
        products = [partial(product, *prepared, x) for prepared in zip(kernels, turned, x_products, strict=True)]
        next_state, (y, vs, saved) = equations.step(products, state)
        if valid is not None:
            next_state = _where(valid, next_state, state)
        return next_state, (y, vs if save else None), saved if save else None

    hs = _over_all_steps(state, xs)
    outputs = hs, tuple(hs for read in set(equations.reads) if read is not None) if save else None
    ordered = not save and _is_small(rows, hidden_size)
    inputs = xs, x_products, valid, resets
    state, (ys, vs), saved = _over_time(step, state, inputs, outputs, reverse=reverse, ordered=ordered)
    return state, ys, saved, vs


def _hoists_input(batch_size: int) -> bool:
    """Tells whether `W x` is formed for all steps before the loop.

    That makes one large product of many narrow ones, but an array of its own to write and to read. It pays where each
    step reads the kernels for a single row.
    """
    return batch_size == 1


def _turned(kernel: Kernel, batch_size: int, hidden_size: int) -> Float[Array, "G M"] | None:
    """Turns the weights of a product of both input and state, M = I + H, where they better stand on the left.

    With 32 rows of 256 units or more that takes 0.75 to 0.95 of the time forward, and 0.9 to 1.0 with gradient, of an
    LSTM, whose product has four gates; a GRU, with two, needs a state as large as 64 rows of 512. With less it takes up
    to 1.5 times.
    """
    w, u, b = kernel
    least_size = {4: 32 * 256, 2: 64 * 512}.get(b.size // hidden_size, math.inf)
    if w is None or u is None or batch_size < 32 or hidden_size < 256 or batch_size * hidden_size < least_size:
        return None
    return jnp.concatenate([w, u]).T


def _is_small(batch_size: int, hidden_size: int) -> bool:
    """Tells whether a step that keeps nothing for the gradient takes so little that its operations better run in order.

    A GRU of 8 rows and 64 units then takes 0.55 of the time, one of 16 rows and 128 units 0.85.
    """
    return batch_size * hidden_size <= 4096


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _loop(equations: Equations, reverse: bool, *args: Any) -> tuple[State, Array]:
    final_state, ys, _, _ = _forward(equations, reverse, False, *args)
    return final_state, ys


def _loop_forward(equations: Equations, reverse: bool, *args: Any) -> tuple[Any, Any]:
    final_state, ys, saved, vs = _forward(equations, reverse, True, *args)
    kernels, _, _, xs, valid, resets = args
    return (final_state, ys), (kernels, xs, ys, saved, vs, valid, resets)


def _loop_backward(equations: Equations, reverse: bool, residuals: Any, gradients: Any) -> tuple[Any, ...]:
    kernels, xs, ys, saved, vs, valid, resets = residuals
    d_state, d_ys = gradients
    zero = jax.tree.map(jnp.zeros_like, d_state)
    transposed = [None if u is None else u.T for _, u, _ in kernels]
    products_back = [lambda *d_gates, u=u: jnp.concatenate(d_gates, axis=-1) @ u for u in transposed]

    def step(carry: tuple[State, State], inputs: tuple[Any, ...], saved: Any) -> tuple[Any, list[Array], None]:
        d_state, d_restart = carry
        d_y, y, vs, valid, reset = inputs
        d_next = d_state
        if valid is not None:
            d_next, d_y = _where(valid, (d_state, d_y), jax.tree.map(jnp.zeros_like, (d_state, d_y)))
        before, d_zs = equations.step_back(products_back, d_next, d_y, Step(y, vs, saved))
        if valid is not None:
            before = _where(valid, before, d_state)
        if reset is not None:
            d_restart = jax.tree.map(jnp.add, d_restart, _where(reset, before, zero))
            before = _where(reset, zero, before)
        return (before, d_restart), [jnp.concatenate(d_gates, axis=-1) for d_gates in d_zs], None

    d_zs = [lax.empty((*xs.shape[:2], b.size), d_ys.dtype) for _, _, b in kernels]
    inputs = d_ys, ys, vs, valid, resets
    (d_state, d_restart), d_zs, _ = _over_time(
        step, (d_state, zero), inputs, d_zs, saved, reverse=not reverse, ordered=False
    )
    d_kernels = [
        Kernel(
            None if w is None else _outer_products(xs, d_z),
            None if read is None else _outer_products(vs[read], d_z),
            d_z.sum((0, 1)),
        )
        for (w, _, _), read, d_z in zip(kernels, equations.reads, d_zs, strict=True)
    ]
    d_xs = sum(_inputs_back(d_z, w) for (w, _, _), d_z in zip(kernels, d_zs, strict=True) if w is not None)
    return d_kernels, d_state, d_restart, d_xs, None, None


_loop.defvjp(_loop_forward, _loop_backward)


def _outer_products(vs: Float[Array, "B T M"], d_zs: Float[Array, "B T N"]) -> Float[Array, "M N"]:
    """Sums `v d_z'` over steps and rows, in that order: einsum takes the other, and copies both arrays to do so."""
    return lax.dot_general(vs, d_zs, (((0, 1), (0, 1)), ((), ())))


def _inputs_back(d_z: Float[Array, "B T G"], w: Float[Array, "I G"]) -> Float[Array, "B T I"]:
    """Forms the gradient of the inputs; a convolution takes 0.85 of the time from 2048 columns, as of 512 units."""
    return product_by_convolution(d_z, w.T) if w.shape[1] >= 2048 else d_z @ w.T


def _where(condition: Bool[Array, " B"], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition[:, None], n, o), new, old)
