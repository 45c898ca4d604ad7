"""The Jordan network: a simple recurrent network whose state is its output."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax.arguments import IntLike, as_count
from seqjax.by_value import by_value
from seqjax.cells.contract import Cell, Shape, check_features, float_type


class JordanRNNParams(NamedTuple):
    """Parameters of `jordan_rnn`; `O` is the size of the output, which is fed back."""

    input_kernel: Float[Array, "I H"]
    recurrent_kernel: Float[Array, "O H"]
    bias: Float[Array, " H"]
    output_kernel: Float[Array, "H O"]
    output_bias: Float[Array, " O"]


@by_value
def jordan_rnn(hidden_size: IntLike, output_size: IntLike) -> Cell:
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
    hidden_size, output_size = as_count("hidden_size", hidden_size), as_count("output_size", output_size)

    def init(key: Key[Array, ""], *, input_size: IntLike) -> JordanRNNParams:
        input_size = as_count("input_size", input_size)
        glorot = jax.nn.initializers.glorot_uniform()
        input_key, recurrent_key, output_key = jax.random.split(key, 3)
        return JordanRNNParams(
            input_kernel=glorot(input_key, (input_size, hidden_size), jnp.float32),
            recurrent_kernel=jax.nn.initializers.orthogonal()(recurrent_key, (output_size, hidden_size), jnp.float32),
            bias=jnp.zeros(hidden_size, jnp.float32),
            output_kernel=glorot(output_key, (hidden_size, output_size), jnp.float32),
            output_bias=jnp.zeros(output_size, jnp.float32),
        )

    def initial_state(params: JordanRNNParams, batch_shape: Shape = ()) -> Float[Array, "*B O"]:
        return jnp.zeros((*batch_shape, output_size), float_type(params))

    def step(
        params: JordanRNNParams, y: Float[Array, "*B O"], x: Float[Array, "*B I"]
    ) -> tuple[Float[Array, "*B O"], Float[Array, "*B O"]]:
        check_features(params, x)
        z = x @ params.input_kernel + y @ params.recurrent_kernel
        h = jnp.tanh(z + jnp.broadcast_to(params.bias, z.shape))
        z = h @ params.output_kernel
        y = jnp.tanh(z + jnp.broadcast_to(params.output_bias, z.shape))
        return y, y

    return Cell(init, initial_state, step)
