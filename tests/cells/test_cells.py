import inspect

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import seqjax
from seqjax.cells import GRUParams, SimpleRNNParams
from seqjax.cells.catalogue import CELLS

INPUT_SIZE = 2


def random_case(name, batch_shape):
    """A cell, its loop, and random parameters, state and input."""
    cell, oracle, _ = oracles.CELLS[name]
    like = jax.eval_shape(lambda key: cell.init(key, input_size=INPUT_SIZE), jax.random.key(0))
    params = oracles.random_like(15, like)  # seeds that leave the relu network away from its kinks
    state = oracles.random_like(16, jax.eval_shape(lambda params: cell.initial_state(params, batch_shape), params))
    return cell, oracle, params, state, oracles.random_like(17, np.empty((*batch_shape, INPUT_SIZE)))


@pytest.mark.parametrize("name", oracles.CELLS)
def test_step_equals_its_equations(name, x64):
    cell, oracle, params, state, x = random_case(name, (2, 2))
    result = jax.jit(cell.step)(*jax.tree.map(jnp.asarray, (params, state, x)))
    for row in np.ndindex(2, 2):
        expected = oracle(params, jax.tree.map(lambda leaf, row=row: leaf[row], state), x[row])
        jax.tree.map(lambda a, e, row=row: np.testing.assert_allclose(a[row], e, rtol=0, atol=1e-14), result, expected)


@pytest.mark.parametrize("name", oracles.CELLS)
def test_gradient_of_a_step_equals_differences_of_its_equations(name, x64):
    cell, oracle, *arguments = random_case(name, ())
    weights = oracles.random_like(18, oracle(*arguments))

    def loss(arguments):
        return sum(map(jnp.vdot, *map(jax.tree.leaves, (weights, cell.step(*arguments)))))

    gradient = jax.jit(jax.grad(loss))(jax.tree.map(jnp.asarray, arguments))
    for seed in range(19, 23):
        along = oracles.random_like(seed, arguments)
        slope = oracles.directional_derivative(lambda a: oracles.inner_product(weights, oracle(*a)), arguments, along)
        np.testing.assert_allclose(oracles.inner_product(gradient, along), slope, rtol=0, atol=1e-11)


def test_each_cell_of_the_experiments_has_its_equations_here():
    assert set(CELLS) - {"irnn"} <= set(oracles.CELLS)  # irnn: another start of simple_rnn_relu


@pytest.mark.parametrize("name", oracles.CELLS)
def test_init_gives_float32_of_the_shapes_in_the_equations(name, x64):
    cell, _, shapes = oracles.CELLS[name]
    params = jax.eval_shape(lambda key: cell.init(key, input_size=INPUT_SIZE), jax.random.key(0))
    assert [leaf.shape for leaf in jax.tree.leaves(params)] == shapes
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", oracles.CELLS)
def test_initial_state_and_output_have_the_dtype_of_the_parameters(name):
    cell = oracles.CELLS[name].cell

    def step(key):
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), cell.init(key, input_size=INPUT_SIZE))
        state = cell.initial_state(params, (4,))
        return state, cell.step(params, state, jnp.ones((4, INPUT_SIZE), jnp.bfloat16))

    state, (next_state, y) = jax.eval_shape(step, jax.random.key(0))
    assert state == next_state
    assert {leaf.dtype for leaf in jax.tree.leaves((state, y))} == {jnp.dtype("bfloat16")}
    assert {leaf.shape[:-1] for leaf in jax.tree.leaves((state, y))} == {(4,)}


@pytest.mark.parametrize(
    ("cell", "gates"), [(seqjax.lstm(50), 4), (seqjax.lstm(50, coupled=True), 3), (seqjax.gru(50), 3)]
)
def test_each_gate_is_drawn_as_a_matrix_of_its_own(cell, gates):
    params = cell.init(jax.random.key(0), input_size=70)
    recurrent = np.split(np.asarray(params.recurrent_kernel, np.float64), gates, axis=1)
    for kernel in recurrent:
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(50), atol=1e-5)
    assert not np.allclose(recurrent[0], recurrent[1])
    glorot_bound = np.sqrt(6 / (70 + 50))
    for kernel in np.split(np.asarray(params.input_kernel), gates, axis=1):
        assert 0.99 * glorot_bound < np.abs(kernel).max() <= glorot_bound
        np.testing.assert_allclose(kernel.std(), glorot_bound / np.sqrt(3), rtol=0.05)  # uniform


def test_forget_bias_of_one_stands_in_the_parameters():
    for cell, forget_gate in (seqjax.lstm(2), 1), (seqjax.lstm(2, coupled=True), 0):
        bias = cell.init(jax.random.key(0), input_size=1).bias.reshape(-1, 2)
        np.testing.assert_array_equal(bias, np.eye(len(bias))[:, forget_gate, None] * [1, 1])
    assert not seqjax.gru(2).init(jax.random.key(0), input_size=1).bias.any()


