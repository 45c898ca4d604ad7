from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqjax
from seqjax import layer_norm, recurrent_dropout, unroll, variational_dropout, weight_drop, zoneout
from seqjax.cells import GRUParams, LSTMState, SimpleRNNParams

KEY = jax.random.key(0)


class ProbeParams(NamedTuple):
    recurrent_kernel: jax.Array
    bias: jax.Array


# Puts out the recurrent kernel that it is given.
probe = seqjax.Cell(
    init=lambda key, *, input_size: ProbeParams(jnp.ones((40, 50)), jnp.ones(50)),
    initial_state=lambda params, batch_shape=(): jnp.zeros(batch_shape),
    step=lambda params, h, x: (
        h,
        jnp.broadcast_to(params.recurrent_kernel, (*h.shape, *params.recurrent_kernel.shape)),
    ),
)
# Counts the steps in every feature of the two leaves of its state.
counter = seqjax.Cell(
    init=lambda key, *, input_size: (),
    initial_state=lambda params, batch_shape=(): LSTMState(
        jnp.zeros((*batch_shape, 20)), jnp.zeros((*batch_shape, 20))
    ),
    step=lambda params, state, x: (LSTMState(state.h + 1, state.c + 1), state.h),
)


def assert_close(result, expected, atol=1e-12):
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=atol), result, expected)


def assert_share(hits, rate):
    """The share of hits is within 4.5 standard deviations of the rate."""
    hits = np.asarray(hits)
    assert abs(hits.mean() - rate) < 4.5 * np.sqrt(rate * (1 - rate) / hits.size)


def parameters(cell, input_size=2):
    like = jax.eval_shape(lambda key: cell.init(key, input_size=input_size), KEY)
    return jax.tree.map(jnp.asarray, oracles.random_like(0, like))


@pytest.mark.parametrize("time_axis", [0, 1, -2])
def test_variational_dropout_draws_one_mask_for_all_steps(time_axis):
    x = jnp.asarray(1 + np.random.default_rng(0).random((30, 40, 50)), jnp.float32)
    y = variational_dropout(KEY, x, 0.2, time_axis=time_axis)
    kept = np.moveaxis(np.asarray(y) != 0, time_axis, 0)
    np.testing.assert_allclose(y, np.where(np.asarray(y) != 0, x / np.float32(0.8), 0), rtol=1e-6)
    assert (kept == kept[0]).all()
    assert_share(~kept[0], 0.2)
    assert_share(kept[0][0] == kept[0][1], 0.8**2 + 0.2**2)  # rows are independent


def test_variational_dropout_stops_nan_and_its_gradient():
    x = jnp.where(variational_dropout(KEY, jnp.ones((3, 9)), 0.5, time_axis=0) == 0, jnp.nan, 1.0)
    y, gradient = jax.value_and_grad(lambda x: variational_dropout(KEY, x, 0.5, time_axis=0).sum())(x)
    assert np.isfinite(y)
    np.testing.assert_array_equal(gradient, np.where(np.isnan(x), 0, 2))


@pytest.mark.parametrize("wrapper", [weight_drop, recurrent_dropout])
def test_nothing_is_dropped_without_a_key_or_a_rate(wrapper):
    assert wrapper(probe, 0.5, key=None) == probe
    assert wrapper(probe, 0.0, key=KEY) == probe
    x = jnp.ones((2, 3))
    assert variational_dropout(None, x, 0.5, time_axis=0) is x and variational_dropout(KEY, x, 0.0, time_axis=0) is x


def test_rows_drop_features_of_their_own_at_every_step():
    """The probe uses its kernel in no product, so that each row gets its own."""
    params = ProbeParams(jnp.full((40, 50), 3.0), jnp.ones(50))
    _, ys = unroll(recurrent_dropout(probe, 0.25, key=KEY), params, jnp.ones((30, 3, 1)))
    ys = np.asarray(ys)
    assert (ys == ys[:, :1, :, :1]).all() and set(np.unique(ys)) == {0, 4}
    assert_share(ys[:, 0, :, 0] == 0, 0.25)
    assert_share(ys[1, 0, :, 0] == ys[0, 0, :, 0], 0.25**2 + 0.75**2)


