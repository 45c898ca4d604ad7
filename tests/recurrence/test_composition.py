"""Every cell under every transformation and strict mode of JAX computes what a plain scan of its step computes.

An entry of the matrix is a cell, a transformation and a mode. `pytest --matrix` runs all entries; otherwise, Hypothesis
draws some of them, with any lengths, resets, initial state, direction and rematerialisation.
"""

import contextlib
import dataclasses
import multiprocessing
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from flax import linen as nn
from flax import nnx
from flax.serialization import to_state_dict
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import seqjax
from seqjax.cells import irnn
from seqjax.layers.linen import Recurrent

# The check of signatures asks for ints and arrays, where export passes a symbolic size and NNX an nnx.Param.
pytestmark = pytest.mark.usefixtures("unchecked")

B, T, F, H = 4, 3, 2, 3

# A key cannot be made before the second process has made its devices, so cells are built when they are used.
CELLS = {
    "simple_rnn": lambda: seqjax.simple_rnn(H),
    "simple_rnn_relu": lambda: seqjax.simple_rnn(H, activation="relu", use_bias=False),
    "irnn": lambda: irnn(H),
    "jordan_rnn": lambda: seqjax.jordan_rnn(H, F),
    "lstm": lambda: seqjax.lstm(H),
    "lstm_peepholes": lambda: seqjax.lstm(H, peepholes=True),
    "lstm_projection": lambda: seqjax.lstm(H, projection_size=2),
    "lstm_coupled": lambda: seqjax.lstm(H, coupled=True),
    "lstm_cell_clip": lambda: seqjax.lstm(H, cell_clip=0.2),
    "gru": lambda: seqjax.gru(H),
    "gru_reset_after": lambda: seqjax.gru(H, reset_after=True),
    "learned_initial_state": lambda: seqjax.learned_initial_state(seqjax.lstm(H)),
    "learned_zoneout": lambda: seqjax.learned_initial_state(seqjax.zoneout(seqjax.lstm(H), 0.2, key=None)),
    "stack": lambda: seqjax.stack([seqjax.lstm(H), seqjax.gru(H)]),
    "stack_residual": lambda: seqjax.stack([seqjax.lstm(H), seqjax.gru(H)], residual=True),
    "layer_norm": lambda: seqjax.layer_norm(seqjax.gru(H)),
    "zoneout": lambda: seqjax.zoneout(seqjax.gru(H), 0.5, key=jax.random.key(1)),
    "weight_drop": lambda: seqjax.weight_drop(seqjax.lstm(H), 0.5, key=jax.random.key(2)),
    "recurrent_dropout": lambda: seqjax.recurrent_dropout(seqjax.gru(H), 0.5, key=jax.random.key(3)),
    "zoneout_layer_norm": lambda: seqjax.zoneout(seqjax.layer_norm(seqjax.lstm(H)), 0.5, key=jax.random.key(4)),
    "stack_wrapped": lambda: seqjax.stack(
        [
            seqjax.learned_initial_state(seqjax.weight_drop(seqjax.lstm(H), 0.5, key=jax.random.key(5))),
            seqjax.zoneout(seqjax.gru(H), 0.5, key=jax.random.key(6)),
            seqjax.layer_norm(seqjax.gru(H)),
        ],
        dropout_rate=0.5,
        key=jax.random.key(7),
    ),
}
MODES = {
    "normal": contextlib.nullcontext,
    "rank_promotion": partial(jax.numpy_rank_promotion, "raise"),
    "dtype_promotion": partial(jax.numpy_dtype_promotion, "strict"),
    "disable_jit": jax.disable_jit,
}


class Options(NamedTuple):
    """What an entry passes to `unroll` besides the parameters and inputs."""

    lengths: bool = True
    resets: bool = True
    initial_state: bool = True
    reverse: bool = False
    remat_every: int | None = None


class Inputs(NamedTuple):
    """The arrays of a call of `unroll`; the last three may be None."""

    params: Any
    xs: jax.Array
    state: Any
    lengths: jax.Array | None
    resets: jax.Array | None


