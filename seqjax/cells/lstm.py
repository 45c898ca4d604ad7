"""The long short-term memory (LSTM), with optional peepholes, projection, coupled gates and clipping.

`lstm` builds the cell. `seqjax.cells.fused.lstm` runs it over whole sequences if it uses none of these options.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax.arguments import IntLike, as_count, check_setting
from seqjax.by_value import by_value
from seqjax.cells.contract import Cell, Shape, check_features, float_type
from seqjax.cells.fused.lstm import lstm_sequence
from seqjax.cells.initializers import BiasInitializer, Initializer, each_gate, forget_bias
from seqjax.cells.sequence import of_one_type


class LSTMParams(NamedTuple):
    """Parameters of `lstm`: `GH = 4 H`, gates i, f, g, o (`3 H`, gates f, g, o, if coupled); `P` is the size of `h`."""

    input_kernel: Float[Array, "I GH"]
    recurrent_kernel: Float[Array, "P GH"]
    bias: Float[Array, " GH"]
    peepholes: Float[Array, "_ H"] | None  # of i, f, o (f, o if coupled)
    projection: Float[Array, "H P"] | None


class LSTMState(NamedTuple):
    """State of `lstm`: the hidden state `h`, which is also the output, and the memory `c`."""

    h: Float[Array, "*B P"]
    c: Float[Array, "*B H"]


@by_value
def lstm(
    hidden_size: IntLike,
    *,
    peepholes: bool = False,
    projection_size: IntLike | None = None,
    coupled: bool = False,
    cell_clip: float | None = None,
    kernel_init: Initializer = jax.nn.initializers.glorot_uniform(),
    recurrent_init: Initializer = jax.nn.initializers.orthogonal(),
    bias_init: BiasInitializer = forget_bias(1.0),
) -> Cell:
    """Builds a long short-term memory.

    Hochreiter and Schmidhuber (1997), with the forget gate of Gers, Schmidhuber and Cummins (2000):

        i  = sigma(W_i x + U_i h + b_i)      input gate
        f  = sigma(W_f x + U_f h + b_f)      forget gate
        g  =  tanh(W_g x + U_g h + b_g)      candidate
        o  = sigma(W_o x + U_o h + b_o)      output gate
        c' = f * c + i * g
        h' = o * tanh(c')

    Args:
      hidden_size: size `H` of the memory `c`.
      peepholes: gates i and f also read `p * c`, and gate o reads `p_o * c'` (Gers and Schmidhuber 2000).
      projection_size: size `P` of `h' = R (o * tanh(c'))` (Sak, Senior and Beaufays 2014); `H`, without `R`, if None.
      coupled: `i = 1 - f`, which saves one gate (Greff et al. 2017).
      cell_clip: clip `c'` to [-cell_clip, cell_clip] (Sak et al. 2014).
      kernel_init: initializer of each gate's `W`.
      recurrent_init: initializer of each gate's `U`.
      bias_init: initializer of `b`; use `chrono` for long memories.

    Raises:
      ValueError: if a size or `cell_clip` is not positive.

    >>> cell = lstm(hidden_size=64)
    >>> params = cell.init(jax.random.key(0), input_size=32)
    >>> state, y = cell.step(params, cell.initial_state(params, batch_shape=(8,)), jnp.ones((8, 32)))
    >>> y.shape, state.c.shape
    ((8, 64), (8, 64))
    """
    hidden_size = as_count("hidden_size", hidden_size)
    if projection_size is not None:
        projection_size = as_count("projection_size", projection_size)
    if cell_clip is not None:
        check_setting("cell_clip", cell_clip, lambda clip: clip > 0, "a positive number or None")
    gates = "fgo" if coupled else "ifgo"
    output_size = projection_size or hidden_size

    def init(key: Key[Array, ""], *, input_size: IntLike) -> LSTMParams:
        input_size = as_count("input_size", input_size)
        input_key, recurrent_key, bias_key, peephole_key, projection_key = jax.random.split(key, 5)
        glorot = jax.nn.initializers.glorot_uniform()
        return LSTMParams(
            input_kernel=each_gate(kernel_init, input_key, gates, (input_size, hidden_size)),
            recurrent_kernel=each_gate(recurrent_init, recurrent_key, gates, (output_size, hidden_size)),
            bias=bias_init(bias_key, gates, hidden_size),
            peepholes=glorot(peephole_key, (len(gates) - 1, hidden_size), jnp.float32) if peepholes else None,
            projection=glorot(projection_key, (hidden_size, output_size), jnp.float32) if projection_size else None,
        )

    def initial_state(params: LSTMParams, batch_shape: Shape = ()) -> LSTMState:
        zeros = (jnp.zeros((*batch_shape, size), float_type(params)) for size in (output_size, hidden_size))
        return LSTMState(*zeros)

    def step(params: LSTMParams, state: LSTMState, x: Float[Array, "*B I"]) -> tuple[LSTMState, Float[Array, "*B P"]]:
        check_features(params, x)
        z = x @ params.input_kernel + state.h @ params.recurrent_kernel
        z += jnp.broadcast_to(params.bias, z.shape)
        *z_i, z_f, z_g, z_o = jnp.split(z, len(gates), axis=-1)
        if peepholes:
            assert params.peepholes is not None
            *p_i, p_f, p_o = (jnp.broadcast_to(p, state.c.shape) for p in params.peepholes)
            z_i, z_f = [z + p * state.c for z, p in zip(z_i, p_i, strict=True)], z_f + p_f * state.c
        f = jax.nn.sigmoid(z_f)
        i = 1 - f if coupled else jax.nn.sigmoid(*z_i)
        c = f * state.c + i * jnp.tanh(z_g)
        c = c if cell_clip is None else jnp.clip(c, -cell_clip, cell_clip)
        h = jax.nn.sigmoid(z_o + p_o * c if peepholes else z_o) * jnp.tanh(c)
        h = h if params.projection is None else h @ params.projection
        return LSTMState(h, c), h

    plain = not (peepholes or projection_size or coupled or cell_clip)
    return Cell(init, initial_state, step, of_one_type(lstm_sequence, step) if plain else None)
