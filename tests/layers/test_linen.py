from functools import partial

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from flax import linen as nn
from flax.errors import InvalidRngError, ScopeParamShapeError

import seqjax
from seqjax.cells import GRUParams, LSTMParams
from seqjax.layers.attention import AdditiveParams, LocalPredictiveParams, additive, local_predictive, new_alignment
from seqjax.layers.linen import Attend, Recurrent

B, T, F = 3, 5, 2
KEY = jax.random.key(0)
LENGTHS = np.array([5, 0, 3])
RESETS = np.array([[0, 0, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 1, 1, 0]], bool)
XS = np.ones((B, T, F), np.float32)

# Puts out its input, and one that puts out a weight of its recurrence.
wire = seqjax.Cell(
    init=lambda key, *, input_size: {"recurrent_kernel": jnp.ones((30, 40))},
    initial_state=lambda params, batch_shape=(): jnp.zeros(batch_shape),
    step=lambda params, h, x: (h, x),
)
probe = wire._replace(
    step=lambda params, h, x: (h, jnp.broadcast_to(params["recurrent_kernel"].reshape(-1), (*h.shape, 1200)))
)


def assert_close(result, expected, atol=1e-12):
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=atol), result, expected)


def random_variables(model):
    return jax.tree.map(jnp.asarray, oracles.random_like(0, jax.eval_shape(model.init, KEY, jnp.asarray(XS))))


def random_xs():
    return jnp.asarray(oracles.random_like(1, XS))


def test_parameters_are_an_ordinary_tree():
    model = Recurrent(seqjax.gru(3, reset_after=True), layers=2, bidirectional=True)
    params = model.init(KEY, jnp.asarray(XS))["params"]
    shapes = {"input_kernel": (2, 9), "recurrent_kernel": (3, 9), "bias": (9,), "recurrent_bias": (3,)}
    upper = shapes | {"input_kernel": (6, 9)}
    expected = {"layer_0": shapes, "layer_0_backward": shapes, "layer_1": upper, "layer_1_backward": upper}
    assert jax.tree.map(jnp.shape, params) == expected
    kernels = [params[name]["recurrent_kernel"] for name in expected]
    assert not any(np.allclose(a, b) for n, a in enumerate(kernels) for b in kernels[:n])
    restored = flax.serialization.from_bytes(params, flax.serialization.to_bytes(params))
    jax.tree.map(np.testing.assert_array_equal, restored, params)


def test_layers_equal_loops(x64):
    model = Recurrent(seqjax.lstm(3), layers=2)
    variables, xs = random_variables(model), random_xs()
    starts = oracles.random_like(2, jax.eval_shape(model.apply, variables, xs)[0])
    run = jax.jit(lambda *args, **kwargs: model.apply(*args, **kwargs))
    states, ys = run(variables, xs, lengths=LENGTHS, resets=RESETS, initial_states=starts)
    below = np.asarray(xs)
    for layer, start in enumerate(starts):
        params = LSTMParams(**variables["params"][f"layer_{layer}"])
        restart = jax.tree.map(lambda leaf: np.zeros(leaf.shape[1:]), start)
        state, below = oracles.unroll(oracles.lstm_step, params, restart, below, LENGTHS, RESETS, start, 3)
        assert_close(states[layer], state)
    assert_close(ys, below)


