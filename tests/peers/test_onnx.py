"""The cells against ONNX's reference operators: outputs, final states and all gradients, both directions, in float64.

The reference is NumPy, so its gradient is taken by differences. It ignores `sequence_lens` and `input_forget`: rows run
one by one, each cut to its length, and the coupled gates of the LSTM have no peer here.
"""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx.reference
import oracles
import pytest

import seqjax

B, T, F, H = 3, 6, 2, 4
LENGTHS = np.array([4, 6, 1])

CASES = {
    "simple_rnn": (seqjax.simple_rnn(H), "RNN", {}),
    "lstm": (seqjax.lstm(H), "LSTM", {}),
    "lstm_peepholes": (seqjax.lstm(H, peepholes=True), "LSTM", {}),
    "gru": (seqjax.gru(H), "GRU", {"linear_before_reset": 0}),
    "gru_reset_after": (seqjax.gru(H, reset_after=True), "GRU", {"linear_before_reset": 1}),
}
# Where ONNX's gates stand among ours, and their signs: i, o, f, c of i, f, g, o; z, r, h of r, u, n, where z = 1 - u.
GATES = {"RNN": ([0], [1]), "LSTM": ([0, 3, 1, 2], [1, 1, 1, 1]), "GRU": ([1, 0, 2], [-1, 1, 1])}


def to_onnx(operator, params):
    """The parameters of one direction by the names of ONNX's inputs."""
    order, signs = GATES[operator]

    def gates(leaf):
        parts = np.split(leaf, len(order), axis=-1)
        return np.concatenate([sign * parts[gate] for gate, sign in zip(order, signs, strict=True)], axis=-1)

    recurrent_bias = np.zeros_like(params.bias)
    if getattr(params, "recurrent_bias", None) is not None:
        recurrent_bias[2 * H :] = params.recurrent_bias
    inputs = {"W": gates(params.input_kernel).T, "R": gates(params.recurrent_kernel).T}
    inputs["B"] = np.concatenate([gates(params.bias), recurrent_bias])
    if getattr(params, "peepholes", None) is not None:
        i, f, o = params.peepholes
        inputs["P"] = np.concatenate([i, o, f])
    return inputs


def reference(name):
    """`(params, xs, starts) -> (states, ys)` of both directions, by ONNX's operator."""
    cell, operator, attributes = CASES[name]
    state_names = ["initial_h", "initial_c"] if operator == "LSTM" else ["initial_h"]
    inputs = ["X", "W", "R", "B", "", *state_names, *["P"] * (name == "lstm_peepholes")]
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(state_names)]
    node = onnx.helper.make_node(operator, inputs, outputs, hidden_size=H, direction="bidirectional", **attributes)

    def value(name):
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, None)

    graph = onnx.helper.make_graph([node], name, [value(name) for name in inputs if name], list(map(value, outputs)))
    evaluator = onnx.reference.ReferenceEvaluator(onnx.helper.make_model(graph))

    def run(params, xs, starts):
        weights = [to_onnx(operator, direction) for direction in params]
        feeds = {name: np.stack([direction[name] for direction in weights]) for name in weights[0]}
        ys, finals = np.zeros((B, T, 2 * H)), []
        for row, length in enumerate(LENGTHS):
            states = [np.stack(pair) for pair in zip(*(jax.tree.leaves(start) for start in starts), strict=True)]
            feeds |= {name: state[:, row, None] for name, state in zip(state_names, states, strict=True)}
            y, *final = evaluator.run(None, feeds | {"X": xs[row, :length, None]})  # y [T, 2, 1, H]
            ys[row, :length] = y.reshape(length, 2 * H)
            finals.append([leaf[:, 0] for leaf in final])
        final = [np.stack(rows, axis=1) for rows in zip(*finals, strict=True)]
        structure = jax.tree.structure(starts[0])
        return tuple(jax.tree.unflatten(structure, [leaf[direction] for leaf in final]) for direction in (0, 1)), ys

    return run


@pytest.mark.parametrize("name", CASES)
def test_outputs_states_and_gradients_equal_those_of_onnx(name, x64):
    cell, _, _ = CASES[name]
    like = jax.eval_shape(lambda key: cell.init(key, input_size=F), jax.random.key(0))
    state = jax.eval_shape(lambda params: cell.initial_state(params, (B,)), like)
    arguments = oracles.random_like(0, ((like, like), np.empty((B, T, F)), (state, state)))
    weights = oracles.random_like(1, ((state, state), np.empty((B, T, 2 * H))))

    @jax.jit
    def ours(arguments, lengths):
        def loss(arguments):
            params, xs, starts = arguments
            result = seqjax.bidirectional((cell, cell), params, xs, lengths=lengths, initial_state=starts)
            return sum(map(jnp.vdot, jax.tree.leaves(weights), jax.tree.leaves(result))), result

        return jax.value_and_grad(loss, has_aux=True)(arguments)

    run = reference(name)
    (_, result), gradient = ours(arguments, LENGTHS)
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=1e-10), result, run(*arguments))
    for seed in range(2, 6):
        along = oracles.random_like(seed, arguments)
        slope = oracles.directional_derivative(lambda a: oracles.inner_product(weights, run(*a)), arguments, along)
        np.testing.assert_allclose(oracles.inner_product(gradient, along), slope, rtol=0, atol=1e-10)