def test_initializers_are_asked_for_each_matrix():
    identity = lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype)  # noqa: E731
    cells = [
        make(2, kernel_init=jax.nn.initializers.ones, recurrent_init=identity) for make in (seqjax.lstm, seqjax.gru)
    ]
    for cell, gates in zip([*cells, seqjax.simple_rnn(2, recurrent_init=identity)], (4, 3, 1), strict=True):
        params = cell.init(jax.random.key(0), input_size=1)
        np.testing.assert_array_equal(params.recurrent_kernel, np.tile(np.eye(2), gates))
        assert gates == 1 or (params.input_kernel == 1).all()
    bias = seqjax.lstm(2, bias_init=seqjax.forget_bias(3.0)).init(jax.random.key(0), input_size=1).bias
    np.testing.assert_array_equal(bias, [0, 0, 3, 3, 0, 0, 0, 0])


@pytest.mark.parametrize("name", CELLS)
def test_init_draws_each_matrix_and_the_bias_as_asked_by_a_key_of_its_own(name):
    asked = []

    def draw(key, shape, dtype):
        asked.append((*jax.random.key_data(key).tolist(), shape))
        return jnp.full(shape, len(asked), dtype)

    def draw_bias(key, gates, hidden_size):
        asked.append((*jax.random.key_data(key).tolist(), len(gates) * hidden_size))
        return jnp.full(len(gates) * hidden_size, len(asked), jnp.float32)

    options = {"kernel_init": draw, "recurrent_init": draw}
    if "bias_init" in inspect.signature(CELLS[name]).parameters:
        options["bias_init"] = draw_bias
    params = CELLS[name](3, **options).init(jax.random.key(0), input_size=2)
    gates = params.input_kernel.shape[1] // 3
    matrices = [*np.split(params.input_kernel, gates, axis=1), *np.split(params.recurrent_kernel, gates, axis=1)]
    drawn = [*matrices, params.bias] if "bias_init" in options else matrices
    assert sorted(value for array in drawn for value in np.unique(array)) == [1 + n for n in range(len(asked))]
    assert [shape for *_, shape in asked[: 2 * gates]] == [(2, 3)] * gates + [(3, 3)] * gates
    assert len({tuple(key) for *key, _ in asked}) == len(asked)
    with pytest.raises(ValueError, match="^hidden_size: expected at least 1, got 0"):
        CELLS[name](0)


@pytest.mark.parametrize("name", [n for n, make in CELLS.items() if "bias_init" in inspect.signature(make).parameters])
def test_chrono_lets_each_gated_cell_keep_its_state(name):
    def what_is_left(bias_init):
        cell = CELLS[name](64, recurrent_init=jax.nn.initializers.zeros, bias_init=bias_init)  # the candidate is 0
        params = cell.init(jax.random.key(0), input_size=2)
        start = jax.tree.map(jnp.ones_like, cell.initial_state(params))
        end, _ = seqjax.unroll(cell, params, jnp.zeros((100, 2)), initial_state=start)
        return jax.tree.leaves(end)[-1].mean()  # of an LSTM, the memory

    assert what_is_left(seqjax.zeros_bias) < 1e-20 < 0.1 < what_is_left(seqjax.chrono(100))


def test_coupled_gates_are_an_lstm_whose_input_gate_is_the_forget_gate_negated():
    # sigma(-a) = 1 - sigma(a)
    coupled, free = seqjax.lstm(3, coupled=True, peepholes=True), seqjax.lstm(3, peepholes=True)
    params = coupled.init(jax.random.key(0), input_size=2)
    f = {name: getattr(params, name)[..., :3] for name in ("input_kernel", "recurrent_kernel", "bias")}
    doubled = {name: jnp.concatenate([-gate, getattr(params, name)], axis=-1) for name, gate in f.items()}
    doubled["peepholes"] = jnp.concatenate([-params.peepholes[:1], params.peepholes])
    state = free.initial_state(params._replace(**doubled))._replace(c=jnp.array([1.0, -2.0, 0.5]))
    x = jnp.array([0.3, -0.7])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        coupled.step(params, state, x),
        free.step(params._replace(**doubled), state, x),
    )


def test_a_closed_update_gate_keeps_the_state_and_an_open_one_lets_the_candidate_in():
    params = GRUParams(jnp.zeros((1, 6)), jnp.zeros((2, 6)), jnp.array([0.0, 0, -100, -100, 0.5, 0.5]), None)
    h, x = jnp.array([0.25, -3.0]), jnp.ones(1)
    np.testing.assert_array_equal(seqjax.gru(2).step(params, h, x)[0], h)
    params = params._replace(bias=-params.bias)
    np.testing.assert_allclose(seqjax.gru(2).step(params, h, x)[0], np.tanh([-0.5, -0.5]), rtol=1e-6)