@pytest.mark.parametrize("merge", ["concat", "mean"])
def test_layers_that_read_both_ways_equal_loops(merge, x64):
    model = Recurrent(seqjax.gru(3), layers=2, bidirectional=True, merge=merge)
    variables, xs = random_variables(model), random_xs()
    states, ys = jax.jit(model.apply)(variables, xs, lengths=LENGTHS)
    below, start = np.asarray(xs), np.zeros((B, 3))
    for layer in range(2):
        outputs = []
        for name, reverse, state in ("", False, states[layer][0]), ("_backward", True, states[layer][1]):
            params = GRUParams(**variables["params"][f"layer_{layer}{name}"])
            expected, output = oracles.unroll(
                oracles.gru_step, params, start[0], below, LENGTHS, np.zeros_like(RESETS), start, 3, reverse=reverse
            )
            assert_close(state, expected)
            outputs.append(output)
        below = np.concatenate(outputs, axis=-1) if merge == "concat" else sum(outputs) / 2
    assert_close(ys, below)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_nothing_in_the_padding_reaches_a_result_or_a_gradient(bidirectional):
    model = Recurrent(seqjax.lstm(3), layers=2, bidirectional=bidirectional)
    variables = model.init(KEY, jnp.asarray(XS))
    valid = (np.arange(T) < LENGTHS[:, None])[..., None]

    @jax.jit
    def run(variables, xs):
        def loss(variables, xs):
            result = model.apply(variables, xs, lengths=jnp.asarray(LENGTHS))
            return sum(leaf.sum() for leaf in jax.tree.leaves(result)), result

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables, xs)

    dirty, clean = (run(variables, jnp.asarray(np.where(valid, XS, fill), jnp.float32)) for fill in (np.nan, 0))
    jax.tree.map(np.testing.assert_array_equal, dirty, clean)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(dirty))


def test_steps_equal_a_sequence_and_a_carried_state_goes_on(x64):
    model = Recurrent(seqjax.stack([seqjax.lstm(3), seqjax.gru(2)]), layers=2)  # of unequal widths
    variables, xs = random_variables(model), random_xs()

    @jax.jit
    def run(variables, xs):
        whole, ys = model.apply(variables, xs[:, :4])
        states, first = model.apply(variables, xs[:, :2])
        rest = []
        for t in range(2, 4):
            states, y = model.apply(variables, states, xs[:, t], method="step")
            rest.append(y)
        return (whole, ys), (states, jnp.concatenate([first, jnp.stack(rest, axis=1)], axis=1))

    assert_close(*run(variables, xs))
    states, _ = jax.eval_shape(model.apply, *jax.tree.map(jnp.float32, (variables, xs)))
    from_step = jax.eval_shape(partial(model.init, method="step"), KEY, states, jnp.float32(xs[:, 0]))
    assert jax.tree.map(jnp.shape, from_step) == jax.tree.map(jnp.shape, variables)


def test_any_number_of_batch_axes(x64):
    model = Recurrent(seqjax.gru(3), bidirectional=True)
    variables, xs = random_variables(model), random_xs()
    many = jnp.stack([xs, 2 * xs], axis=1)
    run = jax.jit(lambda variables, xs, lengths: model.apply(variables, xs, lengths=lengths))
    states, ys = run(variables, many, np.stack([LENGTHS, LENGTHS], axis=1))
    assert ys.shape == (B, 2, T, 6)
    expected = run(variables, xs, LENGTHS)
    assert_close((jax.tree.map(lambda leaf: leaf[:, 0], states), ys[:, 0]), expected)


def test_dropout_between_layers_is_one_mask_over_all_steps():
    model = Recurrent(wire, layers=3, dropout_rate=0.5)
    xs = jnp.ones((20, 4, 50))
    variables = model.init(KEY, xs)
    ys = np.asarray(model.apply(variables, xs, deterministic=False, rngs={"dropout": KEY})[1])
    assert set(np.unique(ys)) == {0, 4}  # two masks, each of which scales what is left by 2
    assert (ys == ys[:, :1]).all() and not (ys[0] == ys[1]).all()
    assert abs((ys[:, 0] == 0).mean() - 0.75) < 4.5 * np.sqrt(0.75 * 0.25 / 1000)
    assert (np.asarray(model.apply(variables, xs)[1]) == 1).all()
    single = Recurrent(wire, dropout_rate=0.5)
    assert (np.asarray(single.apply(variables, xs, deterministic=False, rngs={"dropout": KEY})[1]) == 1).all()
    with pytest.raises(InvalidRngError):
        model.apply(variables, xs, deterministic=False)


