"""The model that all decoders in `decode` run: an LSTM with attention and input feeding.

Luong, Pham and Manning (2015), with the `general` score, whose keys are computed once. The attentional output `a` is
part of the next input:

    h   = LSTM([E y; a], h)
    c   = sum_s softmax_s(h . k_s) v_s      k_s = W v_s
    a'  = tanh(W_c [c; h])
    log p(y' | ...) = log_softmax(W_o a')
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import cells

BOS, EOS = 0, 1


class Sizes(NamedTuple):
    hidden: int = 512
    vocabulary: int = 8000
    source: int = 40
    target: int = 40


class Params(NamedTuple):
    embedding: jax.Array  # [V, H]
    lstm: cells.LSTMParams  # input size 2H
    combination: jax.Array  # [2H, H]
    output: jax.Array  # [H, V]


class Context(NamedTuple):
    keys: jax.Array  # [B, S, H]
    values: jax.Array  # [B, S, H]


class State(NamedTuple):
    lstm: cells.LSTMState
    attentional: jax.Array  # [B, H]


def make_params(sizes: Sizes) -> Params:
    """Draws weights with NumPy, the same for every library, and large enough for hypotheses to differ."""
    hidden, vocabulary = sizes.hidden, sizes.vocabulary
    rng = np.random.default_rng(0)

    def uniform(*shape: int, scale: float) -> np.ndarray:
        return rng.uniform(-scale, scale, shape).astype(np.float32)

    scale = 2 / hidden**0.5
    lstm = cells.LSTMParams(
        input_kernel=uniform(2 * hidden, 4 * hidden, scale=scale),
        recurrent_kernel=uniform(hidden, 4 * hidden, scale=scale),
        bias=uniform(4 * hidden, scale=scale),
        peepholes=None,
        projection=None,
    )
    return Params(
        embedding=uniform(vocabulary, hidden, scale=4.0),
        lstm=lstm,
        combination=uniform(2 * hidden, hidden, scale=scale),
        output=uniform(hidden, vocabulary, scale=3 * scale),
    )


def make_context(sizes: Sizes, batch: int) -> Context:
    """Draws keys and values in place of the outputs of an encoder."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal((batch, sizes.source, sizes.hidden), np.float32)
    return Context(values @ rng.standard_normal((sizes.hidden, sizes.hidden), np.float32) / sizes.hidden, values)


def initial_state(sizes: Sizes, batch: int) -> State:
    zeros = np.zeros((batch, sizes.hidden), np.float32)
    return State(cells.LSTMState(zeros, zeros), zeros)


def step(params: Params, context: Context, state: State, token: jax.Array) -> tuple[jax.Array, State]:
    """Computes a step of the model for one hypothesis."""
    x = jnp.concatenate([params.embedding[token], state.attentional])
    lstm, h = cells.lstm(len(params.output)).step(params.lstm, state.lstm, x)
    weights = jax.nn.softmax(context.keys @ h)
    attentional = jnp.tanh(jnp.concatenate([weights @ context.values, h]) @ params.combination)
    return attentional @ params.output, State(lstm, attentional)


over_beams = jax.vmap(step, in_axes=(None, None, 0, 0))  # the hypotheses of an example share its context
over_batch = jax.vmap(over_beams, in_axes=(None, 0, 0, 0))