@pytest.mark.parametrize("make", [seqjax.simple_rnn, seqjax.lstm, seqjax.gru, partial(seqjax.gru, reset_after=True)])
def test_a_mask_of_the_state_equals_a_kernel_for_each_row(make, x64):
    """A cell whose kernel is not the right factor of `@` gets a kernel for each row."""
    cell = make(5)

    def step(params, state, x):
        return cell.step(params._replace(recurrent_kernel=jnp.concatenate([params.recurrent_kernel])), state, x)

    params, xs = parameters(cell), jnp.asarray(oracles.random_like(1, np.empty((4, 6, 2))))
    other = seqjax.Cell(cell.init, cell.initial_state, step)
    results = [unroll(recurrent_dropout(each, 0.5, key=KEY), params, xs) for each in (cell, other)]
    assert_close(*results)


one_mask = partial(recurrent_dropout, one_mask=True)


@pytest.mark.parametrize("wrapper", [weight_drop, one_mask])
def test_the_same_weights_are_dropped_at_every_step_of_every_row(wrapper):
    params = ProbeParams(jnp.full((40, 50), 3.0), jnp.ones(50))
    _, ys = unroll(wrapper(probe, 0.25, key=KEY), params, jnp.ones((2, 3, 1)))
    kernel = np.asarray(ys[0, 0])
    assert (np.asarray(ys) == kernel).all()
    assert set(np.unique(kernel)) == {0, 4}
    if wrapper is one_mask:  # a feature of h is a row
        assert (kernel == kernel[:, :1]).all()
        kernel = kernel[:, 0]
    assert_share(kernel == 0, 0.25)
    other = wrapper(probe, 0.25, key=jax.random.key(1)).step(params, jnp.zeros(()), jnp.ones(1))[1]
    assert (other == ys[0, 0]).mean() < 0.8


@pytest.mark.parametrize("wrapper", [weight_drop, recurrent_dropout])
def test_the_expected_weight_is_the_weight(wrapper):
    params = ProbeParams(jnp.asarray(1 + np.random.default_rng(0).random((3, 4)), jnp.float32), jnp.ones(4))
    keys = jax.random.split(KEY, 4000)
    drawn = jax.jit(jax.vmap(lambda key: wrapper(probe, 0.3, key=key).step(params, jnp.zeros(()), jnp.zeros(1))[1]))(
        keys
    )
    deviation = np.abs(drawn.mean(axis=0) / params.recurrent_kernel - 1)
    assert (deviation < 4.5 * np.sqrt(0.3 / 0.7 / 4000)).all()


def test_every_recurrent_kernel_is_dropped_by_a_mask_of_its_own_and_nothing_else():
    nested = seqjax.learned_initial_state(seqjax.stack([layer_norm(seqjax.gru(20)), seqjax.gru(20)]))
    params = jax.tree.map(jnp.ones_like, parameters(nested, input_size=20))
    seen = []

    def step(params, state, x):
        seen.append(params)
        return nested.step(params, state, x)

    cell = weight_drop(nested._replace(step=step), 0.5, key=KEY)
    cell.step(params, nested.initial_state(params), jnp.ones(20))
    (dropped,) = seen
    lower, upper = dropped.cell[0].cell, dropped.cell[1]
    assert_share(lower.recurrent_kernel == 0, 0.5)
    assert_share(upper.recurrent_kernel == 0, 0.5)
    assert_share(lower.recurrent_kernel == upper.recurrent_kernel, 0.5)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), dropped, params)
    assert sum(jax.tree.leaves(changed)) == 2


