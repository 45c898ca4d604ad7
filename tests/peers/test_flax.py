"""The cells against flax.linen: outputs, final states and all gradients, both directions, with lengths, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from flax import linen as nn

import seqjax

B, T, F, H = 3, 6, 2, 4
LENGTHS = np.array([4, 6, 1])  # a row of length 0 ends in the state of its last padded step there


def to_flax(params):
    """The parameters by flax's names; its z is 1 - u."""
    match params:
        case seqjax.cells.SimpleRNNParams():
            return {"i": {"kernel": params.input_kernel, "bias": params.bias}, "h": {"kernel": params.recurrent_kernel}}
        case seqjax.cells.LSTMParams():
            gates = zip("ifgo", *(jnp.split(leaf, 4, axis=-1) for leaf in params[:3]), strict=True)
            kernels = [{f"i{gate}": {"kernel": w}, f"h{gate}": {"kernel": u, "bias": b}} for gate, w, u, b in gates]
            return {name: dense for gate in kernels for name, dense in gate.items()}
        case seqjax.cells.GRUParams():
            (w_r, w_u, w_n), (u_r, u_u, u_n), (b_r, b_u, b_n) = (jnp.split(leaf, 3, axis=-1) for leaf in params[:3])
            return {
                "ir": {"kernel": w_r, "bias": b_r},
                "iz": {"kernel": -w_u, "bias": -b_u},
                "in": {"kernel": w_n, "bias": b_n},
                "hr": {"kernel": u_r},
                "hz": {"kernel": -u_u},
                "hn": {"kernel": u_n, "bias": params.recurrent_bias},
            }


CASES = {
    "simple_rnn": (seqjax.simple_rnn(H), nn.SimpleCell),
    "lstm": (seqjax.lstm(H), nn.OptimizedLSTMCell),
    "gru": (seqjax.gru(H, reset_after=True), nn.GRUCell),
}


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_states_and_gradients_equal_those_of_flax(name, reverse, x64):
    cell, flax_cell = CASES[name]
    params = oracles.random_like(0, jax.eval_shape(lambda key: cell.init(key, input_size=F), jax.random.key(0)))
    xs = oracles.random_like(1, np.empty((B, T, F)))
    start = oracles.random_like(2, jax.eval_shape(lambda params: cell.initial_state(params, (B,)), params))
    weights = oracles.random_like(3, (start, np.empty((B, T, H))))
    valid = (np.arange(T) < LENGTHS[:, None])[..., None]

    def ours(params, xs, start):
        return seqjax.unroll(cell, params, xs, lengths=jnp.asarray(LENGTHS), initial_state=start, reverse=reverse)

    def theirs(params, xs, start):
        rnn = nn.RNN(flax_cell(H, param_dtype=jnp.float64), reverse=reverse, keep_order=True, return_carry=True)
        carry = (start.c, start.h) if name == "lstm" else start
        variables = {"params": {"cell": to_flax(params)}}
        carry, ys = rnn.apply(variables, xs, initial_carry=carry, seq_lengths=jnp.asarray(LENGTHS))
        state = seqjax.cells.LSTMState(h=carry[1], c=carry[0]) if name == "lstm" else carry
        return state, jnp.where(valid, ys, 0)

    def with_gradient(run):
        def loss(*arguments):
            result = run(*arguments)
            return sum(map(jnp.vdot, jax.tree.leaves(weights), jax.tree.leaves(result))), result

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(params, xs, start)

    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=1e-10), with_gradient(ours), with_gradient(theirs)
    )
