"""Recurrent cells: one step of time as a pure function, with its equations and its paper.

In the equations `x` is the input of this step, `h` the hidden state before it, `h'` the one after it, `*` the
element-wise product and `sigma` the logistic function. `I` is the size of the input, `H` of the hidden state.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax.contract import Cell, Initializer, Params, check_features, check_size
from seqjax.fused import SIMPLE_RNN_SEQUENCES, gru_sequence, lstm_sequence
from seqjax.initializers import BiasInitializer, forget_bias, identity, zeros_bias


class SimpleRNNParams(NamedTuple):
    """Parameters of `simple_rnn`."""

    input_kernel: Float[Array, "I H"]
    recurrent_kernel: Float[Array, "H H"]
    bias: Float[Array, " H"] | None


class LSTMParams(NamedTuple):
    """Parameters of `lstm`: `GH = 4 H`, gates i, f, g, o (`3 H`, gates f, g, o, if coupled); `P` is the size of `h`."""

    input_kernel: Float[Array, "I GH"]
    recurrent_kernel: Float[Array, "P GH"]
    bias: Float[Array, " GH"]
    peepholes: Float[Array, "_ H"] | None  # of i, f, o (f, o where they are coupled)
    projection: Float[Array, "H P"] | None


class LSTMState(NamedTuple):
    """State of `lstm`: the hidden state, which is also the output, and the memory."""

    h: Float[Array, "*B P"]
    c: Float[Array, "*B H"]


class GRUParams(NamedTuple):
    """Parameters of `gru`: gates in the order r, u, n."""

    input_kernel: Float[Array, "I 3*H"]
    recurrent_kernel: Float[Array, "H 3*H"]
    bias: Float[Array, " 3*H"]
    recurrent_bias: Float[Array, " H"] | None  # of the candidate; only where the reset comes after the product


def simple_rnn(
    hidden_size: int,
    *,
    activation: Literal["tanh", "relu"] = "tanh",
    use_bias: bool = True,
    kernel_init: Initializer = jax.nn.initializers.glorot_uniform(),
    recurrent_init: Initializer = jax.nn.initializers.orthogonal(),
) -> Cell:
    """Makes the simple recurrent network, whose hidden state is its output.

    Elman (1990):

        h' = tanh(W x + U h + b)

    With `activation="relu"` and an `identity` as `recurrent_init` it is the IRNN of Le, Jaitly and Hinton (2015).

    Args:
      hidden_size: size `H` of the hidden state.
      activation: "tanh" or "relu".
      use_bias: whether there is a `b`.
      kernel_init: initializer of `W`.
      recurrent_init: initializer of `U`.

    Raises:
      ValueError: if `hidden_size` is not positive or `activation` is unknown.

    >>> cell = simple_rnn(hidden_size=1)
    >>> params = SimpleRNNParams(jnp.array([[1.0]]), jnp.array([[0.5]]), jnp.array([0.0]))
    >>> state, y = cell.step(params, jnp.array([2.0]), jnp.array([-1.0]))  # tanh(-1 + 0.5 * 2)
    >>> y
    Array([0.], dtype=float32)
    """
    check_size("hidden_size", hidden_size)
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation: expected 'tanh' or 'relu', got {activation!r}")
    nonlinearity = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]

    def init(key: Key[Array, ""], *, input_size: int) -> SimpleRNNParams:
        check_size("input_size", input_size)
        input_key, recurrent_key = jax.random.split(key)
        return SimpleRNNParams(
            input_kernel=kernel_init(input_key, (input_size, hidden_size), jnp.float32),
            recurrent_kernel=recurrent_init(recurrent_key, (hidden_size, hidden_size), jnp.float32),
            bias=jnp.zeros(hidden_size, jnp.float32) if use_bias else None,
        )

    def initial_state(params: SimpleRNNParams, batch_shape: tuple[int, ...] = ()) -> Float[Array, "*B H"]:
        return jnp.zeros((*batch_shape, hidden_size), params.recurrent_kernel.dtype)

    def step(
        params: SimpleRNNParams, h: Float[Array, "*B H"], x: Float[Array, "*B I"]
    ) -> tuple[Float[Array, "*B H"], Float[Array, "*B H"]]:
        h = nonlinearity(_affine(params, x, h))
        return h, h

    return Cell(init, initial_state, step, SIMPLE_RNN_SEQUENCES[activation])


def lstm(
    hidden_size: int,
    *,
    peepholes: bool = False,
    projection_size: int | None = None,
    coupled: bool = False,
    cell_clip: float | None = None,
    kernel_init: Initializer = jax.nn.initializers.glorot_uniform(),
    recurrent_init: Initializer = jax.nn.initializers.orthogonal(),
    bias_init: BiasInitializer = forget_bias(1.0),
) -> Cell:
    """Makes the long short-term memory.

    Hochreiter and Schmidhuber (1997), with the forget gate of Gers, Schmidhuber and Cummins (2000):

        i  = sigma(W_i x + U_i h + b_i)      input gate
        f  = sigma(W_f x + U_f h + b_f)      forget gate
        g  =  tanh(W_g x + U_g h + b_g)      candidate
        o  = sigma(W_o x + U_o h + b_o)      output gate
        c' = f * c + i * g
        h' = o * tanh(c')

    Args:
      hidden_size: size `H` of the memory `c`.
      peepholes: gates i and f also see `p * c`, gate o sees `p_o * c'` (Gers and Schmidhuber 2000).
      projection_size: size `P` of `h' = R (o * tanh(c'))` (Sak, Senior and Beaufays 2014); `H`, without `R`, if None.
      coupled: `i = 1 - f`, one gate less (Greff et al. 2017).
      cell_clip: `c'` is kept within plus and minus this value (Sak et al. 2014).
      kernel_init: initializer of each gate's `W`.
      recurrent_init: initializer of each gate's `U`.
      bias_init: initializer of `b`; `chrono` for long memories.

    Raises:
      ValueError: if a size or `cell_clip` is not positive.

    >>> cell = lstm(hidden_size=64)
    >>> params = cell.init(jax.random.key(0), input_size=32)
    >>> state, y = cell.step(params, cell.initial_state(params, batch_shape=(8,)), jnp.ones((8, 32)))
    >>> y.shape, state.c.shape
    ((8, 64), (8, 64))
    """
    check_size("hidden_size", hidden_size)
    if projection_size is not None:
        check_size("projection_size", projection_size)
    if cell_clip is not None and not cell_clip > 0:
        raise ValueError(f"cell_clip: expected a positive number or None, got {cell_clip!r}")
    gates = "fgo" if coupled else "ifgo"
    output_size = projection_size or hidden_size

    def init(key: Key[Array, ""], *, input_size: int) -> LSTMParams:
        check_size("input_size", input_size)
        input_key, recurrent_key, bias_key, peephole_key, projection_key = jax.random.split(key, 5)
        glorot = jax.nn.initializers.glorot_uniform()
        return LSTMParams(
            input_kernel=_each_gate(kernel_init, input_key, gates, (input_size, hidden_size)),
            recurrent_kernel=_each_gate(recurrent_init, recurrent_key, gates, (output_size, hidden_size)),
            bias=bias_init(bias_key, gates, hidden_size),
            peepholes=glorot(peephole_key, (len(gates) - 1, hidden_size), jnp.float32) if peepholes else None,
            projection=glorot(projection_key, (hidden_size, output_size), jnp.float32) if projection_size else None,
        )

    def initial_state(params: LSTMParams, batch_shape: tuple[int, ...] = ()) -> LSTMState:
        dtype = params.recurrent_kernel.dtype
        return LSTMState(*(jnp.zeros((*batch_shape, size), dtype) for size in (output_size, hidden_size)))

    def step(params: LSTMParams, state: LSTMState, x: Float[Array, "*B I"]) -> tuple[LSTMState, Float[Array, "*B P"]]:
        *z_i, z_f, z_g, z_o = jnp.split(_affine(params, x, state.h), len(gates), axis=-1)
        if peepholes:
            assert params.peepholes is not None
            *p_i, p_f, p_o = params.peepholes
            z_i, z_f = [z + p * state.c for z, p in zip(z_i, p_i, strict=True)], z_f + p_f * state.c
        f = jax.nn.sigmoid(z_f)
        i = 1 - f if coupled else jax.nn.sigmoid(*z_i)
        c = f * state.c + i * jnp.tanh(z_g)
        c = c if cell_clip is None else jnp.clip(c, -cell_clip, cell_clip)
        h = jax.nn.sigmoid(z_o + p_o * c if peepholes else z_o) * jnp.tanh(c)
        h = h if params.projection is None else h @ params.projection
        return LSTMState(h, c), h

    plain = not (peepholes or projection_size or coupled or cell_clip)
    return Cell(init, initial_state, step, lstm_sequence if plain else None)


def gru(
    hidden_size: int,
    *,
    reset_after: bool = False,
    kernel_init: Initializer = jax.nn.initializers.glorot_uniform(),
    recurrent_init: Initializer = jax.nn.initializers.orthogonal(),
    bias_init: BiasInitializer = zeros_bias,
) -> Cell:
    """Makes the gated recurrent unit.

    Cho et al. (2014):

        r  = sigma(W_r x + U_r h + b_r)          reset gate
        u  = sigma(W_u x + U_u h + b_u)          update gate
        n  =  tanh(W_n x + U_n (r * h) + b_n)    candidate
        h' = u * n + (1 - u) * h

    One course text prints `(1 - r) * h` in the last line. That is a slip: a closed update gate would then not keep the
    state. PyTorch, Keras and ONNX call `1 - u` the update gate `z`.

    Args:
      hidden_size: size `H` of the hidden state.
      reset_after: reset after the recurrent product, as cuDNN does: `n = tanh(W_n x + b_n + r * (U_n h + d))`.
      kernel_init: initializer of each gate's `W`.
      recurrent_init: initializer of each gate's `U`.
      bias_init: initializer of `b`; `chrono` for long memories.

    Raises:
      ValueError: if `hidden_size` is not positive.

    >>> cell = gru(hidden_size=64)
    >>> params = cell.init(jax.random.key(0), input_size=32)
    >>> state, y = cell.step(params, cell.initial_state(params, batch_shape=(8,)), jnp.ones((8, 32)))
    >>> y.shape, params.recurrent_kernel.shape
    ((8, 64), (64, 192))
    """
    check_size("hidden_size", hidden_size)

    def init(key: Key[Array, ""], *, input_size: int) -> GRUParams:
        check_size("input_size", input_size)
        input_key, recurrent_key, bias_key = jax.random.split(key, 3)
        return GRUParams(
            input_kernel=_each_gate(kernel_init, input_key, "run", (input_size, hidden_size)),
            recurrent_kernel=_each_gate(recurrent_init, recurrent_key, "run", (hidden_size, hidden_size)),
            bias=bias_init(bias_key, "run", hidden_size),
            recurrent_bias=jnp.zeros(hidden_size, jnp.float32) if reset_after else None,
        )

    def initial_state(params: GRUParams, batch_shape: tuple[int, ...] = ()) -> Float[Array, "*B H"]:
        return jnp.zeros((*batch_shape, hidden_size), params.recurrent_kernel.dtype)

    def step(
        params: GRUParams, h: Float[Array, "*B H"], x: Float[Array, "*B I"]
    ) -> tuple[Float[Array, "*B H"], Float[Array, "*B H"]]:
        check_features(params, x)
        wx_ru, wx_n = jnp.split(x @ params.input_kernel + params.bias, [2 * hidden_size], axis=-1)
        u_ru, u_n = jnp.split(params.recurrent_kernel, [2 * hidden_size], axis=1)
        r, u = jnp.split(jax.nn.sigmoid(wx_ru + h @ u_ru), 2, axis=-1)
        n = jnp.tanh(wx_n + ((r * h) @ u_n if params.recurrent_bias is None else r * (h @ u_n + params.recurrent_bias)))
        h = u * n + (1 - u) * h
        return h, h

    return Cell(init, initial_state, step, gru_sequence)


irnn = partial(simple_rnn, activation="relu", kernel_init=jax.nn.initializers.normal(1e-3), recurrent_init=identity)
CELLS: dict[str, Callable[..., Cell]] = {  # by name
    "gru": gru,
    "irnn": irnn,
    "lstm": lstm,
    "simple_rnn": simple_rnn,
}


def _affine(params: Params, x: Array, h: Array) -> Array:
    """W x + U h + b, of all gates at once."""
    check_features(params, x)
    return x @ params.input_kernel + h @ params.recurrent_kernel + (0 if params.bias is None else params.bias)


def _each_gate(init: Initializer, key: Key[Array, ""], gates: str, shape: tuple[int, int]) -> Float[Array, "M N"]:
    """Draws one matrix a gate, so that an initializer sees the matrix that the equations name, and joins them."""
    return jnp.concatenate([init(k, shape, jnp.float32) for k in jax.random.split(key, len(gates))], axis=1)
