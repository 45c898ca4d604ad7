"""The cells against torch.nn: outputs, final states and all gradients, both directions, with lengths, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import seqjax

torch = pytest.importorskip("torch", reason="torch, the oracle of these tests, is not installed")
torch.set_num_threads(1)

B, T, F, H, P = 3, 6, 2, 4, 3
LENGTHS = np.array([4, 6, 1])  # torch takes no length of 0

CASES = {
    "simple_rnn": (seqjax.simple_rnn(H), torch.nn.RNN, {}),
    "simple_rnn_relu": (seqjax.simple_rnn(H, activation="relu"), torch.nn.RNN, {"nonlinearity": "relu"}),
    "simple_rnn_no_bias": (seqjax.simple_rnn(H, use_bias=False), torch.nn.RNN, {"bias": False}),
    "lstm": (seqjax.lstm(H), torch.nn.LSTM, {}),
    "lstm_projection": (seqjax.lstm(H, projection_size=P), torch.nn.LSTM, {"proj_size": P}),
    "gru": (seqjax.gru(H, reset_after=True), torch.nn.GRU, {}),
}


def to_torch(params, *, gradient=False):
    """The parameters of one direction, or their gradient, by torch's names; it adds two biases, and its z is 1 - u."""
    sign = np.repeat([1, -1, 1], H) if isinstance(params, seqjax.cells.GRUParams) else 1
    weights = {"weight_ih": sign * params.input_kernel, "weight_hh": sign * params.recurrent_kernel}
    if params.bias is not None:
        weights["bias_ih"] = sign * params.bias
        weights["bias_hh"] = weights["bias_ih"] if gradient else 0 * params.bias
    if getattr(params, "recurrent_bias", None) is not None:
        weights["bias_hh"] = np.concatenate([weights["bias_hh"][: 2 * H], params.recurrent_bias])
    if getattr(params, "projection", None) is not None:
        weights["weight_hr"] = params.projection
    return {name: np.transpose(weight) for name, weight in weights.items()}


def directions_stacked(trees):
    """The leaves of the forward and the backward tree, stacked as in torch."""
    return [np.stack(pair) for pair in zip(*map(jax.tree.leaves, trees), strict=True)]


def assert_close(result, expected):
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=1e-10), result, expected)


@pytest.mark.parametrize("name", CASES)
def test_outputs_states_and_gradients_equal_those_of_torch(name, x64):
    cell, module, options = CASES[name]
    like = jax.eval_shape(lambda key: cell.init(key, input_size=F), jax.random.key(0))
    params = oracles.random_like(0, (like, like))
    xs = oracles.random_like(1, np.empty((B, T, F)))
    starts = oracles.random_like(2, jax.eval_shape(lambda p: (cell.initial_state(p, (B,)),) * 2, params[0]))
    output_size = P if name == "lstm_projection" else H
    weights = oracles.random_like(3, (starts, np.empty((B, T, 2 * output_size))))

    @jax.jit
    def ours(params, xs, starts, lengths):
        def loss(params, xs, starts):
            result = seqjax.bidirectional((cell, cell), params, xs, lengths=lengths, initial_state=starts)
            return sum(map(jnp.vdot, jax.tree.leaves(weights), jax.tree.leaves(result))), result

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, xs, starts)

    (_, (states, ys)), (params_gradient, xs_gradient, starts_gradient) = ours(params, xs, starts, LENGTHS)

    network = module(F, H, batch_first=True, bidirectional=True, dtype=torch.float64, **options)
    names = [f"{weight}_l0{direction}" for direction in ("", "_reverse") for weight in to_torch(params[0])]
    values = [torch.tensor(weight) for direction in params for weight in to_torch(direction).values()]
    network.load_state_dict(dict(zip(names, values, strict=True)))
    torch_xs = torch.tensor(xs, requires_grad=True)
    torch_starts = [torch.tensor(leaf, requires_grad=True) for leaf in directions_stacked(starts)]
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch_xs, LENGTHS, batch_first=True, enforce_sorted=False)
    packed_ys, final = network(packed, torch_starts[0] if len(torch_starts) == 1 else tuple(torch_starts))
    torch_ys, _ = torch.nn.utils.rnn.pad_packed_sequence(packed_ys, batch_first=True, total_length=T)
    torch_states = [final] if len(torch_starts) == 1 else final
    torch_weights = map(torch.tensor, [*directions_stacked(weights[0]), weights[1]])
    sum((w * leaf).sum() for w, leaf in zip(torch_weights, [*torch_states, torch_ys], strict=True)).backward()

    assert_close(ys, torch_ys.detach().numpy())
    assert_close(directions_stacked(states), [leaf.detach().numpy() for leaf in torch_states])
    assert_close(xs_gradient, torch_xs.grad.numpy())
    assert_close(directions_stacked(starts_gradient), [leaf.grad.numpy() for leaf in torch_starts])
    gradients = [gradient for direction in params_gradient for gradient in to_torch(direction, gradient=True).values()]
    torch_gradients = {name: weight.grad.numpy() for name, weight in network.named_parameters()}
    assert_close(dict(zip(names, gradients, strict=True)), torch_gradients)