def random_inputs(cell: seqjax.Cell, options: Options) -> Inputs:
    """The same for equal arguments; the padding is clean."""
    params = jax.eval_shape(lambda key: cell.init(key, input_size=F), jax.random.key(0))
    state = jax.eval_shape(lambda params: cell.initial_state(params, (B,)), params)

    def random(seed: int, tree: Any) -> Any:
        return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), oracles.random_like(seed, tree), tree)

    return Inputs(
        params=random(0, params),
        xs=random(1, jax.ShapeDtypeStruct((B, T, F), jnp.float32)),
        state=random(2, state) if options.initial_state else None,
        lengths=jnp.array([3, 0, 2, 1], jnp.int32) if options.lengths else None,
        resets=jnp.array([[0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0]], bool) if options.resets else None,
    )


def with_nan_in_the_padding(inputs: Inputs) -> Inputs:
    if inputs.lengths is None:
        return inputs
    valid = (np.arange(T) < np.asarray(inputs.lengths)[:, None])[..., None]
    return inputs._replace(xs=jnp.asarray(np.where(valid, inputs.xs, np.nan), inputs.xs.dtype))


@dataclasses.dataclass(frozen=True)
class Unroll:
    """`seqjax.unroll` as a function of its arrays alone."""

    cell: seqjax.Cell
    options: Options

    def __call__(self, inputs: Inputs) -> tuple[Any, jax.Array]:
        params, xs, state, lengths, resets = inputs
        return seqjax.unroll(
            self.cell,
            params,
            xs,
            lengths=lengths,
            resets=resets,
            initial_state=state,
            reverse=self.options.reverse,
            remat_every=self.options.remat_every,
        )


