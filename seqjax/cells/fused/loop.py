"""The forward and backward loops over the steps of a sequence, for a cell that provides the gradient of one step.

Such a cell uses its parameters only in products with its input `x` and a vector `v`, which is its hidden state or is
computed from it:

    z = W x + U v + b

For each product, the loop stores the gradient of `z` and also `v`, once for all products that read it. Their outer
products, summed over all steps and rows, are the gradient of `U`. The outer products of `x` and the gradient of `z` are
the gradient of `W`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from seqjax.cells.fused.cpu import in_order, product_by_convolution, product_weights_left

State = Any  # leaves [B, H]
Gates = Sequence[Array]  # each [B, H]


class Step(NamedTuple):
    """The results of one step."""

    y: Float[Array, "B H"]
    vs: tuple[Array, ...]  # each [B, H], read by its products besides the input
    saved: Any  # leaves [B, H], read by its gradient besides these


class Equations(NamedTuple):
    """One step of a cell and its gradient."""

    # (products v -> gates of z, state) -> (next_state, left)
    step: Callable[[Sequence[Callable[..., Gates]], State], tuple[State, Step]]
    # (gates of d_z -> d_v of each product, d_next_state, d_y, left) -> (d_state, gates of each d_z)
    step_back: Callable[[Sequence[Callable[..., Array]], State, Array, Step], tuple[State, Sequence[Gates]]]
    # for each product, the index in vs that it reads; None if it reads only the input
    reads: tuple[int | None, ...]


class Kernel(NamedTuple):
    """The parameters of one product; `w` is None if it does not read the input, `u` if it reads only the input."""

    w: Float[Array, "I G"] | None
    u: Float[Array, "H G"] | None
    b: Float[Array, " G"]


def sigmoid_back(gate: Array, d_gate: Array) -> Array:
    """Returns the gradient of `z`, where `gate = sigmoid(z)`."""
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
    """Runs a cell over a sequence, under the contract in `seqjax.cells.sequence`."""
    if xs.shape[1] == 0:
        return state, _over_all_steps(state, xs)
    args = kernels, state, restart, xs.astype(kernels[0].b.dtype), valid, resets
    try:  # under jit, JAX raises the error later, with a traceback that shows the next line and its comment
        return _loop(equations, reverse, *args)  # no forward mode: use cell._replace(sequence=None)
    except TypeError as error:
        if "forward-mode" in str(error):
            error.add_note("A faster sequence has no forward mode; scan the step: cell._replace(sequence=None).")
        raise


def _over_all_steps(state: State, xs: Float[Array, "B T I"]) -> Float[Array, "B T H"]:
    """Returns an array with a vector of the hidden size for each step, to be written to."""
    h = jax.tree.leaves(state)[0]
    return _array_like(xs, h.shape[-1], h.dtype)


def _array_like(xs: Float[Array, "B T I"], features: int, dtype: Any) -> Float[Array, "B T M"]:
    """Returns zeros [B, T, features] on the devices that hold the rows of `xs`."""
    return jnp.broadcast_to(jnp.zeros_like(xs[..., :1], dtype), (*xs.shape[:2], features))


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
    """Scans `step(carry, input, stacked) -> (carry, output, stacked)` over [B, T, ...] without transposing.

    Each input is sliced from its array. Each output is written into an array, whose previous values do not matter.
    `stacked` is [T, B, ...], because only another loop reads it. `ordered` makes the operations of a step run in order.
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

    # unsigned, because a signed index may count from the end, which JAX would check at every step
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
    weights_left = [_weights_left(kernel, rows, hidden_size) for kernel in kernels]

    def product(
        kernel: Kernel, weights_left: Array | None, wx: Array | None, x: Array, v: Array | None = None
    ) -> Gates:
        z = jnp.broadcast_to(kernel.b, (rows, kernel.b.size))
        if weights_left is not None:
            assert v is not None
            z = z + product_weights_left(jnp.concatenate([x, v], axis=-1), weights_left)
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
        products = [partial(product, *prepared, x) for prepared in zip(kernels, weights_left, x_products, strict=True)]
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


def _hoists_input(batch_size: Any) -> bool:
    """Returns whether to compute `W x` for all steps before the loop.

    That replaces many narrow products with a large one, but writes and reads an extra array. It is faster if each step
    reads the kernels for a single row.
    """
    return batch_size == 1


def _weights_left(kernel: Kernel, batch_size: Any, hidden_size: int) -> Float[Array, "G M"] | None:
    """Transposes the weights of a product of input and state, M = I + H, if they are better as the left factor.

    A large product is faster with the weights on the left, a small one slower. The batch must have at least 32 rows,
    the state at least 256 units, and rows times units must reach a limit that depends on the gates in the product:

        4 gates (LSTM)    32 * 256
        2 gates (GRU)     64 * 512
        others            never

    Returns None if the weights are better as the right factor, or if the size of the batch is symbolic.
    """
    w, u, b = kernel
    least_size = {4: 32 * 256, 2: 64 * 512}.get(b.size // hidden_size, math.inf)
    if w is None or u is None or not isinstance(batch_size, int):
        return None
    if batch_size < 32 or hidden_size < 256 or batch_size * hidden_size < least_size:
        return None
    return jnp.concatenate([w, u]).T


def _is_small(batch_size: Any, hidden_size: int) -> bool:
    """Returns whether a step that stores nothing for the gradient is so small that its operations should run in order.

    Distributing the operations of such a step over threads takes longer than the operations themselves. A symbolic size
    of the batch is not small.
    """
    return isinstance(batch_size, int) and batch_size * hidden_size <= 4096


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

    d_zs = [_array_like(xs, b.size, d_ys.dtype) for _, _, b in kernels]
    inputs = d_ys, ys, vs, valid, resets
    (d_state, d_restart), d_zs, _ = _over_time(
        step, (d_state, zero), inputs, d_zs, saved, reverse=not reverse, ordered=False
    )
    d_kernels = [
        Kernel(
            None if w is None else _outer_products(xs, d_z, w),
            None if u is None else _outer_products(vs[read], d_z, u),
            d_z.sum((0, 1)),
        )
        for (w, u, _), read, d_z in zip(kernels, equations.reads, d_zs, strict=True)
    ]
    d_xs = sum(_inputs_back(d_z, w) for (w, _, _), d_z in zip(kernels, d_zs, strict=True) if w is not None)
    return d_kernels, d_state, d_restart, d_xs, None, None


_loop.defvjp(_loop_forward, _loop_backward)


def _outer_products(
    vs: Float[Array, "B T M"], d_zs: Float[Array, "B T N"], kernel: Float[Array, "M N"]
) -> Float[Array, "M N"]:
    """Sums `v d_z'` over steps and rows, in that order; einsum uses the other order and copies both arrays.

    If the rows are split over an explicit axis of a mesh, the sum has the sharding of the kernel whose gradient it is.
    """
    out_sharding = None if jax.typeof(vs).sharding.spec[0] is None else jax.typeof(kernel).sharding
    return lax.dot_general(vs, d_zs, (((0, 1), (0, 1)), ((), ())), out_sharding=out_sharding)


def _inputs_back(d_z: Float[Array, "B T G"], w: Float[Array, "I G"]) -> Float[Array, "B T I"]:
    """Computes the gradient of the inputs; from 2048 columns (an LSTM of 512 units), a convolution is faster."""
    return product_by_convolution(d_z, w.T) if w.shape[1] >= 2048 else d_z @ w.T


def _where(condition: Bool[Array, " B"], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition[:, None], n, o), new, old)
