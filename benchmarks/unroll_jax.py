"""The JAX side of `unroll`: a recurrent layer of each library, as its own documentation shows.

Each is a function `(cell, sizes) -> (params, apply)` with a pure `apply(params, xs [B, T, I]) -> ys [B, T, H]`. The
gradient, the compilation and the placement of the arrays are the same for all libraries.
"""

import contextlib
import importlib.metadata
import os
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import seqjax
from benchmarks import peer, unroll_work
from benchmarks.unroll_work import Sizes

Layer = tuple[Any, Callable[[Any, jax.Array], jax.Array]]
CELLS = {
    "lstm": seqjax.lstm,
    "gru": seqjax.gru,
    "gru_reset_after": partial(seqjax.gru, reset_after=True),
    "simple_rnn": seqjax.simple_rnn,
}
PRODUCT = 2048  # rows and columns of the large matrices whose product is the reference rate


def seqjax_layer(cell: str, sizes: Sizes) -> Layer:
    cell = CELLS[cell](sizes.hidden)
    return cell.init(jax.random.key(0), input_size=sizes.inputs), lambda params, xs: seqjax.unroll(cell, params, xs)[1]


def seqjax_random_lengths(cell: str, sizes: Sizes) -> Layer:
    cell = CELLS[cell](sizes.hidden)
    lengths = jnp.asarray(unroll_work.random_lengths(sizes))
    widths = sizes.inputs, *(unroll_work.LAYERS - 1) * [2 * sizes.hidden]
    keys = jax.random.split(jax.random.key(0), (unroll_work.LAYERS, 2))
    params = [tuple(cell.init(key, input_size=width) for key in pair) for width, pair in zip(widths, keys, strict=True)]

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        for pair in params:
            _, xs = seqjax.bidirectional((cell, cell), pair, xs, lengths=lengths)
        return xs

    return params, apply


def linen_layer(cell: str, sizes: Sizes) -> Layer:
    from flax import linen as nn

    cells = {"lstm": nn.OptimizedLSTMCell, "gru_reset_after": nn.GRUCell, "simple_rnn": nn.SimpleCell}
    rnn = nn.RNN(cells[cell](sizes.hidden))
    return rnn.init(jax.random.key(0), jnp.zeros((1, 1, sizes.inputs))), rnn.apply


def nnx_layer(cell: str, sizes: Sizes) -> Layer:
    from flax import nnx

    cells = {"lstm": nnx.OptimizedLSTMCell, "gru_reset_after": nnx.GRUCell, "simple_rnn": nnx.SimpleCell}
    rngs = nnx.Rngs(0)
    rnn = nnx.RNN(cells[cell](sizes.inputs, sizes.hidden, rngs=rngs), rngs=rngs)
    definition, params, others = nnx.split(rnn, nnx.Param, ...)
    return params, lambda params, xs: nnx.merge(definition, params, others, copy=True)(xs)


def haiku_layer(cell: str, sizes: Sizes) -> Layer:
    import haiku as hk

    cells = {"lstm": hk.LSTM, "gru": hk.GRU, "simple_rnn": hk.VanillaRNN}

    @hk.without_apply_rng
    @hk.transform
    def rnn(xs: jax.Array) -> jax.Array:
        core = cells[cell](sizes.hidden)
        return hk.dynamic_unroll(core, xs, core.initial_state(len(xs)), time_major=False)[0]

    return rnn.init(jax.random.key(0), jnp.zeros((1, 1, sizes.inputs))), rnn.apply


def equinox_layer(cell: str, sizes: Sizes) -> Layer:
    import equinox as eqx

    cells = {"lstm": eqx.nn.LSTMCell, "gru_reset_after": eqx.nn.GRUCell}
    params, static = eqx.partition(cells[cell](sizes.inputs, sizes.hidden, key=jax.random.key(0)), eqx.is_array)
    zeros = jnp.zeros(sizes.hidden)

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        module = eqx.combine(params, static)

        def step(state: Any, x: jax.Array) -> tuple[Any, jax.Array]:
            state = module(x, state)
            return state, state[0] if cell == "lstm" else state

        start = (zeros, zeros) if cell == "lstm" else zeros
        return jax.vmap(lambda xs: jax.lax.scan(step, start, xs)[1])(xs)

    return params, apply


def keras_layer(cell: str, sizes: Sizes) -> Layer:
    os.environ["KERAS_BACKEND"] = "jax"  # read once, when keras is imported
    from keras import layers

    cells = {
        "lstm": layers.LSTM,
        "gru": partial(layers.GRU, reset_after=False),
        "gru_reset_after": layers.GRU,
        "simple_rnn": layers.SimpleRNN,
    }
    layer = cells[cell](sizes.hidden, return_sequences=True)
    layer.build((sizes.batch, sizes.steps, sizes.inputs))
    params, others = ([each.value for each in v] for v in (layer.trainable_variables, layer.non_trainable_variables))
    return params, lambda params, xs: layer.stateless_call(params, others, xs)[0]


