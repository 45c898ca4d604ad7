"""The Jordan network: a simple recurrent network whose state is its output."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax.cells.contract import Cell, check_features, check_size


class JordanRNNParams(NamedTuple):
    """Parameters of `jordan_rnn`; `O` is the size of the output, which is fed back."""

    input_kernel: Float[Array, "I H"]
    recurrent_kernel: Float[Array, "O H"]
    bias: Float[Array, " H"]
    output_kernel: Float[Array, "H O"]
    output_bias: Float[Array, " O"]


def jordan_rnn(hidden_size: int, output_size: int) -> Cell:
    """Builds a simple recurrent network that feeds back its output instead of its hidden state.

    Jordan (1986):

        h  = tanh(W x + U y + b)
        y' = tanh(V h + d)         output and state

    Args:
      hidden_size: size `H` of the hidden layer.
      output_size: size `O` of the output and of the state.

    Raises:
      ValueError: if a size is not positive.

    >>> cell = jordan_rnn(hidden_size=4, output_size=2)
    >>> params = cell.init(jax.random.key(0), input_size=3)
    >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(3))
    >>> y.shape, bool((state == y).all())
    ((2,), True)
    """
    check_size("hidden_size", hidden_size)
    check_size("output_size", output_size)

    def init(key: Key[Array, ""], *, input_size: int) -> JordanRNNParams:
        check_size("input_size", input_size)
        glorot = jax.nn.initializers.glorot_uniform()
        input_key, recurrent_key, output_key = jax.random.split(key, 3)
        return JordanRNNParams(
            input_kernel=glorot(input_key, (input_size, hidden_size), jnp.float32),
            recurrent_kernel=jax.nn.initializers.orthogonal()(recurrent_key, (output_size, hidden_size), jnp.float32),
            bias=jnp.zeros(hidden_size, jnp.float32),
            output_kernel=glorot(output_key, (hidden_size, output_size), jnp.float32),
            output_bias=jnp.zeros(output_size, jnp.float32),
        )

    def initial_state(params: JordanRNNParams, batch_shape: tuple[int, ...] = ()) -> Float[Array, "*B O"]:
        return jnp.zeros((*batch_shape, output_size), params.recurrent_kernel.dtype)

    def step(
        params: JordanRNNParams, y: Float[Array, "*B O"], x: Float[Array, "*B I"]
    ) -> tuple[Float[Array, "*B O"], Float[Array, "*B O"]]:
        check_features(params, x)
        h = jnp.tanh(x @ params.input_kernel + y @ params.recurrent_kernel + params.bias)
        y = jnp.tanh(h @ params.output_kernel + params.output_bias)
        return y, y

    return Cell(init, initial_state, step)