@pytest.mark.parametrize(
    ("wrapper", "cell", "reverse"),
    [
        (weight_drop, seqjax.lstm(3), False),
        (weight_drop, seqjax.gru(3), True),
        (recurrent_dropout, seqjax.lstm(3), True),
    ],
)
def test_the_sequence_of_a_dropped_cell_equals_its_step(wrapper, cell, reverse, x64):
    params = parameters(cell)
    xs, lengths = jnp.asarray(oracles.random_like(1, np.empty((3, 5, 2)))), jnp.array([5, 0, 3])

    @jax.jit
    def both(key, params):
        dropped = wrapper(cell, 0.4, key=key)

        def loss(params, cell):
            state, ys = unroll(cell, params, xs, lengths=lengths, reverse=reverse)
            return (ys**2).sum(), (state, ys)

        scanned = dropped._replace(sequence=None)
        return [jax.value_and_grad(loss, has_aux=True)(params, c) for c in (dropped, scanned)]

    assert_close(*both(KEY, params))


@pytest.mark.parametrize("wrapper", [weight_drop, recurrent_dropout])
def test_a_dropped_cell_keeps_its_own_way_through_a_sequence(wrapper):
    def sequence(params, state, restart, xs, valid, resets, *, reverse):
        return state, jnp.broadcast_to(params.recurrent_kernel, (*xs.shape[:2], 40, 50))

    params = probe.init(KEY, input_size=1)
    _, ys = unroll(wrapper(probe._replace(sequence=sequence), 0.5, key=KEY), params, jnp.ones((2, 3, 1)))
    np.testing.assert_array_equal(ys, unroll(wrapper(probe, 0.5, key=KEY), params, jnp.ones((2, 3, 1)))[1])
    assert (ys == 0).any()


def test_recurrent_dropout_drops_features_where_the_products_read_them_and_nowhere_else(x64):
    """U (m * h) / (1 - rate), and a closed update gate still keeps the state, however long."""
    drop = partial(recurrent_dropout, rate=0.5, key=KEY)
    identity = SimpleRNNParams(jnp.zeros((1, 8)), jnp.eye(8), None)
    relu = seqjax.simple_rnn(8, activation="relu", use_bias=False)
    mask = drop(relu).step(identity, jnp.ones(8), jnp.zeros(1))[1]
    assert set(np.unique(mask)) == {0, 2}
    h, c, x = jnp.linspace(-1, 1, 8), jnp.linspace(0, 3, 8), jnp.array([0.7, -0.2])
    params = parameters(seqjax.lstm(8))
    dropped, expected = drop(seqjax.lstm(8)).step, seqjax.lstm(8).step
    assert_close(dropped(params, LSTMState(h, c), x), expected(params, LSTMState(mask * h, c), x))
    closed = GRUParams(jnp.zeros((1, 24)), jnp.zeros((8, 24)), jnp.repeat(jnp.array([0.0, -100.0, 0.0]), 8), None)
    assert_close(unroll(drop(seqjax.gru(8)), closed, jnp.ones((50, 1)), initial_state=h)[0], h)


def zoned_out(key, rate, *, steps=50, rows=40, **options):
    cell = zoneout(counter, rate, key=key)
    return unroll(cell, (), jnp.ones((rows, steps, 1)), **options)


def test_zoneout_draws_anew_for_each_step_row_feature_and_leaf():
    state, ys = zoned_out(KEY, 0.3)
    _, repeated = zoned_out(KEY, 0.3)
    np.testing.assert_array_equal(ys, repeated)
    steps = np.diff(ys, axis=1, prepend=0)  # 1 where a feature took its step, 0 where it kept its value
    assert set(np.unique(steps)) == {0, 1}
    assert_share(steps == 0, 0.3)
    same = 0.3**2 + 0.7**2
    assert_share(steps[:, 1:] == steps[:, :-1], same)
    assert_share(steps[1:] == steps[:-1], same)
    assert_share(steps[..., 1:] == steps[..., :-1], same)
    np.testing.assert_array_equal(state.cell.h, ys[:, -1])
    assert (np.asarray(state.time) == 50).all()
    (first, _), _ = zoned_out(KEY, 0.3, steps=1, rows=200)
    assert_share(first.h == first.c, same)
    (other, _), _ = zoned_out(jax.random.key(1), 0.3, steps=1, rows=200)
    assert_share(first.h == other.h, same)