LAYERS = {
    "seqjax": seqjax_layer,
    "seqjax_random_lengths": seqjax_random_lengths,
    "flax.linen": linen_layer,
    "flax.nnx": nnx_layer,
    "haiku": haiku_layer,
    "equinox": equinox_layer,
    "keras": keras_layer,
}


@cache
def placed(seed: int, shape: tuple[int, ...], axis: int = 0) -> jax.Array:
    """Draws an array and shards its batch axis over the devices, if the batch divides evenly."""
    return jax.device_put(unroll_work.normal(seed, shape), _sharding(shape[axis], *axis * [None], "batch"))


def _sharding(rows: int, *axes: str | None) -> NamedSharding:
    devices = jax.devices()
    return NamedSharding(Mesh(devices if rows % len(devices) == 0 else devices[:1], ("batch",)), PartitionSpec(*axes))


def layer_products(cell: str, sizes: Sizes, gradient: bool) -> tuple[Callable, tuple]:
    """Returns the matrix products of a layer, with little else, and their arguments; a step waits for the last."""
    batch, steps, inputs, hidden = sizes
    gates = unroll_work.GATES[cell]
    width = gates * hidden
    xs, hs, d_zs = (placed(seed, (steps, batch, size), axis=1) for seed, size in enumerate((inputs, hidden, width)))
    w, u = jax.device_put(
        [unroll_work.normal(3, (size, width)) / width**0.5 for size in (inputs, hidden)], _sharding(batch)
    )

    def forward(w: jax.Array, u: jax.Array, xs: jax.Array) -> jax.Array:
        def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
            z = (x @ w if batch > 1 else x) + h @ u
            return sum(jnp.split(z, gates, axis=-1)), None

        start = jnp.zeros((batch, hidden))
        return jax.lax.scan(step, start, xs if batch > 1 else xs @ w)[0]

    def backward(u: jax.Array, d_zs: jax.Array) -> jax.Array:
        transposed = u.T

        def step(d_h: jax.Array, d_z: jax.Array) -> tuple[jax.Array, None]:
            return (d_z + jnp.tile(d_h, gates)) @ transposed, None

        return jax.lax.scan(step, jnp.zeros((batch, hidden)), d_zs)[0]

    def with_gradient(w: jax.Array, u: jax.Array, xs: jax.Array, hs: jax.Array, d_zs: jax.Array) -> Any:
        d_w, d_u = (jax.lax.dot_general(vs, d_zs, (((0, 1), (0, 1)), ((), ()))) for vs in (xs, hs))
        return forward(w, u, xs), backward(u, d_zs), d_w, d_u, d_zs @ w.T

    return (with_gradient, (w, u, xs, hs, d_zs)) if gradient else (forward, (w, u, xs))


def work(*, what: str, cell: str, sizes: Sizes, gradient: bool) -> tuple[Callable, tuple]:
    """Returns the function to compile and its arguments; `gradient` adds the gradients of parameters and inputs."""
    if what == "product":
        a, b = jax.device_put((unroll_work.normal(0, (PRODUCT, PRODUCT)), unroll_work.normal(1, (PRODUCT, PRODUCT))))
        return jnp.matmul, (a, b)
    if what == "layer_products":
        return layer_products(cell, sizes, gradient)
    params, apply = LAYERS[what](cell, sizes)
    params = jax.device_put(params, _sharding(sizes.batch))
    xs = placed(0, (sizes.batch, sizes.steps, sizes.inputs))
    if not gradient:
        return apply, (params, xs)

    def with_gradient(params: Any, xs: jax.Array, cotangents: jax.Array) -> tuple[jax.Array, tuple[Any, jax.Array]]:
        ys, pull_back = jax.vjp(apply, params, xs)
        return ys, pull_back(cotangents)

    return with_gradient, (params, xs, placed(1, jax.eval_shape(apply, params, xs).shape))


def prepare(*, what: str, cell: str, sizes: dict[str, int], gradient: bool) -> Callable[[], dict[str, Any]]:
    """Returns the function to time; it returns its output shape, compile seconds, bytes and number of devices."""
    function, args = work(what=what, cell=cell, sizes=Sizes(**sizes), gradient=gradient)
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    seconds = time.perf_counter() - start
    analysis = compiled.memory_analysis()  # per device
    needed = analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes
    devices = len(jax.tree.leaves(args)[-1].sharding.device_set)

    def run() -> dict[str, Any]:
        results = jax.block_until_ready(compiled(*args))
        shape = jax.tree.leaves(results)[0].shape
        return {"shape": shape, "compile": seconds, "bytes": devices * needed, "devices": devices}

    return run


def versions() -> dict[str, str]:
    named = {"seqjax": seqjax.__version__}
    for name in ("jax", "jaxlib", "flax", "dm-haiku", "equinox", "keras"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            named[name] = importlib.metadata.version(name)
    return named


if __name__ == "__main__":
    peer.serve(versions(), prepare)
