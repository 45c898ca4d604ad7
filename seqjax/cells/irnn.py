"""The IRNN: a simple recurrent network of rectified linear units whose recurrent kernel starts as the identity."""

import jax

from seqjax.arguments import IntLike
from seqjax.by_value import by_value
from seqjax.cells.contract import Cell
from seqjax.cells.initializers import Initializer, identity
from seqjax.cells.simple_rnn import simple_rnn


@by_value
def irnn(
    hidden_size: IntLike,
    *,
    use_bias: bool = True,
    kernel_init: Initializer = jax.nn.initializers.normal(1e-3),
    recurrent_init: Initializer = identity,
) -> Cell:
    """Builds a simple recurrent network of rectified linear units whose recurrent kernel starts as the identity.

    Le, Jaitly and Hinton (2015):

        h' = max(W x + U h + b, 0),    before training U is the identity and W ~ N(0, 0.001^2)

    Args:
      hidden_size: size `H` of the hidden state.
      use_bias: whether to add `b`.
      kernel_init: initializer of `W`.
      recurrent_init: initializer of `U`.

    Raises:
      ValueError: if `hidden_size` is not positive.

    >>> irnn(hidden_size=2).init(jax.random.key(0), input_size=3).recurrent_kernel
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    return simple_rnn(
        hidden_size, activation="relu", use_bias=use_bias, kernel_init=kernel_init, recurrent_init=recurrent_init
    )
