"""The simple recurrent network of Elman (1990), with tanh or rectified linear units.

`simple_rnn` builds the cell. `seqjax.cells.fused.simple_rnn` runs it over whole sequences.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax.arguments import IntLike, as_count
from seqjax.by_value import by_value
from seqjax.cells.contract import Cell, Shape, check_features, float_type
from seqjax.cells.fused.simple_rnn import SIMPLE_RNN_SEQUENCES
from seqjax.cells.initializers import Initializer
from seqjax.cells.sequence import of_one_type


class SimpleRNNParams(NamedTuple):
    """Parameters of `simple_rnn`."""

    input_kernel: Float[Array, "I H"]
    recurrent_kernel: Float[Array, "H H"]
    bias: Float[Array, " H"] | None


@by_value
def simple_rnn(
    hidden_size: IntLike,
    *,
    activation: Literal["tanh", "relu"] = "tanh",
    use_bias: bool = True,
    kernel_init: Initializer = jax.nn.initializers.glorot_uniform(),
    recurrent_init: Initializer = jax.nn.initializers.orthogonal(),
) -> Cell:
    """Builds a simple recurrent network, whose hidden state is its output.

    Elman (1990):

        h' = tanh(W x + U h + b)

    Args:
      hidden_size: size `H` of the hidden state.
      activation: "tanh" or "relu".
      use_bias: whether to add `b`.
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
    hidden_size = as_count("hidden_size", hidden_size)
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation: expected 'tanh' or 'relu', got {activation!r}")
    nonlinearity = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]

    def init(key: Key[Array, ""], *, input_size: IntLike) -> SimpleRNNParams:
        input_size = as_count("input_size", input_size)
        input_key, recurrent_key = jax.random.split(key)
        return SimpleRNNParams(
            input_kernel=kernel_init(input_key, (input_size, hidden_size), jnp.float32),
            recurrent_kernel=recurrent_init(recurrent_key, (hidden_size, hidden_size), jnp.float32),
            bias=jnp.zeros(hidden_size, jnp.float32) if use_bias else None,
        )

    def initial_state(params: SimpleRNNParams, batch_shape: Shape = ()) -> Float[Array, "*B H"]:
        return jnp.zeros((*batch_shape, hidden_size), float_type(params))

    def step(
        params: SimpleRNNParams, h: Float[Array, "*B H"], x: Float[Array, "*B I"]
    ) -> tuple[Float[Array, "*B H"], Float[Array, "*B H"]]:
        check_features(params, x)
        z = x @ params.input_kernel + h @ params.recurrent_kernel
        h = nonlinearity(z if params.bias is None else z + jnp.broadcast_to(params.bias, z.shape))
        return h, h

    return Cell(init, initial_state, step, of_one_type(SIMPLE_RNN_SEQUENCES[activation], step))