@dataclasses.dataclass(frozen=True)
class Scan:
    """What `Unroll` must equal: a scan that calls nothing of the library but the cell's own functions."""

    cell: seqjax.Cell
    options: Options

    def __call__(self, inputs: Inputs) -> tuple[Any, jax.Array]:
        params, xs, state, lengths, resets = inputs
        rows, steps, _ = xs.shape
        restart = self.cell.initial_state(params, (rows,))
        valid = jnp.ones((rows, steps), bool) if lengths is None else jnp.arange(steps) < lengths[:, None]
        begins = jnp.zeros((rows, steps), bool) if resets is None else resets & valid
        if self.options.reverse:  # the state restarts before the last step of a sequence, not the first
            begins = jnp.roll(begins, -1, axis=1).at[:, -1].set(False)

        def select(condition: jax.Array, new: Any, old: Any) -> Any:
            return jax.tree.map(jax.vmap(jnp.where), jax.tree.map(lambda _: condition, new), new, old)

        def step(state: Any, now: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            x, valid, begins = now
            state = select(begins, restart, state)
            next_state, y = self.cell.step(params, state, x)
            return select(valid, next_state, state), select(valid, y, jnp.zeros_like(y))

        by_time = [jnp.moveaxis(array, 1, 0) for array in (xs, valid, begins)]
        start = restart if state is None else state
        final_state, ys = jax.lax.scan(step, start, by_time, reverse=self.options.reverse)
        return final_state, jnp.moveaxis(ys, 0, 1)


Run = Unroll | Scan


def compiled(transform: Callable[[Run, Inputs], Any]) -> Callable[[Run, Inputs], Any]:
    """Compiles the whole of a transformation, which takes less time than to compile its parts."""
    return lambda run, inputs: jax.jit(partial(transform, run))(inputs)


# What is compared: values, and derivatives of the sum of squares of everything that is computed.


def is_float(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def energy(result: Any) -> jax.Array:
    return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(result) if is_float(leaf))


def of_floats(function: Callable, inputs: Inputs) -> tuple[Callable, list[jax.Array]]:
    """Makes a function of the arrays of floats in the inputs, which can be differentiated, and returns these arrays."""
    leaves, structure = jax.tree.flatten(inputs)

    def of_them(floats: list[jax.Array]) -> Any:
        given = iter(floats)
        return function(structure.unflatten(next(given) if is_float(leaf) else leaf for leaf in leaves))

    return of_them, [leaf for leaf in leaves if is_float(leaf)]


def of_smallest_parameter(function: Callable, inputs: Inputs) -> tuple[Callable, jax.Array]:
    leaves, structure = jax.tree.flatten(inputs.params)
    smallest = min((n for n, leaf in enumerate(leaves) if is_float(leaf)), key=lambda n: leaves[n].size)

    def of_it(leaf: jax.Array) -> Any:
        params = structure.unflatten([*leaves[:smallest], leaf, *leaves[smallest + 1 :]])
        return function(inputs._replace(params=params))

    return of_it, leaves[smallest]


def call(run: Run, inputs: Inputs) -> Any:
    return run(inputs)


@compiled
def grad(run: Run, inputs: Inputs) -> Any:
    """With respect to parameters, inputs and initial state."""
    function, floats = of_floats(lambda inputs: energy(run(inputs)), inputs)
    return jax.grad(function)(floats)


@compiled
def grad_of_parameters(run: Run, inputs: Inputs) -> Any:
    return jax.grad(lambda params: energy(run(inputs._replace(params=params))))(inputs.params)


@compiled
def grad_of_grad(run: Run, inputs: Inputs) -> Any:
    function, floats = of_floats(lambda inputs: energy(run(inputs)), inputs)
    return jax.grad(lambda floats: energy(jax.grad(function)(floats)))(floats)


@compiled
def jvp(run: Run, inputs: Inputs) -> Any:
    function, floats = of_floats(
        lambda inputs: [leaf for leaf in jax.tree.leaves(run(inputs)) if is_float(leaf)], inputs
    )
    return jax.jvp(function, (floats,), ([jnp.ones_like(leaf) for leaf in floats],))


@compiled
def jacfwd(run: Run, inputs: Inputs) -> Any:
    function, leaf = of_smallest_parameter(lambda inputs: run(inputs)[1], inputs)
    return jax.jacfwd(function)(leaf)


@compiled
def hessian(run: Run, inputs: Inputs) -> Any:
    function, leaf = of_smallest_parameter(lambda inputs: energy(run(inputs)), inputs)
    return jax.hessian(function)(leaf)


# The transformations: what JAX or Flax does to the fast path.


def jit(run: Run, inputs: Inputs) -> Any:
    return jax.jit(run)(inputs)


def checkpoint_grad(run: Run, inputs: Inputs) -> Any:
    return grad(jax.checkpoint(run), inputs)


BATCHES = Inputs(params=None, xs=0, state=0, lengths=0, resets=0)  # the axes of `two_batches`
MODELS = Inputs(params=0, xs=None, state=None, lengths=None, resets=None)  # and of `two_models`


def two_batches(inputs: Inputs) -> Inputs:
    """Adds a second batch, of the same rows in reverse order."""
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), inputs._replace(params=None))
    return both._replace(params=inputs.params)


def two_models(inputs: Inputs) -> Inputs:
    return inputs._replace(params=jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), inputs.params))


def take(number: int, inputs: Inputs, axes: Inputs) -> Inputs:
    parts = zip(inputs, axes, strict=True)
    return Inputs(*(part if axis is None else jax.tree.map(lambda leaf: leaf[number], part) for part, axis in parts))


