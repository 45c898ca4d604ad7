"""Diagnostics of gradients through time: Jacobians, contributions of single steps, spectral radius, saturation.

Let `s_t = f(s_{t-1}, x_t)` be the floats in the state of a cell, flattened to `S` numbers (`h` and `c` of an LSTM). The
chain rule connects two steps by a product of Jacobians (Hochreiter 1991; Bengio, Simard and Frasconi 1994):

    d s_T / d s_t = J_T J_{T-1} ... J_{t+1},    J_k = d s_k / d s_{k-1}

The norm of this product shrinks or grows with the distance `T - t` like the power of a number below or above 1:
gradients vanish or explode. Functions that take a `Cell` accept any cell and ONE sequence; use `jax.vmap` for more.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from seqjax.cells import GRUParams, LSTMParams
from seqjax.cells.contract import Cell, Params, State


class Saturation(NamedTuple):
    """For each unit, the fraction of its activations near each end of their range."""

    low: Float[Array, " H"]
    high: Float[Array, " H"]


def log_jacobian_norms(
    cell: Cell, params: Params, xs: Float[Array, "T I"], initial_state: State | None = None
) -> Float[Array, " T+1"]:
    """Computes the logarithm of the norm of d s_T / d s_t for each distance d = T - t, from 0 to `T`.

    Pascanu, Mikolov and Bengio (2013), section 2. The Frobenius norm is divided by that of the identity:

        log_norms[d] = log(|d s_T / d s_{T-d}| / sqrt(S))

    The result is 0 at distance 0 and stays 0 under an orthogonal recurrence. Its mean slope over a long distance is the
    largest Lyapunov exponent of the sequence. It is a logarithm because norms soon leave the range of floats; it is
    -inf where the Jacobian is zero. The cost is that of `S` backward passes.

    Args:
      cell: the cell.
      params: its parameters.
      xs: one sequence.
      initial_state: the state `s_0`; the cell's own initial state if None.

    >>> from seqjax.cells import SimpleRNNParams, simple_rnn
    >>> cell = simple_rnn(hidden_size=1, activation="relu")
    >>> params = SimpleRNNParams(jnp.array([[1.0]]), jnp.array([[0.5]]), jnp.array([0.0]))
    >>> jnp.exp(log_jacobian_norms(cell, params, jnp.ones((3, 1))))  # h' = x + h / 2
    Array([1.   , 0.5  , 0.25 , 0.125], dtype=float32)
    """
    state, counts, step = _flat_step(cell, params, initial_state)

    def forward(before: tuple[Array, Any], x: Array) -> tuple[tuple[Array, Any], tuple[Array, Any]]:
        return step(*before, x), before

    def backward(
        carry: tuple[Array, Array], inputs: tuple[tuple[Array, Any], Array]
    ) -> tuple[tuple[Array, Array], Array]:
        jacobian, log_norm = carry  # of d s_T / d s_k: a matrix of norm 1, and the logarithm of its true norm
        (before, counts), x = inputs
        _, pull_back, _ = jax.vjp(lambda state: step(state, counts, x), before, has_aux=True)
        [jacobian] = jax.vmap(pull_back)(jacobian)
        jacobian, log_factor = _normalized(jacobian)
        log_norm += log_factor
        return (jacobian, log_norm), log_norm

    _, states = lax.scan(forward, (state, counts), xs)
    start = (jnp.eye(state.size, dtype=state.dtype) / jnp.sqrt(state.size), jnp.zeros((), state.dtype))
    _, log_norms = lax.scan(backward, start, (states, xs), reverse=True)
    return jnp.concatenate([start[1][None], log_norms[::-1]])


def gradient_contributions(
    cell: Cell,
    params: Params,
    xs: Float[Array, "T I"],
    loss_fn: Callable[[Float[Array, "T H"]], Float[Array, "*L"]],
    initial_state: State | None = None,
) -> Params:
    """Computes the contribution of each step to the gradient of a loss: the terms of back-propagation through time.

    Pascanu, Mikolov and Bengio (2013), equations 3 to 5. `E_t` is the loss of step t. d+ / d theta is the derivative
    with respect to the weights used at step k, with the state before it as a constant:

        d E_t / d theta = sum_{k <= t} d E_t / d s_t  d s_t / d s_k  d+ s_k / d theta

    Args:
      cell: the cell.
      params: its parameters, `theta`.
      xs: one sequence.
      loss_fn: maps the outputs to a loss, or to losses of any shape `*L`, such as one for each of the `T` steps.
      initial_state: the state before the first step, a constant here; the cell's own initial state if None.

    Returns:
      For each parameter, an array [*L, T, ...] with the term of each step k. The sum over `T` is the ordinary gradient.

    >>> from seqjax.cells import SimpleRNNParams, simple_rnn
    >>> cell = simple_rnn(hidden_size=1, activation="relu", use_bias=False)
    >>> params = SimpleRNNParams(jnp.array([[1.0]]), jnp.array([[0.5]]), None)
    >>> terms = gradient_contributions(cell, params, jnp.array([[4.0], [0.0], [0.0]]), lambda ys: ys[:, 0])
    >>> terms.recurrent_kernel[:, :, 0, 0]  # h = 4, 2, 1; one row per loss, with 0 for later steps
    Array([[0., 0., 0.],
           [0., 4., 0.],
           [0., 2., 2.]], dtype=float32)
    """
    start = cell.initial_state(params) if initial_state is None else initial_state

    def loss_of_copies(copies: Params) -> Array:  # each step uses its own copy of the weights
        def step(state: State, inputs: tuple[Params, Array]) -> tuple[State, Array]:
            copy, x = inputs
            return cell.step(copy, state, x)

        _, ys = lax.scan(step, start, (copies, xs))
        return loss_fn(ys)

    return jax.jacrev(loss_of_copies)(jax.tree.map(lambda leaf: jnp.stack([leaf] * len(xs)), params))


def step_jacobian(cell: Cell, params: Params, state: State, x: Float[Array, " I"]) -> Float[Array, "S S"]:
    """Computes d s' / d s of one step: how a small change of the state propagates.

    >>> from seqjax.cells import SimpleRNNParams, simple_rnn
    >>> params = SimpleRNNParams(jnp.zeros((1, 2)), jnp.array([[1.0, 2.0], [3.0, 4.0]]), None)
    >>> step_jacobian(simple_rnn(hidden_size=2), params, jnp.zeros(2), jnp.zeros(1))  # the transposed recurrent kernel
    Array([[1., 3.],
           [2., 4.]], dtype=float32)
    """
    flat, counts, step = _flat_step(cell, params, state)
    return jax.jacrev(step, has_aux=True)(flat, counts, x)[0]


def spectral_radius(matrix: Float[Array, "S S"], squarings: int = 30) -> Float[Array, ""]:
    """Computes the largest absolute value of an eigenvalue, using only matrix products.

    Gelfand's formula (1941), with the power computed by repeated squaring:

        rho(A) = lim |A^n|^(1/n),    n = 2^squarings

    The spectral radius of the Jacobian of a step shows whether gradients vanish (below 1) or may explode (above 1) near
    that state (Pascanu, Mikolov and Bengio 2013, section 2.1). That of a recurrent kernel shows the same for a simple
    RNN near 0.

    Args:
      matrix: any square matrix, such as `step_jacobian(...)` or a recurrent kernel.
      squarings: number of times to square the matrix.

    >>> float(spectral_radius(jnp.array([[0.0, -2.0], [2.0, 0.0]])))  # its eigenvalues are 2i and -2i
    2.0
    """

    def square(carry: tuple[Array, Array], scale: Array) -> tuple[tuple[Array, Array], None]:
        power, log_radius = carry
        power, log_norm = _normalized(power @ power)
        return (power, log_radius + scale * log_norm), None

    scales = 0.5 ** jnp.arange(1, squarings + 1, dtype=matrix.dtype)
    (_, log_radius), _ = lax.scan(square, _normalized(matrix), scales)
    return jnp.exp(log_radius)


def gates(params: Params, state: State, x: Float[Array, "*B I"]) -> dict[str, Float[Array, "*B H"]]:
    """Computes the gates of a step, keyed by their letters in the equations of `seqjax.cells`.

    Args:
      params: parameters of an `lstm` without coupled gates or peepholes, or of a `gru`.
      state: the state before the step.
      x: its input.

    Returns:
      i, f and o of an LSTM, or r and u of a GRU, each between 0 and 1.

    Raises:
      TypeError: if the parameters belong to another cell.

    >>> from seqjax.cells import gru
    >>> cell = gru(hidden_size=4)
    >>> params = cell.init(jax.random.key(0), input_size=3)
    >>> gates(params, cell.initial_state(params), jnp.zeros(3))["u"]
    Array([0.5, 0.5, 0.5, 0.5], dtype=float32)
    """
    match params:
        case LSTMParams(peepholes=None) if params.bias.size == 4 * state.c.shape[-1]:
            h, letters = state.h, "ifgo"
        case GRUParams():
            h, letters = state, "run"
        case _:
            raise TypeError(f"params: expected the parameters of a plain lstm or gru, got {jax.tree.structure(params)}")
    products = x @ params.input_kernel + h @ params.recurrent_kernel
    products += jnp.broadcast_to(params.bias, products.shape)
    found = dict(zip(letters, jnp.split(products, len(letters), axis=-1), strict=True))
    return {letter: jax.nn.sigmoid(gate) for letter, gate in found.items() if letter not in "gn"}  # without candidates


def saturation(
    activations: Float[Array, "*B H"], ends: tuple[float, float] = (0.0, 1.0), near: float = 0.1
) -> Saturation:
    """Computes how often each unit is near either end of its range, where its gradient nearly vanishes.

    Karpathy, Johnson and Fei-Fei (2015), section 4.2, who call a gate left-saturated below 0.1 and right-saturated
    above 0.9.

    Args:
      activations: values of `H` units, over any steps and sequences.
      ends: the range: 0 and 1 for a gate, -1 and 1 for a tanh.
      near: the fraction of the range that counts as near an end.

    Raises:
      ValueError: if `near` is not between 0 and 0.5.

    >>> saturation(jnp.array([[0.05, 0.5], [0.95, 0.5], [0.99, 0.5], [0.98, 0.02]]))
    Saturation(low=Array([0.25, 0.25], dtype=float32), high=Array([0.75, 0.  ], dtype=float32))
    """
    if not 0 < near < 0.5:
        raise ValueError(f"near: expected a fraction between 0 and 0.5, got {near}")
    low, high = ends
    margin = near * (high - low)
    axes = tuple(range(activations.ndim - 1))
    return Saturation((activations < low + margin).mean(axes), (activations > high - margin).mean(axes))


def _flat_step(
    cell: Cell, params: Params, state: State | None
) -> tuple[Float[Array, " S"], Any, Callable[[Array, Any, Array], tuple[Array, Any]]]:
    """Returns a state in two parts, a flat array of its floats and a list of its other leaves, and the step of both.

    The state is the cell's own initial state if None.
    """
    leaves, structure = jax.tree.flatten(cell.initial_state(params) if state is None else state)
    is_float = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    _, unflatten = ravel_pytree(list(itertools.compress(leaves, is_float)))

    def split(leaves: list[Array]) -> tuple[Float[Array, " S"], list[Array]]:
        floats, others = (
            [leaf for leaf, each in zip(leaves, is_float, strict=True) if each == kind] for kind in (1, 0)
        )
        return ravel_pytree(floats)[0], others

    def step(flat: Array, others: list[Array], x: Array) -> tuple[Array, list[Array]]:
        next_float, next_other = iter(unflatten(flat)), iter(others)
        merged = [next(next_float if each else next_other) for each in is_float]
        state, _ = cell.step(params, jax.tree.unflatten(structure, merged), x)
        return split(jax.tree.leaves(state))

    return *split(leaves), step


def _normalized(matrix: Float[Array, "S S"]) -> tuple[Float[Array, "S S"], Float[Array, ""]]:
    """Divides a matrix by its Frobenius norm and returns the logarithm of that norm too; a zero matrix stays zero."""
    largest = jnp.abs(matrix).max()  # scale first, or the squares could leave the range of floats
    scaled = matrix / jnp.where(largest > 0, largest, 1)
    norm = jnp.linalg.norm(scaled)
    return scaled / jnp.where(norm > 0, norm, 1), jnp.log(norm) + jnp.log(largest)