def test_zoneout_without_a_key_is_its_expectation(x64):
    cell = seqjax.lstm(3)
    params, x = parameters(cell), jnp.array([0.3, -0.8])
    state = LSTMState(jnp.array([0.5, -1.0, 2.0]), jnp.array([1.0, -1.0, 0.1]))
    stepped, _ = cell.step(params, state, x)
    evaluated = zoneout(cell, 0.2, key=None)
    start = evaluated.initial_state(params)._replace(cell=state)
    (mean, time), y = evaluated.step(params, start, x)
    assert_close(mean, jax.tree.map(lambda old, new: 0.2 * old + 0.8 * new, state, stepped))
    assert_close(y, mean.h)
    assert time == 1
    keys = jax.random.split(KEY, 4000)
    drawn, ys = jax.jit(jax.vmap(lambda key: zoneout(cell, 0.2, key=key).step(params, start, x)))(keys)
    spread = jax.tree.map(lambda old, new: 4.5 * np.abs(old - new) * np.sqrt(0.2 * 0.8 / 4000), state, stepped)
    jax.tree.map(lambda d, m, s: np.testing.assert_array_less(np.abs(d.mean(axis=0) - m), s), drawn.cell, mean, spread)
    np.testing.assert_array_equal(ys, drawn.cell.h)


@pytest.mark.parametrize("key", [None, KEY], ids=["evaluation", "training"])
def test_zoneout_of_rate_zero_is_the_cell(key):
    cell, xs = seqjax.gru(3), jnp.ones((2, 4, 2))
    params = cell.init(KEY, input_size=2)
    state, ys = unroll(zoneout(cell, 0.0, key=key), params, xs)
    expected_state, expected = unroll(cell, params, xs)
    assert_close((state.cell, ys), (expected_state, expected), atol=1e-6)


def test_zoneout_counts_the_steps_of_a_row_and_begins_again_at_a_reset():
    lengths = jnp.array([6, 0, 4])
    resets = jnp.zeros((3, 6), bool).at[0, 2].set(True).at[2, 5].set(True)
    state, ys = zoned_out(KEY, 0.5, steps=6, rows=3, lengths=lengths, resets=resets)
    np.testing.assert_array_equal(state.time, [4, 0, 4])
    alone, alone_ys = zoned_out(KEY, 0.5, steps=4, rows=3)
    np.testing.assert_array_equal(ys[0, 2:], alone_ys[0])  # as the row alone
    np.testing.assert_array_equal(ys[2, :4], alone_ys[2])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[::2], b[::2]), state, alone)
    assert not ys[1].any() and not ys[2, 4:].any() and not state.cell.c[1].any()


def test_zoneout_goes_on_where_a_carried_state_left_off():
    whole, ys = zoned_out(KEY, 0.5, steps=6, rows=2)
    first, first_ys = zoned_out(KEY, 0.5, steps=4, rows=2)
    second, second_ys = zoned_out(KEY, 0.5, steps=2, rows=2, initial_state=first)
    np.testing.assert_array_equal(np.concatenate([first_ys, second_ys], axis=1), ys)
    jax.tree.map(np.testing.assert_array_equal, second, whole)


def test_layer_norm_normalises_the_state_that_enters(x64):
    cell = layer_norm(seqjax.lstm(3))
    params, x = parameters(cell), np.array([0.3, -0.8])
    state = LSTMState(np.array([0.5, -1.0, 2.0]), np.array([1.0, -1.0, 0.1]))
    h = params.scale * (state.h - state.h.mean()) / np.sqrt(state.h.var() + 1e-6) + params.offset
    expected = oracles.lstm_step(params.cell, state._replace(h=h), x)
    assert_close(jax.jit(cell.step)(params, state, x), expected)
    fresh = cell.init(KEY, input_size=2)
    assert (fresh.scale == 1).all() and not fresh.offset.any() and fresh.scale.shape == (3,)
    plain = seqjax.lstm(3).init(KEY, input_size=2)
    jax.tree.map(np.testing.assert_array_equal, fresh.cell, plain)