@compiled
def each_batch(run: Run, inputs: Inputs) -> Any:
    results = [run(take(n, two_batches(inputs), BATCHES)) for n in range(2)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


@compiled
def vmap_inputs(run: Run, inputs: Inputs) -> Any:
    return jax.vmap(run, in_axes=(BATCHES,))(two_batches(inputs))


@compiled
def lax_map(run: Run, inputs: Inputs) -> Any:
    return jax.lax.map(
        lambda batch: run(batch._replace(params=inputs.params)), two_batches(inputs)._replace(params=None)
    )


@compiled
def each_model(run: Run, inputs: Inputs) -> Any:
    results = [run(take(n, two_models(inputs), MODELS)) for n in range(2)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


@compiled
def vmap_params(run: Run, inputs: Inputs) -> Any:
    return jax.vmap(run, in_axes=(MODELS,))(two_models(inputs))


@compiled
def batch_after_batch(run: Run, inputs: Inputs) -> Any:
    """The second batch starts from the final state of the first."""
    state, first = run(inputs)
    state, second = run(take(1, two_batches(inputs), BATCHES)._replace(state=state))
    return state, jnp.stack([first, second])


@compiled
def scan_over_batches(run: Run, inputs: Inputs) -> Any:
    start = run.cell.initial_state(inputs.params, (B,)) if inputs.state is None else inputs.state
    batches = two_batches(inputs)._replace(params=None, state=None)
    return jax.lax.scan(lambda state, batch: run(batch._replace(params=inputs.params, state=state)), start, batches)


# On a mesh of two devices, each with half of the rows.

ROWS = Inputs(params=P(), xs=P("rows"), state=P("rows"), lengths=P("rows"), resets=P("rows"))


@compiled
def each_half(run: Run, inputs: Inputs) -> Any:
    """What `shard_map` means: a device runs its own rows as if there were no others, random draws included."""
    rows = inputs._replace(params=None)
    halves = [jax.tree.map(lambda leaf, n=n: leaf[n : n + B // 2], rows) for n in (0, B // 2)]
    results = [run(half._replace(params=inputs.params)) for half in halves]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *results)


def on_each_device(function: Callable, out_specs: P) -> Callable[[Inputs], Any]:
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=(ROWS,), out_specs=out_specs))


def shard_map(run: Run, inputs: Inputs) -> Any:
    return on_each_device(run, P("rows"))(inputs)


def grad_of_shard_map(run: Run, inputs: Inputs) -> Any:
    return grad(on_each_device(run, P("rows")), inputs)


def grad_in_shard_map(run: Run, inputs: Inputs) -> Any:
    """Training with data parallelism: JAX adds the gradients of the devices, because all hold the same parameters."""
    return on_each_device(partial(grad_of_parameters, run), P())(inputs)


def on_explicit_mesh(function: Callable, inputs: Inputs) -> Any:
    """The sharding of rows is part of the type of every array."""
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        placed = [jax.device_put(part, NamedSharding(mesh, spec)) for part, spec in zip(inputs, ROWS, strict=True)]
        return jax.jit(function)(Inputs(*placed))


def explicit_mesh(run: Run, inputs: Inputs) -> Any:
    return on_explicit_mesh(run, inputs)


def grad_on_explicit_mesh(run: Run, inputs: Inputs) -> Any:
    return on_explicit_mesh(partial(grad, run), inputs)


# Export: written to bytes with symbolic sizes, read back, and called with numbers for them.


def exported(function: Callable, inputs: Inputs, rows: str, steps: str = "...") -> Any:
    """Runs a function after a round trip; `rows` and `steps` name the symbolic sizes."""
    per_row, per_step = f"{rows}, ...", f"{rows}, {steps}" + ("" if steps == "..." else ", ...")
    symbolic = Inputs(params="...", xs=per_step, state=per_row, lengths=rows, resets=f"{rows}, {steps}")
    leaves, structure = jax.tree.flatten(inputs)
    specs = jax.tree.leaves(jax.export.symbolic_args_specs(inputs, symbolic))
    on_leaves = jax.jit(lambda leaves: jax.tree.leaves(function(structure.unflatten(leaves))))
    written = jax.export.export(on_leaves)(specs).serialize()
    return jax.export.deserialize(written).call(leaves)


def export_rows(run: Run, inputs: Inputs) -> Any:
    return exported(run, inputs, "rows")


def export_rows_and_steps(run: Run, inputs: Inputs) -> Any:
    return exported(run, inputs, "rows", "steps")


def export_grad(run: Run, inputs: Inputs) -> Any:
    return exported(partial(grad, run), inputs, "rows")


# Linen: the lifts pass on positional arguments only.


def linen_variables(inputs: Inputs) -> Any:
    return {"params": {"layer_0": to_state_dict(inputs.params)}}


def linen_arguments(inputs: Inputs) -> tuple:
    """(xs, lengths, resets, initial_states, deterministic)"""
    states = None if inputs.state is None else (inputs.state,)
    return inputs.xs, inputs.lengths, inputs.resets, states, True


def linen_apply(module: Callable, run: Run, inputs: Inputs) -> Any:
    (state,), ys = module(run.cell).apply(linen_variables(inputs), *linen_arguments(inputs))
    return state, ys


@compiled
def linen(run: Run, inputs: Inputs) -> Any:
    return linen_apply(Recurrent, run, inputs)


def linen_jit(run: Run, inputs: Inputs) -> Any:
    return linen_apply(nn.jit(Recurrent, static_argnums=5), run, inputs)


@compiled
def linen_remat_grad(run: Run, inputs: Inputs) -> Any:
    return grad(partial(linen_apply, nn.remat(Recurrent, static_argnums=5), run), inputs)


@compiled
def linen_vmap(run: Run, inputs: Inputs) -> Any:
    over_batches = nn.vmap(
        Recurrent, variable_axes={"params": None}, split_rngs={"params": False}, in_axes=(0, 0, 0, 0, None)
    )
    return linen_apply(over_batches, run, two_batches(inputs))


@compiled
def linen_scan(run: Run, inputs: Inputs) -> Any:
    """A scan over batches that carries the state."""

    def over_batches(model: Recurrent, states: Any, batches: Inputs) -> Any:
        scan = nn.scan(
            lambda model, states, batch: model(batch.xs, batch.lengths, batch.resets, states, True),
            variable_broadcast="params",
            split_rngs={"params": False},
        )
        return scan(model, states, batches)

    start = run.cell.initial_state(inputs.params, (B,)) if inputs.state is None else inputs.state
    batches = two_batches(inputs)._replace(params=None, state=None)
    (state,), ys = nn.apply(over_batches, Recurrent(run.cell))(linen_variables(inputs), (start,), batches)
    return state, ys


# NNX: a module that owns each parameter as an nnx.Param, in the cell's own tuple.


class Owner(nnx.Module):
    def __init__(self, run: Run, params: Any):
        self.run = run
        self.params = nnx.data(jax.tree.map(nnx.Param, params))

    def __call__(self, inputs: Inputs) -> Any:
        return self.run(inputs._replace(params=self.params))


def nnx_jit(run: Run, inputs: Inputs) -> Any:
    return nnx.jit(lambda owner, inputs: owner(inputs))(Owner(run, inputs.params), inputs)


def nnx_grad(run: Run, inputs: Inputs) -> Any:
    owner = Owner(run, inputs.params)
    nnx.update(owner, nnx.grad(lambda owner, inputs: energy(owner(inputs)))(owner, inputs))
    return owner.params  # now the gradients, in the order of the cell's own tuple


# Types of numbers. Results and gradients keep the type of what they belong to.


def cast(inputs: Inputs, dtype: Any) -> Inputs:
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if is_float(leaf) else leaf, inputs)


@compiled
def value_and_grad(run: Run, inputs: Inputs) -> Any:
    function, floats = of_floats(lambda inputs: (energy(result := run(inputs)), result), inputs)
    (_, result), gradients = jax.value_and_grad(function, has_aux=True)(floats)
    return result, gradients


def value_and_grad_in(dtype: Any, run: Run, inputs: Inputs) -> Any:
    result, gradients = value_and_grad(run, cast(inputs, dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves((result, gradients)) if is_float(leaf)} == {np.dtype(dtype)}
    return result, gradients


bfloat16 = partial(value_and_grad_in, jnp.bfloat16)
float16 = partial(value_and_grad_in, jnp.float16)


def mixed(run: Run, inputs: Inputs) -> Any:
    """The biases are float32, all else is bfloat16."""

    def cast_kernel(path: Any, leaf: jax.Array) -> jax.Array:
        return leaf if "bias" in jax.tree_util.keystr(path[-1:]) else leaf.astype(jnp.bfloat16)

    params = jax.tree_util.tree_map_with_path(cast_kernel, inputs.params)
    result, gradients = value_and_grad(run, cast(inputs, jnp.bfloat16)._replace(params=params, state=None))
    assert [leaf.dtype for leaf in gradients] == [*(leaf.dtype for leaf in jax.tree.leaves(params)), jnp.bfloat16]
    return result, gradients


def without_state(run: Run, inputs: Inputs) -> Any:
    return value_and_grad(run, inputs._replace(state=None))


def float64(run: Run, inputs: Inputs) -> Any:
    with jax.enable_x64(True):
        return value_and_grad_in(jnp.float64, run, inputs)


def float32_in_x64(run: Run, inputs: Inputs) -> Any:
    """In this mode, random draws differ from those without it, so the scan runs in it too."""
    with jax.enable_x64(True):
        return value_and_grad_in(jnp.float32, run, inputs)


class Transformation(NamedTuple):
    of_unroll: Callable[[Run, Inputs], Any]
    of_scan: Callable[[Run, Inputs], Any]  # that computes the same
    tolerance: float = 1e-5


TRANSFORMATIONS = {
    "call": Transformation(call, jit),
    "jit": Transformation(jit, jit),
    "vmap_inputs": Transformation(vmap_inputs, each_batch),
    "vmap_params": Transformation(vmap_params, each_model),
    "lax_map": Transformation(lax_map, each_batch),
    "scan_over_batches": Transformation(scan_over_batches, batch_after_batch),
    "grad": Transformation(grad, grad),
    "checkpoint_grad": Transformation(checkpoint_grad, grad),
    "grad_of_grad": Transformation(grad_of_grad, grad_of_grad, 1e-4),
    "jvp": Transformation(jvp, jvp),
    "jacfwd": Transformation(jacfwd, jacfwd),
    "hessian": Transformation(hessian, hessian, 1e-4),
    "shard_map": Transformation(shard_map, each_half),
    "grad_of_shard_map": Transformation(grad_of_shard_map, lambda run, inputs: grad(partial(each_half, run), inputs)),
    "grad_in_shard_map": Transformation(
        grad_in_shard_map, lambda run, inputs: grad_of_parameters(partial(each_half, run), inputs)
    ),
    "explicit_mesh": Transformation(explicit_mesh, jit),
    "grad_on_explicit_mesh": Transformation(grad_on_explicit_mesh, grad),
    "export_rows": Transformation(export_rows, jit),
    "export_rows_and_steps": Transformation(export_rows_and_steps, jit),
    "export_grad": Transformation(export_grad, grad),
    "linen": Transformation(linen, jit),
    "linen_jit": Transformation(linen_jit, jit),
    "linen_remat_grad": Transformation(linen_remat_grad, grad),
    "linen_vmap": Transformation(linen_vmap, each_batch),
    "linen_scan": Transformation(linen_scan, batch_after_batch),
    "nnx_jit": Transformation(nnx_jit, jit),
    "nnx_grad": Transformation(nnx_grad, grad_of_parameters),
    "bfloat16": Transformation(bfloat16, bfloat16, 0.1),
    "float16": Transformation(float16, float16, 0.01),
    "mixed": Transformation(mixed, without_state, 0.1),  # all of the scan is float32
    "float64": Transformation(float64, float64, 1e-12),
    "float32_in_x64": Transformation(float32_in_x64, float32_in_x64),
}
ON_TWO_DEVICES = {"shard_map", "grad_of_shard_map", "grad_in_shard_map", "explicit_mesh", "grad_on_explicit_mesh"}
FORWARD_MODE = {"jvp", "jacfwd", "hessian"}  # a cell with a sequence may refuse them
LINEN = {name for name in TRANSFORMATIONS if name.startswith("linen")}

# What JAX itself cannot do, or not in a reasonable time.
IMPOSSIBLE = {
    ("export_rows_and_steps", "disable_jit"): "a loop of a symbolic number of steps cannot be unrolled",
    ("mixed", "dtype_promotion"): "the mode is there to refuse the sum of a bfloat16 product and a float32 bias",
    **dict.fromkeys(
        [(name, "disable_jit") for name in ("shard_map", "grad_of_shard_map", "grad_in_shard_map")],
        "without a program to compile, JAX runs each operation on the mesh by itself, half a minute for an entry",
    ),
}


class Entry(NamedTuple):
    cell: str
    transformation: str
    mode: str


ENTRIES = [
    Entry(cell, transformation, mode)
    for cell in CELLS
    for transformation in TRANSFORMATIONS
    for mode in MODES
    if (transformation, mode) not in IMPOSSIBLE
]


@cache
def of_scan(cell_name: str, transform: Callable, options: Options) -> Any:
    """Computed outside of all modes, and on clean inputs."""
    cell = CELLS[cell_name]()
    return jax.tree.map(np.asarray, transform(Scan(cell, options), random_inputs(cell, options)))


@lru_cache(maxsize=1)
def forget_other_cells(name: str) -> None:
    """Frees what was compiled for the cell before this one; the programs of all cells take tens of gigabytes."""
    of_scan.cache_clear()
    jax.clear_caches()


def check(entry: Entry, options: Options) -> None:
    """Raises an exception unless the entry of the matrix computes what the scan computes."""
    cell, transformation = CELLS[entry.cell](), TRANSFORMATIONS[entry.transformation]
    if entry.transformation in LINEN:  # Recurrent has neither of these
        options = options._replace(reverse=False, remat_every=None)
    expected = of_scan(entry.cell, transformation.of_scan, options)
    inputs = with_nan_in_the_padding(random_inputs(cell, options))
    try:
        with MODES[entry.mode]():
            result = transformation.of_unroll(Unroll(cell, options), inputs)
    except TypeError as error:
        explanation = "".join(traceback.format_exception(error))  # under jit, it shows the line of the source
        if entry.transformation in FORWARD_MODE and cell.sequence is not None and "sequence=None" in explanation:
            return
        raise
    for got, wanted in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        got, tolerance = np.asarray(got).astype(wanted.dtype), transformation.tolerance
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def failure(entry: Entry, options: Options) -> str | None:
    """Returns the traceback of `check`, because not every exception of JAX can be sent to another process."""
    forget_other_cells(entry.cell)
    try:
        check(entry, options)
    except Exception:
        return traceback.format_exc()


def make_two_devices() -> None:
    jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture(scope="module")
def two_devices():
    """Runs `failure` in a process of two devices, the same one for all tests here."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), make_two_devices) as process:
        yield lambda *args: process.submit(failure, *args).result()


def check_anywhere(entry: Entry, options: Options, two_devices: Callable) -> None:
    if entry.transformation not in ON_TWO_DEVICES:
        return check(entry, options)
    if trace := two_devices(entry, options):
        pytest.fail(trace)


any_options = st.builds(Options, *[st.booleans()] * 4, st.sampled_from([None, 2]))


@given(entry=st.sampled_from(ENTRIES), options=any_options)
@settings(max_examples=20, phases=[Phase.reuse, Phase.generate])  # an entry is as small as another
def test_entries_drawn_from_the_matrix(entry, options, two_devices):
    check_anywhere(entry, options, two_devices)


def pytest_generate_tests(metafunc):
    if "any_entry" not in metafunc.fixturenames:
        return
    if metafunc.config.getoption("matrix"):
        metafunc.parametrize("any_entry", ENTRIES, ids="-".join)
    else:
        metafunc.parametrize("any_entry", [pytest.param(None, marks=pytest.mark.skip("only with --matrix"))])


@pytest.mark.parametrize("options", [Options(), Options(False, False, False)], ids=["masked", "bare"])
def test_matrix(any_entry, options, two_devices):
    forget_other_cells(any_entry.cell)
    check_anywhere(any_entry, options, two_devices)
