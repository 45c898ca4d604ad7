"""The training step of `train_step` in JAX: with seqjax, and with flax and optax as their documentation shows."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import seqjax
from benchmarks import peer, unroll_jax
from benchmarks.train_step_work import LEARNING_RATE, MAX_GRAD_NORM, Sizes, characters
from seqjax import devices
from seqjax.data import StreamBatch
from seqjax.layers.linen import Recurrent
from seqjax.models.language_model import LanguageModel
from seqjax.training import init_train_state, make_train_step
from seqjax.training.losses import mean_nll


def seqjax_step(sizes: Sizes) -> Callable[[], Any]:
    model = LanguageModel(sizes.vocabulary, Recurrent(seqjax.lstm(sizes.hidden)))
    inputs, targets = characters(sizes)
    ones = np.ones(inputs.shape, bool)
    batch = StreamBatch(inputs=inputs, targets=targets, resets=np.zeros(inputs.shape, bool), mask=ones)
    params = model.init(jax.random.key(0), jnp.zeros((1, 1), int))
    carry = model.apply(params, jnp.zeros((sizes.batch, 0), int))[0]

    def loss_fn(params: Any, carry: Any, batch: StreamBatch, key: jax.Array | None) -> Any:
        carry, logits = model.apply(params, batch.inputs, carry, resets=batch.resets)
        return mean_nll(logits, batch.targets, batch.mask), (carry, {})

    optimizer = optax.adam(LEARNING_RATE)
    mesh = devices.data_mesh(batch)
    state = devices.replicate(mesh, init_train_state(params, optimizer, carry, jax.random.key(1)))
    state = state._replace(carry=devices.shard(mesh, state.carry))
    batch = devices.shard(mesh, batch)
    step = make_train_step(loss_fn, optimizer, MAX_GRAD_NORM)

    def run() -> float:
        nonlocal state
        state, metrics = step(state, batch)
        return float(metrics["loss"])

    return run


def linen_step(sizes: Sizes) -> Callable[[], Any]:
    from flax import linen as nn

    class Model(nn.Module):
        @nn.compact
        def __call__(self, tokens: jax.Array, carry: Any) -> Any:
            rnn = nn.RNN(nn.OptimizedLSTMCell(sizes.hidden), return_carry=True)
            carry, ys = rnn(jax.nn.one_hot(tokens, sizes.vocabulary), initial_carry=carry)
            return carry, nn.Dense(sizes.vocabulary)(ys)

    model = Model()
    inputs, targets = map(jnp.asarray, characters(sizes))
    carry = (jnp.zeros((sizes.batch, sizes.hidden)), jnp.zeros((sizes.batch, sizes.hidden)))
    params = model.init(jax.random.key(0), inputs, carry)
    optimizer = optax.chain(optax.clip_by_global_norm(MAX_GRAD_NORM), optax.adam(LEARNING_RATE))
    state = params, optimizer.init(params), carry

    @jax.jit
    def step(state: Any, inputs: jax.Array, targets: jax.Array) -> Any:
        params, opt_state, carry = state

        def loss_fn(params: Any) -> Any:
            new_carry, logits = model.apply(params, inputs, carry)
            return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean(), new_carry

        (loss, carry), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, carry), loss

    def run() -> float:
        nonlocal state
        state, loss = step(state, inputs, targets)
        return float(loss)

    return run


STEPS = {"seqjax": seqjax_step, "flax.linen": linen_step}


def prepare(*, what: str, sizes: dict[str, int]) -> Callable[[], float]:
    """Returns the function to time: a training step that returns its loss."""
    return STEPS[what](Sizes(**sizes))


if __name__ == "__main__":
    peer.serve(unroll_jax.versions(), prepare)