def test_layer_norm_is_exact_where_the_mean_of_a_state_is_large():
    cell = layer_norm(seqjax.simple_rnn(3, activation="relu", use_bias=False))
    params = cell.init(KEY, input_size=1)._replace(cell=SimpleRNNParams(jnp.zeros((1, 3)), jnp.eye(3), None))
    y = cell.step(params, jnp.array([4096.0, 4096.5, 4097.0]), jnp.zeros(1))[1]
    np.testing.assert_allclose(y, [0, 0, np.sqrt(1.5)], rtol=1e-4)


def test_layer_norm_finds_the_state_of_a_cell_whose_state_is_an_array(x64):
    cell = layer_norm(seqjax.gru(3))
    params, x, h = parameters(cell), np.array([0.3, -0.8]), np.array([0.5, -1.0, 2.0])
    normalised = params.scale * (h - h.mean()) / np.sqrt(h.var() + 1e-6) + params.offset
    assert_close(jax.jit(cell.step)(params, h, x), oracles.gru_step(params.cell, normalised, x))


@given(seed=st.integers(0, 99), lengths=st.lists(st.integers(0, 4), min_size=2, max_size=2))
@settings(max_examples=5)
def test_regularised_cells_compose_and_train(seed, lengths):
    params, loss = COMPOSITION
    gradient = loss(
        params,
        jax.random.key(seed),
        jnp.full((2, 4, 2), jnp.nan).at[:, :2].set(1.0),
        jnp.minimum(jnp.array(lengths), 2),
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def composition():
    def cell_of_pass(key):
        keys = jax.random.split(key, 3)
        cell = weight_drop(layer_norm(seqjax.learned_initial_state(seqjax.lstm(3))), 0.3, key=keys[0])
        return zoneout(recurrent_dropout(cell, 0.3, key=keys[1]), 0.3, key=keys[2])

    def loss(params, key, xs, lengths):
        return unroll(cell_of_pass(key), params, xs, lengths=lengths)[1].sum()

    return cell_of_pass(KEY).init(KEY, input_size=2), jax.jit(jax.grad(loss))


COMPOSITION = composition()


def test_new_keys_compile_nothing(compilations):
    params, loss = COMPOSITION
    arguments = [(params, key, jnp.ones((2, 4, 2)), jnp.array([2, 1])) for key in jax.random.split(KEY, 2)]
    jax.block_until_ready(loss(*arguments[0]))
    with compilations() as compiled:
        jax.block_until_ready(loss(*arguments[1]))
    assert not compiled


def test_lowers_for_every_accelerator(lowers):
    params, loss = COMPOSITION
    lowers(loss, params, KEY, jnp.ones((2, 4, 2)), jnp.array([2, 1]))
    lowers(lambda key, x: variational_dropout(key, x, 0.5, time_axis=1), KEY, jnp.ones((2, 3, 4)))


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_refuses_a_rate_that_is_no_probability(rate, unchecked):
    calls = [
        partial(wrapper, probe, rate, key=key)
        for wrapper in (weight_drop, recurrent_dropout, zoneout)
        for key in (None, KEY)
    ]
    for call in [*calls, partial(variational_dropout, KEY, jnp.ones((2, 3)), rate, time_axis=0)]:
        with pytest.raises(ValueError, match=rf"^rate: expected a probability in \[0, 1\), got {rate}"):
            call()


@pytest.mark.parametrize("wrapper", [weight_drop, recurrent_dropout])
def test_refuses_parameters_without_a_recurrent_kernel(wrapper):
    cell = wrapper(probe, 0.5, key=KEY)
    with pytest.raises(ValueError, match="^params: expected a parameter called recurrent_kernel"):
        cell.step({"nonrecurrent_kernel": jnp.ones((2, 2))}, jnp.zeros(1), jnp.zeros((1, 1)))


def test_layer_norm_refuses_a_state_without_a_hidden_state():
    with pytest.raises(TypeError, match="^state: expected an array or a NamedTuple with a field h"):
        layer_norm(zoneout(seqjax.gru(3), 0.5, key=KEY)).init(KEY, input_size=2)
