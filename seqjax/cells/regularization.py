"""Regularisation of recurrent networks by composition: each wrapper turns a cell into a regularised cell.

Functions that draw random numbers take the key of one pass over the data, so call them in the loss function. Without a
key, they return the cell for evaluation. `layer_norm` finds the hidden state `h` by the convention in
`seqjax.cells.contract`, so apply it inside `zoneout`, whose state has no field `h`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_map_with_path
from jaxtyping import Array, Float, Int, Key

from seqjax.arguments import IntLike, check_setting, is_traced
from seqjax.by_value import by_value
from seqjax.cells.contract import Cell, Params, Shape, State, arrays_of
from seqjax.cells.sequence import scan_of_step, sequence_of, split_like

Rate = float | Float[Array, ""]  # an array under jit


class LayerNormParams(NamedTuple):
    """Parameters of `layer_norm`."""

    cell: Params
    scale: Float[Array, " H"]
    offset: Float[Array, " H"]


class ZoneoutState(NamedTuple):
    """State of `zoneout`: the state of the cell, and the number of steps that each row has taken since it began."""

    cell: State
    time: Int[Array, "*B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MaskedKernel:
    """A recurrent kernel whose product drops features of the hidden state of each row: `h @ self = (m * h) @ U`."""

    recurrent_kernel: Any  # U [H, GH]
    mask: Float[Array, "*B H"]

    def __rmatmul__(self, h: Float[Array, "*B H"]) -> Float[Array, "*B GH"]:
        """Computes the product."""
        return (self.mask * h) @ self.recurrent_kernel

    def __getitem__(self, place: Any) -> "MaskedKernel":
        """Returns some of the columns, as in `kernel[:, 2:4]`."""
        return MaskedKernel(self.recurrent_kernel[place], self.mask)


def variational_dropout(key: Key[Array, ""] | None, x: Float[Array, "..."], rate: Rate, *, time_axis: int) -> Array:
    """Drops features with one mask for all steps, and scales up the others.

    Gal and Ghahramani (2016): `x * m / (1 - rate)`, with `m` drawn once per row and feature.

    Args:
      key: the key of this pass; without one, `x` is returned unchanged.
      x: the sequence.
      rate: probability of dropping a feature, in [0, 1).
      time_axis: the axis of `x` along which the mask is constant.

    Raises:
      ValueError: if the rate is outside [0, 1).

    >>> variational_dropout(jax.random.key(1), jnp.ones((3, 4)), 0.5, time_axis=0)
    Array([[2., 0., 2., 2.],
           [2., 0., 2., 2.],
           [2., 0., 2., 2.]], dtype=float32)
    """
    _check_rate(rate)
    if key is None or _is_zero(rate):
        return x
    shape = list(x.shape)
    shape[time_axis] = 1
    return jnp.where(jax.random.bernoulli(key, 1 - rate, shape), x / (1 - rate), 0)


@by_value
def recurrent_dropout(cell: Cell, rate: Rate, *, key: Key[Array, ""] | None, one_mask: bool = False) -> Cell:
    """Drops features of the hidden state in the recurrent products, with one mask per row for all steps.

    Gal and Ghahramani (2016): `U (m * h) / (1 - rate)`. The terms that keep the state, `f * c` in the LSTM and
    `(1 - u) * h` in the GRU, are neither dropped nor scaled. Sequences packed into one row share its mask.

    A mask per row costs the cell its faster `sequence`: it runs as a scan over its steps. With `one_mask`, all rows
    share one mask. Dropping a feature is then the same as dropping the weights of `U` that multiply it, so the cell
    keeps its `sequence`, but the gradients of the rows of a batch are noisy in the same way.

    Args:
      cell: the cell. If it uses its recurrent kernel otherwise than in `h @ kernel` or `h @ kernel[:, start:end]`, each
        row gets a copy of the kernel.
      rate: probability of dropping a feature, in [0, 1).
      key: the key of this pass; without one, the cell is returned unchanged.
      one_mask: whether all rows share one mask.

    Raises:
      ValueError: if the rate is outside [0, 1) or, when the cell runs, if no parameter is called `recurrent_kernel`.

    >>> from seqjax.cells import SimpleRNNParams, simple_rnn
    >>> cell = recurrent_dropout(simple_rnn(hidden_size=2, activation="relu"), 0.5, key=jax.random.key(1))
    >>> params = SimpleRNNParams(jnp.zeros((1, 2)), jnp.array([[1.0, 1.0], [3.0, 3.0]]), jnp.zeros(2))
    >>> cell.step(params, jnp.ones((3, 2)), jnp.zeros((3, 1)))[1]  # the second feature, nothing, both are dropped
    Array([[2., 2.],
           [8., 8.],
           [0., 0.]], dtype=float32)
    """
    _check_rate(rate)
    if key is None or _is_zero(rate):
        return cell
    if one_mask:
        return _with_parameters(cell, partial(_drop_kernels, key, rate, lambda shape: (shape[0], 1)))

    def masks_of(params: Params, rows: Shape) -> list[Float[Array, "*B H"]]:
        kernels = _kernels(params)
        keys = _keys(key, len(kernels))
        keep = [
            jax.random.bernoulli(k, 1 - rate, (*rows, len(kernel))) for k, kernel in zip(keys, kernels, strict=True)
        ]
        return [mask.astype(kernel.dtype) / (1 - rate) for mask, kernel in zip(keep, kernels, strict=True)]

    def masked_step(masks: list[Array], params: Params, state: State, x: Array) -> tuple[State, Array]:
        try:
            return cell.step(_map_kernels(MaskedKernel, params, masks), state, x)
        except (AttributeError, TypeError):  # the kernel is used in another way: give each row a kernel of its own
            return row_by_row(masks, params, state, x)

    def row_by_row(masks: list[Array], params: Params, state: State, x: Array) -> tuple[State, Array]:
        def step(masks: list[Array], state: State, x: Array) -> tuple[State, Array]:
            return cell.step(_map_kernels(lambda kernel, mask: kernel * mask[:, None], params, masks), state, x)

        for _ in x.shape[:-1]:
            step = jax.vmap(step)
        return step(masks, state, x)

    def step(params: Params, state: State, x: Array) -> tuple[State, Array]:
        return masked_step(masks_of(params, x.shape[:-1]), params, state, x)

    def sequence(params: Params, state: State, restart: State, xs: Array, *others: Any, reverse: bool) -> Any:
        masks = masks_of(params, xs.shape[:1])  # once, not at each step
        return scan_of_step(partial(masked_step, masks), params, state, restart, xs, *others, reverse=reverse)

    return cell._replace(step=step, sequence=sequence)


@by_value
def weight_drop(cell: Cell, rate: Rate, *, key: Key[Array, ""] | None) -> Cell:
    """Drops recurrent weights, the same ones at every step of every row.

    DropConnect on `U` (Wan et al. 2013), as in the AWD-LSTM of Merity, Keskar and Socher (2018). It acts on every
    parameter called `recurrent_kernel`, once per sequence, so the cell keeps its faster `sequence`.

    Args:
      cell: the cell.
      rate: probability of dropping a weight, in [0, 1).
      key: the key of this pass; without one, the cell is returned unchanged.

    Raises:
      ValueError: if the rate is outside [0, 1) or, when the cell runs, if no parameter is called `recurrent_kernel`.

    >>> from seqjax.cells import SimpleRNNParams, simple_rnn
    >>> cell = weight_drop(simple_rnn(hidden_size=1, activation="relu"), 0.5, key=jax.random.key(0))
    >>> params = SimpleRNNParams(jnp.array([[1.0]]), jnp.array([[1.0]]), jnp.array([0.0]))
    >>> cell.step(params, jnp.array([1.0]), jnp.array([3.0]))[1]  # the one weight is kept and scaled by 1 / (1 - rate)
    Array([5.], dtype=float32)
    """
    _check_rate(rate)
    if key is None or _is_zero(rate):
        return cell
    return _with_parameters(cell, partial(_drop_kernels, key, rate, lambda shape: shape))


@by_value
def zoneout(cell: Cell, rate: Rate, *, key: Key[Array, ""] | None) -> Cell:
    """Randomly keeps features of the state at their old value, with a new draw at each step.

    Krueger et al. (2017): `s' = m * s + (1 - m) * step(s, x)`, with `P(m = 1) = rate`. Without a key, the expectation
    `rate` replaces `m`. Zoneout acts on every leaf of the state. Each row has its own draws; sequences packed into one
    row share the same draws.

    Args:
      cell: the cell.
      rate: probability of keeping the old value of a feature, in [0, 1).
      key: the key of this pass, or None for evaluation.

    Raises:
      ValueError: if the rate is outside [0, 1).

    >>> from seqjax.cells import SimpleRNNParams, simple_rnn
    >>> cell = zoneout(simple_rnn(hidden_size=1, activation="relu"), 0.25, key=None)
    >>> params = SimpleRNNParams(jnp.array([[1.0]]), jnp.array([[0.0]]), jnp.array([0.0]))
    >>> state, y = cell.step(params, cell.initial_state(params), jnp.array([4.0]))  # 0.25 * 0 + 0.75 * 4
    >>> y
    Array([3.], dtype=float32)
    """
    _check_rate(rate)

    def initial_state(params: Params, batch_shape: Shape = ()) -> ZoneoutState:
        return ZoneoutState(cell.initial_state(params, batch_shape), jnp.zeros(batch_shape, jnp.int32))

    def mix(leaf: int, old: Array, new: Array, time: Int[Array, "*B"]) -> Array:
        if key is None:
            return rate * old + (1 - rate) * new

        def keep(row_key: Key[Array, ""], time: Int[Array, ""]) -> Array:
            return jax.random.bernoulli(jax.random.fold_in(row_key, time), rate, old.shape[features:])

        features = time.ndim
        times = time.reshape(-1)
        row_keys = split_like(times, jax.random.split(jax.random.fold_in(key, leaf), times.size))
        return jnp.where(jax.vmap(keep)(row_keys, times).reshape(old.shape), old, new)

    def step(params: Params, state: ZoneoutState, x: Array) -> tuple[ZoneoutState, Array]:
        stepped, _ = cell.step(params, state.cell, x)
        old, new = jax.tree.leaves(state.cell), jax.tree.leaves(stepped)
        mixed = [mix(leaf, *values, state.time) for leaf, values in enumerate(zip(old, new, strict=True))]
        mixed = jax.tree.unflatten(jax.tree.structure(stepped), mixed)
        return ZoneoutState(mixed, state.time + 1), _hidden(mixed)

    return cell._replace(initial_state=initial_state, step=step, sequence=None)


@by_value
def layer_norm(cell: Cell) -> Cell:
    """Normalises the hidden state before the cell reads it, with a learned scale and offset.

    Ba, Kiros and Hinton (2016): `a * (h - mean(h)) / std(h) + b`. The paper normalises the products `W x` and `U h`
    inside the cell. Normalising the incoming state serves the same purpose and works for any cell: the recurrent
    product keeps its size over time. In a GRU, the update gate also keeps the normalised state.

    >>> from seqjax.cells import SimpleRNNParams, simple_rnn
    >>> cell = layer_norm(simple_rnn(hidden_size=2, activation="relu"))
    >>> params = cell.init(jax.random.key(0), input_size=1)
    >>> params = params._replace(cell=SimpleRNNParams(jnp.zeros((1, 2)), jnp.eye(2), jnp.zeros(2)))
    >>> cell.step(params, jnp.array([30.0, 10.0]), jnp.zeros(1))[1]
    Array([1., 0.], dtype=float32)
    """

    def init(key: Key[Array, ""], *, input_size: IntLike) -> LayerNormParams:
        params = cell.init(key, input_size=input_size)
        size = _hidden(cell.initial_state(params)).shape[-1]
        return LayerNormParams(params, jnp.ones(size, jnp.float32), jnp.zeros(size, jnp.float32))

    def initial_state(params: LayerNormParams, batch_shape: Shape = ()) -> State:
        return cell.initial_state(params.cell, batch_shape)

    def step(params: LayerNormParams, state: State, x: Array) -> tuple[State, Array]:
        def normalise(h: Array) -> Array:
            variance = jnp.var(h, axis=-1, keepdims=True)  # two passes: that of standardize cancels for large h
            standard = jax.nn.standardize(h, axis=-1, variance=variance, epsilon=1e-6)
            return jnp.broadcast_to(params.scale, h.shape) * standard + jnp.broadcast_to(params.offset, h.shape)

        return cell.step(params.cell, _map_hidden(normalise, state), x)

    return Cell(init, initial_state, step)


def _with_parameters(cell: Cell, change: Callable[[Params], Params]) -> Cell:
    """Returns the cell that changes its parameters once before it runs."""

    def step(params: Params, state: State, x: Array) -> tuple[State, Array]:
        return cell.step(change(params), state, x)

    def sequence(params: Params, *args: Any, **kwargs: Any) -> tuple[State, Array]:
        return sequence_of(cell)(change(params), *args, **kwargs)

    return cell._replace(step=step, sequence=sequence)


def _drop_kernels(key: Key[Array, ""], rate: Rate, mask_shape: Callable[[Shape], Shape], params: Params) -> Params:
    """Sets parts of each recurrent kernel to zero and scales up the rest."""

    def drop(kernel: Array, key: Key[Array, ""]) -> Array:
        keep = jax.random.bernoulli(key, 1 - rate, mask_shape(kernel.shape))
        return jnp.where(jnp.broadcast_to(keep, kernel.shape), kernel / (1 - rate), 0)

    return _map_kernels(drop, params, _keys(key, len(_kernels(params))))


def _keys(key: Key[Array, ""], kernels: int) -> list[Key[Array, ""]]:
    """Returns a key for each recurrent kernel."""
    return [jax.random.fold_in(key, number) for number in range(1, kernels + 1)]


def _kernels(params: Params) -> list[Array]:
    """Returns the parameters called `recurrent_kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(arrays_of(params))
    kernels = [leaf for path, leaf in leaves if keystr(path[-1:], simple=True) == "recurrent_kernel"]
    if not kernels:
        raise ValueError("params: expected a parameter called recurrent_kernel to drop weights from, got none")
    return kernels


def _map_kernels(function: Callable[[Array, Array], Any], params: Params, others: Iterable[Array]) -> Params:
    """Replaces each parameter called `recurrent_kernel` by a function of it and of the next of the other arrays."""
    rest = iter(others)

    def change(path: Any, leaf: Array) -> Any:
        return function(leaf, next(rest)) if keystr(path[-1:], simple=True) == "recurrent_kernel" else leaf

    return tree_map_with_path(change, arrays_of(params))


def _hidden(state: State) -> Array:
    """Returns the hidden state `h` of a state."""
    if isinstance(state, jax.Array):
        return state
    if not hasattr(state, "h"):
        raise TypeError(f"state: expected an array or a NamedTuple with a field h, got {jax.tree.structure(state)}")
    return state.h


def _map_hidden(function: Callable[[Array], Array], state: State) -> State:
    h = function(_hidden(state))
    return h if isinstance(state, jax.Array) else state._replace(h=h)


def _check_rate(rate: Rate) -> None:
    check_setting("rate", rate, lambda rate: 0 <= rate < 1, "a probability in [0, 1)")


def _is_zero(rate: Rate) -> bool:
    return not is_traced(rate) and bool(rate == 0)
