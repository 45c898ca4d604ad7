"""Initializers that `jax.nn.initializers` lacks: the identity, and initializers of gate biases.

Bias initializers identify the gates by their letters in the equations of `seqjax.cells`. A bias has `GH = G H` entries:
`G` gates of `H` hidden units each, one gate after another.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax.arguments import IntLike, check_setting
from seqjax.by_value import by_value

Initializer = Callable[..., Array]  # as in jax.nn.initializers: (key, shape, dtype) -> array
BiasInitializer = Callable[[Key[Array, ""], str, int], Float[Array, " GH"]]  # (key, gates, hidden_size) -> bias


def identity(key: Key[Array, ""], shape: tuple[int, int], dtype: Any = jnp.float32) -> Float[Array, "M N"]:
    """Starts a recurrent kernel as the identity, so that the state stays unchanged while the input is zero.

    Le, Jaitly and Hinton (2015), for rectified linear units.

    >>> identity(jax.random.key(0), (2, 2))
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    del key
    return jnp.eye(*shape, dtype=dtype)


def zeros_bias(key: Key[Array, ""], gates: str, hidden_size: int) -> Float[Array, " GH"]:
    """Starts every gate with a bias of zero.

    >>> zeros_bias(jax.random.key(0), "run", 1)
    Array([0., 0., 0.], dtype=float32)
    """
    del key
    return jnp.zeros(len(gates) * hidden_size, jnp.float32)


@by_value
def forget_bias(value: float) -> BiasInitializer:
    """Opens the forget gate before training, so that gradients reach far back in time from the first update on.

    Gers, Schmidhuber and Cummins (2000); Jozefowicz, Zaremba and Sutskever (2015) find that 1 is a good value. The bias
    is part of the parameters; the cell adds nothing when it runs. A cell without a gate `f`, such as a GRU, gets zeros.

    >>> forget_bias(1.0)(jax.random.key(0), "ifgo", 2)
    Array([0., 0., 1., 1., 0., 0., 0., 0.], dtype=float32)
    """

    def init(key: Key[Array, ""], gates: str, hidden_size: int) -> Float[Array, " GH"]:
        del key
        return jnp.repeat(jnp.array([value if gate == "f" else 0.0 for gate in gates], jnp.float32), hidden_size)

    return init


@by_value
def chrono(max_length: IntLike) -> BiasInitializer:
    """Spreads the memory spans of the hidden units over all time scales up to `max_length` steps.

    Tallec and Ollivier (2018), section 2: with `t` drawn uniformly from [1, T - 1],

        b_f = log t,  b_i = -b_f      LSTM
        b_u = -log t                  GRU, whose update gate lets the candidate in

    Args:
      max_length: the longest expected dependency `T`, in steps.

    Raises:
      ValueError: if `max_length` is below 3, because there would be nothing to spread.

    >>> i, f, g, o = chrono(100)(jax.random.key(0), "ifgo", 500).reshape(4, 500)
    >>> bool(jnp.all(i == -f)), float(jnp.exp(f).min()) >= 1, float(jnp.exp(f).max()) <= 99.001
    (True, True, True)
    """
    check_setting("max_length", max_length, lambda length: length >= 3, "at least 3 steps")

    def init(key: Key[Array, ""], gates: str, hidden_size: int) -> Float[Array, " GH"]:
        time = jax.random.uniform(key, (hidden_size,), jnp.float32, minval=1.0, maxval=max_length - 1.0)
        log_time = jnp.log(time)
        bias = {"f": log_time, "i": -log_time, "u": -log_time}
        return jnp.concatenate([bias.get(gate, jnp.zeros_like(log_time)) for gate in gates])

    return init


def each_gate(init: Initializer, key: Key[Array, ""], gates: str, shape: tuple[int, int]) -> Float[Array, "M N"]:
    """Draws one matrix per gate, so that `init` sees the shape in the equations, and concatenates the matrices."""
    return jnp.concatenate([init(k, shape, jnp.float32) for k in jax.random.split(key, len(gates))], axis=1)
