"""Flax modules that own the parameters of embeddings, cells and attentions; `seqjax.recurrence` runs the cells."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.serialization import from_state_dict, to_state_dict
from jaxtyping import Array, Bool, Float, Integer

from seqjax.arguments import is_symbol, where_defined
from seqjax.cells.contract import Cell, Params, State, check_cell
from seqjax.cells.regularization import variational_dropout
from seqjax.layers.attention import Alignment, Attention, Memory
from seqjax.recurrence import bidirectional, unroll


def one_hot(symbols: Integer[Array | np.ndarray, "*B"], size: int, dtype: Any = jnp.float32) -> Float[Array, "*B V"]:
    """Converts symbols from 0 to `V - 1`, with `V` = `size`, to one-hot vectors; any other number becomes NaN.

    >>> import jax.numpy as jnp
    >>> one_hot(jnp.array([1, 2]), 2)
    Array([[ 0.,  1.],
           [nan, nan]], dtype=float32)
    """
    return where_defined(is_symbol(symbols, size)[..., None], jax.nn.one_hot(symbols, size, dtype=dtype))


class Embedding(nn.Module):
    """Looks up the vector of each symbol; for a number out of range, the vector is NaN.

    Attributes:
      symbols: number of symbols, `V`.
      size: size of a vector, `E`.

    >>> import jax.numpy as jnp
    >>> vectors, _ = Embedding(symbols=2, size=3).init_with_output(jax.random.key(0), jnp.array([1, 2, -1]))
    >>> jnp.isnan(vectors).all(axis=1)
    Array([False,  True,  True], dtype=bool)
    """

    symbols: int
    size: int

    def setup(self) -> None:
        """Builds the table, with the initialisation of `nn.Embed`."""
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
        self.embedding = self.param("embedding", init, (self.symbols, self.size), jnp.float32)

    def __call__(self, symbols: Integer[Array, "*B"]) -> Float[Array, "*B E"]:
        """Returns the vectors."""
        valid = is_symbol(symbols, self.symbols)
        return where_defined(valid[..., None], self.embedding[jnp.where(valid, symbols, 0)])

    def attend(self, query: Float[Array, "*B E"]) -> Float[Array, "*B V"]:
        """Returns the inner product of each query with the vector of each symbol, as the logits of tied weights."""
        return query @ self.embedding.T


class Recurrent(nn.Module):
    """Runs stacked layers of one cell over a batch of sequences, in one or both directions.

    The parameters are an ordinary Flax tree, `layer_0/input_kernel` and so on; bidirectional layers add
    `layer_0_backward/...`. For layers of different widths, pass a cell from `seqjax.stack`. Random operations draw
    from the collection "dropout", and only if `deterministic` is false.

    Attributes:
      cell: the cell of every layer.
      layers: number of layers.
      bidirectional: whether each layer reads in both directions.
      merge: how the outputs of the two directions are merged, see `seqjax.bidirectional`.
      dropout_rate: rate of `seqjax.variational_dropout` between the layers.
      regularize: returns the cell of one pass for the cell and a key (None if deterministic), as
        `functools.partial(seqjax.weight_drop, rate=0.05)` does.

    >>> import jax.numpy as jnp
    >>> import seqjax
    >>> model = Recurrent(seqjax.lstm(hidden_size=8), layers=2, bidirectional=True)
    >>> variables = model.init(jax.random.key(0), jnp.ones((2, 5, 3)))
    >>> states, ys = model.apply(variables, jnp.ones((2, 5, 3)), lengths=jnp.array([5, 2]))
    >>> ys.shape, variables["params"]["layer_1_backward"]["input_kernel"].shape
    ((2, 5, 16), (16, 32))
    """

    cell: Cell
    layers: int = 1
    bidirectional: bool = False
    merge: Literal["concat", "sum", "mean"] = "concat"
    dropout_rate: float = 0.0
    regularize: Callable[..., Cell] | None = None

    def __call__(
        self,
        xs: Float[Array, "*B T I"],
        lengths: Integer[Array, "*B"] | None = None,
        resets: Bool[Array, "*B T"] | None = None,
        initial_states: tuple[State, ...] | None = None,
        deterministic: bool = True,
    ) -> tuple[tuple[State, ...], Float[Array, "*B T H"]]:
        """Runs the layers; returns the final state of each layer and the outputs of the last.

        Under a transformation of Flax, such as `nn.remat` or `nn.vmap`, pass all arguments by position.

        Args:
          xs: inputs of `T` steps, with any number of batch axes `*B`.
          lengths: as in `seqjax.unroll`.
          resets: as in `seqjax.unroll`.
          initial_states: the initial state of each layer (a pair if bidirectional); the cell's default if None.
          deterministic: whether to disable all random operations.

        Raises:
          ValueError, TypeError: as `seqjax.unroll`, or if `layers` is below 1 or there is not one state per layer.
        """
        self._check_states("initial_states", initial_states)
        final_states = []
        for layer in range(self.layers):
            if layer > 0 and not deterministic:
                xs = variational_dropout(self.make_rng("dropout"), xs, self.dropout_rate, time_axis=-2)
            start = None if initial_states is None else initial_states[layer]
            params = self._layer_params(layer, xs.shape[-1])
            if self.bidirectional:
                cells = (self._cell_of_pass(deterministic), self._cell_of_pass(deterministic))
                state, xs = bidirectional(
                    cells, params, xs, lengths=lengths, resets=resets, initial_state=start, merge=self.merge
                )
            else:
                cell = self._cell_of_pass(deterministic)
                state, xs = unroll(cell, params, xs, lengths=lengths, resets=resets, initial_state=start)
            final_states.append(state)
        return tuple(final_states), xs

    def step(
        self, states: tuple[State, ...], x: Float[Array, "*B I"], deterministic: bool = True
    ) -> tuple[tuple[State, ...], Float[Array, "*B H"]]:
        """Takes one step through all layers, for use in decoding.

        In an `nn.scan` with `split_rngs={"dropout": False}`, all steps share the same random draws.

        Raises:
          ValueError: if the layers are bidirectional, or if there is not one state per layer.
        """
        self._check_states("states", states)
        if self.bidirectional:
            raise ValueError("bidirectional: expected False for a single step, got True")
        new_states = []
        for layer, state in enumerate(states):
            if layer > 0 and not deterministic:
                key = self.make_rng("dropout")
                x = variational_dropout(key, x[..., None, :], self.dropout_rate, time_axis=-2)[..., 0, :]
            cell = self._cell_of_pass(deterministic)
            state, x = cell.step(self._layer_params(layer, x.shape[-1]), state, x)
            new_states.append(state)
        return tuple(new_states), x

    def _check_states(self, name: str, states: tuple[State, ...] | None) -> None:
        if self.layers < 1:
            raise ValueError(f"layers: expected at least 1, got {self.layers}")
        check_cell(self.cell)
        if states is None:
            return
        if type(states) not in (tuple, list):  # a NamedTuple is the state of one layer
            raise TypeError(f"{name}: expected a tuple of states, one for each layer, got {type(states).__name__}")
        if len(states) != self.layers:
            raise ValueError(f"{name}: expected one for each of {self.layers} layers, got {len(states)}")

    def _cell_of_pass(self, deterministic: bool) -> Cell:
        if self.regularize is None:
            return self.cell
        return self.regularize(self.cell, key=None if deterministic else self.make_rng("dropout"))

    def _layer_params(self, layer: int, input_size: int) -> Params:
        name = f"layer_{layer}"
        if not self.bidirectional:
            return self._cell_params(name, input_size)
        return self._cell_params(name, input_size), self._cell_params(f"{name}_backward", input_size)

    @nn.compact
    def _cell_params(self, name: str, input_size: int) -> Params:
        return _param(self, name, partial(self.cell.init, input_size=input_size))


class Attend(nn.Module):
    """Owns the parameters of an attention for queries of one size.

    Attributes:
      attention: the attention.
      query_size: size of the queries, `H`.

    >>> import jax.numpy as jnp
    >>> from seqjax.layers.attention import additive, new_alignment
    >>> attend = Attend(additive(size=8), query_size=3)
    >>> memory, variables = attend.init_with_output(jax.random.key(0), jnp.ones((2, 5, 4)), method="remember")
    >>> context, weights = attend.apply(variables, memory, new_alignment(memory), jnp.ones((2, 3)))
    >>> context.shape, weights.shape
    ((2, 4), (2, 5))
    """

    attention: Attention
    query_size: int

    def remember(self, values: Float[Array, "*B S D"], lengths: Integer[Array, "*B"] | None = None) -> Memory:
        """Prepares a source for all the steps that will attend to it."""
        return self.attention.remember(self._params(values.shape[-1]), values, lengths)

    def __call__(
        self, memory: Memory, alignment: Alignment, query: Float[Array, "*B H"]
    ) -> tuple[Float[Array, "*B D"], Float[Array, "*B S"]]:
        """Returns the context and the weights."""
        return self.attention.attend(self._params(memory.values.shape[-1]), memory, alignment, query)

    @nn.compact
    def _params(self, value_size: int) -> Params:
        init = partial(self.attention.init, query_size=self.query_size, value_size=value_size)
        return _param(self, "attention", init)


def _param(module: nn.Module, name: str, init: Callable[..., Params]) -> Params:
    """Returns a NamedTuple of parameters, which Flax stores as a dict with the same names."""
    tree = module.param(name, lambda key: to_state_dict(init(key)))
    return from_state_dict(jax.eval_shape(init, jax.random.key(0)), tree)