def test_cell_clip_bounds_the_memory_on_both_sides():
    cell = seqjax.lstm(2, cell_clip=0.5)
    params = cell.init(jax.random.key(0), input_size=1)
    state = cell.initial_state(params)._replace(c=jnp.array([9.0, -9.0]))
    np.testing.assert_array_equal(cell.step(params, state, jnp.zeros(1))[0].c, [0.5, -0.5])


def test_identity_relu_network_sums_its_inputs():
    cell = seqjax.simple_rnn(
        2, activation="relu", recurrent_init=lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype)
    )
    params = cell.init(jax.random.key(0), input_size=2)._replace(input_kernel=jnp.eye(2))
    xs = jnp.array([[1.0, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(seqjax.unroll(cell, params, xs)[0], xs.sum(axis=0))


def test_learned_initial_state_starts_at_the_one_of_the_cell():
    cell = seqjax.learned_initial_state(seqjax.learned_initial_state(seqjax.gru(2)))
    params = cell.init(jax.random.key(0), input_size=1)
    np.testing.assert_array_equal(params.initial_state, [0, 0])
    params = params._replace(initial_state=jnp.array([1.0, 2]))
    np.testing.assert_array_equal(cell.initial_state(params, (2, 1)), [[[1, 2]], [[1, 2]]])


def test_steps_lower_for_every_accelerator(lowers):
    cases = [random_case(name, (2,)) for name in oracles.CELLS]
    arguments = jax.tree.map(jnp.asarray, [tuple(arguments) for _, _, *arguments in cases])
    lowers(lambda arguments: [cell.step(*a) for (cell, *_), a in zip(cases, arguments, strict=True)], arguments)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: seqjax.lstm(0), ValueError, "hidden_size: expected at least 1, got 0"),
        (lambda: seqjax.gru(-1), ValueError, "hidden_size"),
        (lambda: seqjax.simple_rnn(True), TypeError, "hidden_size: expected an int, got True"),
        (lambda: seqjax.gru(3.0), TypeError, "hidden_size: expected an int, got 3.0"),
        (lambda: seqjax.jordan_rnn(0, 1), ValueError, "hidden_size"),
        (lambda: seqjax.jordan_rnn(1, 0), ValueError, "output_size"),
        (lambda: seqjax.lstm(2, projection_size=0), ValueError, "projection_size"),
        (lambda: seqjax.lstm(2, cell_clip=0.0), ValueError, "cell_clip"),
        (lambda: seqjax.lstm(2, cell_clip=float("nan")), ValueError, "cell_clip"),
        (lambda: seqjax.simple_rnn(2, activation="sine"), ValueError, "activation: .*'sine'"),
        (lambda: seqjax.lstm(2).init(jax.random.key(0), input_size=0), ValueError, "input_size"),
        (lambda: seqjax.gru(2).init(jax.random.key(0), input_size=1.5), TypeError, "input_size"),
    ],
)
def test_refuses_bad_sizes(make, error, message, unchecked):
    with pytest.raises(error, match=f"^{message}"):
        make()


@pytest.mark.parametrize("name", oracles.CELLS)
@pytest.mark.parametrize("shape", [(3,), (2, 1), ()])
def test_refuses_an_input_of_another_size(name, shape, unchecked):
    cell, _, params, state, _ = random_case(name, shape[:-1])
    with pytest.raises(ValueError, match=r"^x: expected 2 features on the last axis to match input_kernel, got shape"):
        jax.eval_shape(cell.step, params, state, jnp.zeros(shape))


def test_a_simple_rnn_without_bias_is_one_with_bias_zero():
    with_bias = SimpleRNNParams(jnp.array([[0.5]]), jnp.array([[-0.7]]), jnp.zeros(1))
    h, x = jnp.array([0.4]), jnp.array([0.9])
    expected = seqjax.simple_rnn(1).step(with_bias, h, x)
    result = seqjax.simple_rnn(1, use_bias=False).step(with_bias._replace(bias=None), h, x)
    np.testing.assert_array_equal(result, expected)


def test_irnn_starts_by_keeping_what_it_has():
    cell = CELLS["irnn"](5)
    params = cell.init(jax.random.key(0), input_size=3)
    h = jnp.array([0.0, 1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(cell.step(params, h, jnp.zeros(3))[0], h)
    np.testing.assert_array_equal(cell.step(params, -h, jnp.zeros(3))[0], jnp.zeros(5))
    assert 0 < jnp.abs(params.input_kernel).max() < 0.005