def test_each_layer_and_direction_is_regularised_by_a_key_of_its_own():
    model = Recurrent(probe, layers=2, bidirectional=True, regularize=partial(seqjax.weight_drop, rate=0.5))
    xs = jnp.ones((1, 2, 3))
    variables = model.init(KEY, xs)
    assert (np.asarray(model.apply(variables, xs)[1]) == 1).all()
    ys = model.apply(variables, xs, deterministic=False, rngs={"dropout": KEY})[1][0]
    lower = Recurrent(probe, bidirectional=True, regularize=model.regularize)
    below = lower.apply(variables, xs, deterministic=False, rngs={"dropout": KEY})[1][0]
    kernels = [*np.split(ys[0], 2), *np.split(below[0], 2)]
    for n, kernel in enumerate(kernels):
        assert abs((kernel == 0).mean() - 0.5) < 4.5 * 0.5 / np.sqrt(1200)
        for other in kernels[:n]:
            assert abs((kernel == other).mean() - 0.5) < 4.5 * 0.5 / np.sqrt(1200)
    np.testing.assert_array_equal(ys[0], ys[1])
    states = model.clone(bidirectional=False).apply(variables, xs)[0]
    y = model.clone(bidirectional=False).apply(variables, states, xs[:, 0], method="step")[1]
    assert (np.asarray(y) == 1).all()


@pytest.mark.parametrize("name", ["simple_rnn_relu", "lstm_everything", "learned_initial_state", "stack"])
def test_takes_any_cell_inside_another_module(name):
    class Classifier(nn.Module):
        @nn.compact
        def __call__(self, xs):
            _, ys = Recurrent(oracles.CELLS[name].cell)(xs)
            return nn.Dense(1)(ys[:, -1])

    xs = jnp.asarray(random_xs(), jnp.float32)
    params = Classifier().init(KEY, xs)
    gradient = jax.jit(jax.grad(lambda params: Classifier().apply(params, xs).sum()))(params)
    assert set(params["params"]) == {"Recurrent_0", "Dense_0"}
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient))


def test_lowers_for_every_accelerator_and_compiles_once(lowers, compilations):
    model = Recurrent(seqjax.gru(3), layers=2, dropout_rate=0.5, regularize=partial(seqjax.zoneout, rate=0.1))

    def loss(variables, xs, lengths, key):
        rngs = {"dropout": key}
        return model.apply(variables, xs, lengths=lengths, deterministic=False, rngs=rngs)[1].sum()

    variables = model.init(KEY, jnp.asarray(XS))
    arguments = [(variables, jnp.asarray(k * XS), jnp.array([k, 0, 3]), jax.random.key(k)) for k in (1, 2)]
    gradient = jax.jit(jax.grad(loss))
    lowers(gradient, *arguments[0])
    jax.block_until_ready(gradient(*arguments[0]))
    with compilations() as compiled:
        jax.block_until_ready(gradient(*arguments[1]))
    assert not compiled


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"layers": 0}, {}, "layers: expected at least 1, got 0"),
        ({}, {"xs": XS[0, 0]}, "xs: expected"),
        ({}, {"lengths": np.array([1, 2])}, r"lengths: expected shape \(3,\)"),
        (
            {"layers": 2},
            {"initial_states": (jnp.zeros((B, 3)),)},
            "initial_states: expected one for each of 2 layers, got 1",
        ),
        ({}, {"initial_states": (jnp.zeros((B, 3)),) * 2}, "initial_states: expected one for each of 1 layers, got 2"),
        ({}, {"initial_states": (jnp.zeros((B, 4)),)}, "initial_state: expected .*3,3.* got .*3,4"),
        ({"bidirectional": True, "merge": "max"}, {}, "merge: .* got 'max'"),
    ],
)
def test_refuses_what_does_not_fit(settings, arguments, message, unchecked):
    model = Recurrent(seqjax.gru(3), **settings)
    variables = Recurrent(seqjax.gru(3), layers=2, bidirectional=True).init(KEY, jnp.asarray(XS))
    with pytest.raises(ValueError, match=f"^{message}"):
        model.apply(variables, **{"xs": XS} | arguments)
    with pytest.raises(ScopeParamShapeError, match='"layer_0"'):
        Recurrent(seqjax.gru(3)).apply(variables, XS[..., :1])


