"""What a recurrent cell is: the contract that all cells keep, and what each of them checks.

A cell maps a state and an input to the next state and an output. Everything that runs a cell over time
(`unroll`, the decoders, the Flax shells) knows only the contract `Cell`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array

Initializer = Callable[..., Array]  # as in jax.nn.initializers: (key, shape, dtype) -> array
Params = Any  # a pytree of arrays
State = Any  # a pytree of arrays, each with the batch axes first


class Cell(NamedTuple):
    """A recurrent cell: pure functions of its parameters and its state.

    By convention the parameters are a NamedTuple in which the weights that multiply the hidden state are called
    `recurrent_kernel`, and the state is the hidden state `h` itself or a NamedTuple with a field `h`; this is all
    that the wrappers of `seqjax.regularization` ask of a cell.
    """

    init: Callable[..., Params]  # (key, *, input_size) -> params
    initial_state: Callable[..., State]  # (params, batch_shape=()) -> state
    step: Callable[[Params, State, Array], tuple[State, Array]]  # x [*B, I] -> y [*B, H]
    sequence: Callable[..., tuple[State, Array]] | None = None  # a faster way than a scan of step: see recurrence.py


def check_size(name: str, size: int) -> None:
    """Checks the size of a state or an input, by the name of the argument.

    Raises:
      TypeError: it is no int.
      ValueError: it is not positive.

    >>> check_size("hidden_size", 0)
    Traceback (most recent call last):
    ValueError: hidden_size: expected at least 1, got 0
    """
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"{name}: expected an int, got {size!r}")
    if size < 1:
        raise ValueError(f"{name}: expected at least 1, got {size}")


def check_features(params: Params, x: Array) -> None:
    """Checks that an input has as many features as the `input_kernel` of the parameters reads.

    Raises:
      ValueError: it has others.
    """
    expected = params.input_kernel.shape[0]
    if x.ndim == 0 or x.shape[-1] != expected:
        raise ValueError(f"x: expected {expected} features on the last axis, as input_kernel has, got shape {x.shape}")
