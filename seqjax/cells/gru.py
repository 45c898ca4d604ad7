"""The gated recurrent unit (GRU), with the reset gate before or after the recurrent product.

`gru` builds the cell. `seqjax.cells.fused.gru` runs it over whole sequences.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax.arguments import IntLike, as_count
from seqjax.by_value import by_value
from seqjax.cells.contract import Cell, Shape, check_features, float_type
from seqjax.cells.fused.gru import gru_sequence
from seqjax.cells.initializers import BiasInitializer, Initializer, each_gate, zeros_bias
from seqjax.cells.sequence import of_one_type


class GRUParams(NamedTuple):
    """Parameters of `gru`, with the gates in the order r, u, n."""

    input_kernel: Float[Array, "I 3*H"]
    recurrent_kernel: Float[Array, "H 3*H"]
    bias: Float[Array, " 3*H"]
    recurrent_bias: Float[Array, " H"] | None  # of the candidate; None unless `reset_after`


@by_value
def gru(
    hidden_size: IntLike,
    *,
    reset_after: bool = False,
    kernel_init: Initializer = jax.nn.initializers.glorot_uniform(),
    recurrent_init: Initializer = jax.nn.initializers.orthogonal(),
    bias_init: BiasInitializer = zeros_bias,
) -> Cell:
    """Builds a gated recurrent unit.

    Cho et al. (2014):

        r  = sigma(W_r x + U_r h + b_r)          reset gate
        u  = sigma(W_u x + U_u h + b_u)          update gate
        n  =  tanh(W_n x + U_n (r * h) + b_n)    candidate
        h' = u * n + (1 - u) * h

    With `(1 - r) * h` instead of `(1 - u) * h`, a closed update gate would not keep the state. PyTorch, Keras and ONNX
    call `1 - u` the update gate `z`.

    Args:
      hidden_size: size `H` of the hidden state.
      reset_after: reset after the recurrent product, as cuDNN does: `n = tanh(W_n x + b_n + r * (U_n h + d))`.
      kernel_init: initializer of each gate's `W`.
      recurrent_init: initializer of each gate's `U`.
      bias_init: initializer of `b`; use `chrono` for long memories.

    Raises:
      ValueError: if `hidden_size` is not positive.

    >>> cell = gru(hidden_size=64)
    >>> params = cell.init(jax.random.key(0), input_size=32)
    >>> state, y = cell.step(params, cell.initial_state(params, batch_shape=(8,)), jnp.ones((8, 32)))
    >>> y.shape, params.recurrent_kernel.shape
    ((8, 64), (64, 192))
    """
    hidden_size = as_count("hidden_size", hidden_size)

    def init(key: Key[Array, ""], *, input_size: IntLike) -> GRUParams:
        input_size = as_count("input_size", input_size)
        input_key, recurrent_key, bias_key = jax.random.split(key, 3)
        return GRUParams(
            input_kernel=each_gate(kernel_init, input_key, "run", (input_size, hidden_size)),
            recurrent_kernel=each_gate(recurrent_init, recurrent_key, "run", (hidden_size, hidden_size)),
            bias=bias_init(bias_key, "run", hidden_size),
            recurrent_bias=jnp.zeros(hidden_size, jnp.float32) if reset_after else None,
        )

    def initial_state(params: GRUParams, batch_shape: Shape = ()) -> Float[Array, "*B H"]:
        return jnp.zeros((*batch_shape, hidden_size), float_type(params))

    def step(
        params: GRUParams, h: Float[Array, "*B H"], x: Float[Array, "*B I"]
    ) -> tuple[Float[Array, "*B H"], Float[Array, "*B H"]]:
        check_features(params, x)
        wx = x @ params.input_kernel
        x_ru, x_n = jnp.split(wx + jnp.broadcast_to(params.bias, wx.shape), [2 * hidden_size], axis=-1)
        kernel_ru, kernel_n = (
            params.recurrent_kernel[:, : 2 * hidden_size],
            params.recurrent_kernel[:, 2 * hidden_size :],
        )
        r, u = jnp.split(jax.nn.sigmoid(x_ru + h @ kernel_ru), 2, axis=-1)
        if params.recurrent_bias is None:
            n = jnp.tanh(x_n + (r * h) @ kernel_n)
        else:
            n = jnp.tanh(x_n + r * (h @ kernel_n + jnp.broadcast_to(params.recurrent_bias, h.shape)))
        h = u * n + (1 - u) * h
        return h, h

    return Cell(init, initial_state, step, of_one_type(gru_sequence, step))
