"""What the recurrent functions must compute, as plain NumPy loops over rows and steps in float64.

Everything here is written from the equations and shares no code with the library: it only reads the fields of the
library's parameters and states. `CELLS` names the cells of the library, each beside the loop that it must equal.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax  # for jax.tree alone
import numpy as np

import seqjax  # for CELLS alone

Step = Callable[[Any, Any, np.ndarray], tuple[Any, np.ndarray]]  # (params, state, x) -> (state, y), of one row


def sigma(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def relu(a: np.ndarray) -> np.ndarray:
    return np.where(a > 0, a, 0)


def simple_rnn_step(params, h, x, *, activation=np.tanh):
    bias = 0 if params.bias is None else params.bias
    h = activation(params.input_kernel.T @ x + params.recurrent_kernel.T @ h + bias)
    return h, h


def jordan_rnn_step(params, y, x):
    h = np.tanh(params.input_kernel.T @ x + params.recurrent_kernel.T @ y + params.bias)
    y = np.tanh(params.output_kernel.T @ h + params.output_bias)
    return y, y


def lstm_step(params, state, x, *, cell_clip=np.inf):
    h, c, size = state.h, state.c, len(state.c)
    gates = "ifgo" if params.bias.size == 4 * size else "fgo"

    def net(gate):
        columns = slice(gates.index(gate) * size, (gates.index(gate) + 1) * size)
        w, u, b = params.input_kernel[:, columns], params.recurrent_kernel[:, columns], params.bias[columns]
        return w.T @ x + u.T @ h + b

    peepholes = dict.fromkeys("ifo", np.zeros(size))
    if params.peepholes is not None:
        peepholes.update(zip(gates.replace("g", ""), params.peepholes, strict=True))
    f = sigma(net("f") + peepholes["f"] * c)
    i = sigma(net("i") + peepholes["i"] * c) if "i" in gates else 1 - f
    c = np.clip(f * c + i * np.tanh(net("g")), -cell_clip, cell_clip)
    h = sigma(net("o") + peepholes["o"] * c) * np.tanh(c)
    if params.projection is not None:
        h = params.projection.T @ h
    return state._replace(h=h, c=c), h


def gru_step(params, h, x):
    (w_r, w_u, w_n), (u_r, u_u, u_n) = (np.split(k, 3, axis=1) for k in (params.input_kernel, params.recurrent_kernel))
    b_r, b_u, b_n = np.split(params.bias, 3)
    r = sigma(w_r.T @ x + u_r.T @ h + b_r)
    u = sigma(w_u.T @ x + u_u.T @ h + b_u)
    if params.recurrent_bias is None:
        n = np.tanh(w_n.T @ x + u_n.T @ (r * h) + b_n)
    else:
        n = np.tanh(w_n.T @ x + b_n + r * (u_n.T @ h + params.recurrent_bias))
    h = u * n + (1 - u) * h
    return h, h


def learned_initial_state_step(params, state, x, *, step):
    return step(params.cell, state, x)


def stack_step(params, states, x, *, steps):
    new_states = []
    for step, layer_params, state in zip(steps, params, states, strict=True):
        state, x = step(layer_params, state, x)
        new_states.append(state)
    return tuple(new_states), x


class Equations(NamedTuple):
    """A cell, one step of it by its equations, and the shapes of its parameters for an input of 2 features."""

    cell: seqjax.Cell
    step: Step
    shapes: list[tuple[int, ...]]


CELLS = {
    "simple_rnn": Equations(seqjax.simple_rnn(3), simple_rnn_step, [(2, 3), (3, 3), (3,)]),
    "simple_rnn_relu": Equations(
        seqjax.simple_rnn(3, activation="relu", use_bias=False),
        partial(simple_rnn_step, activation=relu),
        [(2, 3), (3, 3)],
    ),
    "jordan_rnn": Equations(seqjax.jordan_rnn(4, 2), jordan_rnn_step, [(2, 4), (2, 4), (4,), (4, 2), (2,)]),
    "lstm": Equations(seqjax.lstm(3), lstm_step, [(2, 12), (3, 12), (12,)]),
    "lstm_peepholes": Equations(seqjax.lstm(3, peepholes=True), lstm_step, [(2, 12), (3, 12), (12,), (3, 3)]),
    "lstm_projection": Equations(seqjax.lstm(3, projection_size=2), lstm_step, [(2, 12), (2, 12), (12,), (3, 2)]),
    "lstm_coupled": Equations(seqjax.lstm(3, coupled=True), lstm_step, [(2, 9), (3, 9), (9,)]),
    "lstm_cell_clip": Equations(
        seqjax.lstm(3, cell_clip=0.3), partial(lstm_step, cell_clip=0.3), [(2, 12), (3, 12), (12,)]
    ),
    "lstm_everything": Equations(
        seqjax.lstm(4, peepholes=True, projection_size=3, coupled=True),
        lstm_step,
        [(2, 12), (3, 12), (12,), (2, 4), (4, 3)],
    ),
    "gru": Equations(seqjax.gru(3), gru_step, [(2, 9), (3, 9), (9,)]),
    "gru_reset_after": Equations(seqjax.gru(3, reset_after=True), gru_step, [(2, 9), (3, 9), (9,), (3,)]),
    "learned_initial_state": Equations(
        seqjax.learned_initial_state(seqjax.lstm(3)),
        partial(learned_initial_state_step, step=lstm_step),
        [(2, 12), (3, 12), (12,), (3,), (3,)],
    ),
    "stack": Equations(
        seqjax.stack([seqjax.lstm(3), seqjax.gru(2)]),
        partial(stack_step, steps=(lstm_step, gru_step)),
        [(2, 12), (3, 12), (12,), (3, 6), (2, 6), (6,)],
    ),
}


class Unrolled(NamedTuple):
    """Result of `unroll`: leaves of the final state [B, ...], outputs [B, T, H], zero in the padding."""

    final_state: Any
    ys: np.ndarray


def unroll(
    step: Step,
    params: Any,
    restart: Any,  # the state of one row in which a packed sequence starts
    xs: np.ndarray,  # [B, T, I]
    lengths: np.ndarray,  # [B]
    resets: np.ndarray,  # [B, T]
    initial_state: Any,  # leaves [B, ...]
    output_size: int,
    *,
    reverse: bool = False,
) -> Unrolled:
    """Cuts each row into the sequences packed in it and runs them one after another, backwards if told to."""
    ys = np.zeros((*xs.shape[:2], output_size))
    final_states = []
    for b, length in enumerate(lengths):
        state = jax.tree.map(lambda leaf, b=b: leaf[b], initial_state)
        borders = [0, *(t for t in range(1, length) if resets[b, t]), length]
        sequences = [range(start, end) for start, end in zip(borders, borders[1:], strict=False)]
        for number, sequence in enumerate(reversed(sequences) if reverse else sequences):
            if number > 0 or (length > 0 and resets[b, 0] and not reverse):
                state = restart
            for t in reversed(sequence) if reverse else sequence:
                state, ys[b, t] = step(params, state, xs[b, t])
        final_states.append(state)
    return Unrolled(jax.tree.map(lambda *rows: np.stack(rows), *final_states), ys)


def directional_derivative(function: Callable[[Any], float], at: Any, along: Any, spacing: float = 2e-4) -> float:
    """The derivative of a function of a tree of arrays along a tree, by central differences of order 8.

    Truncation leaves an error of about spacing ** 8 and rounding one of 1e-16 / spacing: below 1e-11 together.
    """
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}

    def value(steps: int) -> float:
        return function(jax.tree.map(lambda a, d: a + steps * spacing * d, at, along))

    return sum(weight * (value(n) - value(-n)) for n, weight in weights.items()) / spacing


def inner_product(a: Any, b: Any) -> float:
    """The sum of the products of all entries of two trees of one structure."""
    return float(sum(np.sum(np.asarray(x) * np.asarray(y)) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)))


def random_like(seed: int, tree: Any, scale: float = 0.5) -> Any:
    """A tree of normal numbers in float64 with the shapes of another's leaves."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(scale=scale, size=np.shape(leaf)), tree)
