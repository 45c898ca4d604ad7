"""The cells against keras on JAX: outputs, final states and all gradients, both directions, with masks, in float64."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import seqjax

os.environ.setdefault("KERAS_BACKEND", "jax")  # read once, when keras is imported
keras = pytest.importorskip("keras", reason="keras, the oracle of these tests, is not installed")
if keras.backend.backend() != "jax":
    pytest.skip("keras runs on another backend: unset KERAS_BACKEND or set it to jax", allow_module_level=True)

from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE  # noqa: E402

B, T, F, H = 3, 6, 2, 4
LENGTHS = np.array([4, 6, 0])


def to_keras(params):
    """The parameters in keras's order; its GRU has the gates z, r, h, and z is 1 - u."""
    if not isinstance(params, seqjax.cells.GRUParams):
        return [params.input_kernel, params.recurrent_kernel, params.bias]
    w, u, b = (
        jnp.concatenate([-update, reset, candidate], axis=-1)
        for reset, update, candidate in (jnp.split(leaf, 3, axis=-1) for leaf in params[:3])
    )
    if params.recurrent_bias is None:
        return [w, u, b]
    return [w, u, jnp.stack([b, jnp.concatenate([jnp.zeros(2 * H), params.recurrent_bias])])]


CASES = {
    "simple_rnn": (seqjax.simple_rnn(H), keras.layers.SimpleRNN, {}),
    "lstm": (seqjax.lstm(H), keras.layers.LSTM, {}),
    "gru": (seqjax.gru(H), keras.layers.GRU, {"reset_after": False}),
    "gru_reset_after": (seqjax.gru(H, reset_after=True), keras.layers.GRU, {"reset_after": True}),
}


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_states_and_gradients_equal_those_of_keras(name, reverse, x64, monkeypatch):
    monkeypatch.setitem(BIT64_TO_BIT32_DTYPE, "float64", "float64")  # on JAX, keras otherwise rounds within a layer
    cell, make_layer, options = CASES[name]
    params = oracles.random_like(0, jax.eval_shape(lambda key: cell.init(key, input_size=F), jax.random.key(0)))
    xs = oracles.random_like(1, np.empty((B, T, F)))
    start = oracles.random_like(2, jax.eval_shape(lambda params: cell.initial_state(params, (B,)), params))
    weights = oracles.random_like(3, (start, np.empty((B, T, H))))
    layer = make_layer(
        H,
        return_sequences=True,
        return_state=True,
        zero_output_for_mask=True,
        dtype="float64",
        go_backwards=reverse,
        **options,
    )
    layer.build((B, T, F))

    def ours(params, xs, start):
        return seqjax.unroll(cell, params, xs, lengths=jnp.asarray(LENGTHS), initial_state=start, reverse=reverse)

    def theirs(params, xs, start):
        (ys, *state), _ = layer.stateless_call(
            to_keras(params),
            layer.non_trainable_variables,
            xs,
            mask=jnp.asarray(np.arange(T) < LENGTHS[:, None]),
            initial_state=jax.tree.leaves(start),
        )
        return jax.tree.unflatten(jax.tree.structure(start), state), ys[:, ::-1] if reverse else ys

    def with_gradient(run):
        def loss(*arguments):
            result = run(*arguments)
            return sum(map(jnp.vdot, jax.tree.leaves(weights), jax.tree.leaves(result))), result

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(params, xs, start)

    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=1e-10), with_gradient(ours), with_gradient(theirs)
    )