def test_refuses_what_is_no_cell_and_no_tuple_of_states(unchecked):
    with pytest.raises(TypeError, match="^cell: expected a seqjax.Cell"):
        Recurrent(seqjax.gru).init(KEY, jnp.asarray(XS))
    model = Recurrent(seqjax.lstm(3), layers=2)  # whose state has two leaves
    variables = model.init(KEY, jnp.asarray(XS))
    state = seqjax.cells.LSTMState(jnp.zeros((B, 3)), jnp.zeros((B, 3)))
    with pytest.raises(
        TypeError, match="^initial_states: expected a tuple of states, one for each layer, got LSTMState"
    ):
        model.apply(variables, XS, initial_states=state)


def test_step_refuses_what_does_not_fit(unchecked):
    model = Recurrent(seqjax.gru(3), layers=2)
    variables = model.init(KEY, jnp.asarray(XS))
    states = (jnp.zeros((B, 3)),) * 2
    with pytest.raises(ValueError, match="^states: expected one for each of 2 layers, got 1"):
        model.apply(variables, states[:1], XS[:, 0], method="step")
    with pytest.raises(ValueError, match="^bidirectional: expected False for a single step, got True"):
        model.clone(bidirectional=True).apply(variables, states, XS[:, 0], method="step")


def test_attend_owns_the_parameters_of_an_attention(x64):
    attention = local_predictive(additive(4, coverage=True), 2, size=2)
    attend, values, query = Attend(attention, query_size=2), random_xs(), jnp.ones((B, 2))
    lengths = jnp.asarray(LENGTHS)
    variables = jax.eval_shape(lambda values: attend.init(KEY, values, lengths, method="remember"), jnp.float32(values))
    shapes = {"query_kernel": (2, 4), "key_kernel": (F, 4), "bias": (4,), "score_kernel": (4,), "coverage_kernel": (4,)}
    expected = {"attention": shapes, "kernel": (2, 2), "position_kernel": (2,)}
    assert jax.tree.map(jnp.shape, variables["params"]["attention"]) == expected
    variables = jax.tree.map(jnp.asarray, oracles.random_like(0, variables))
    tree = variables["params"]["attention"]
    params = LocalPredictiveParams(**tree | {"attention": AdditiveParams(**tree["attention"])})

    @jax.jit
    def run(variables, params):
        memory = attend.apply(variables, values, lengths, method="remember")
        own = attention.remember(params, values, lengths)
        alignment = new_alignment(own)
        return (memory, attend.apply(variables, memory, alignment, query)), (
            own,
            attention.attend(params, own, alignment, query),
        )

    assert_close(*run(variables, params))


def test_scanned_steps_all_drop_the_same():
    wire = seqjax.Cell(
        init=lambda key, *, input_size: {"recurrent_kernel": jnp.ones((1, 1))},
        initial_state=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 1)),
        step=lambda params, h, x: (h, x),
    )
    model, xs = Recurrent(wire, layers=2, dropout_rate=0.5), jnp.ones((5, B, 20))

    def by_steps(model, xs):
        scan = nn.scan(
            lambda model, states, x: model.step(states, x, deterministic=False),
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": False},
        )
        return scan(model, (jnp.zeros((B, 1)),) * 2, xs)[1]

    ys = nn.apply(by_steps, model)(model.init(KEY, xs), xs, rngs={"dropout": KEY})
    np.testing.assert_array_equal(ys, jnp.broadcast_to(ys[0], ys.shape))
    assert set(np.unique(ys)) == {0.0, 2.0}
    assert not np.array_equal(ys[0, 0], ys[0, 1])
