from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import seqjax
from seqjax import bidirectional, truncated_unroll, unroll

B, T, F = 3, 7, 2
KINKED = {"simple_rnn_relu", "lstm_cell_clip"}  # where differences are no oracle
INCLUDED = {"lstm_peepholes", "lstm_projection", "lstm_coupled"}  # in lstm_everything
CELLS = {name: case for name, case in oracles.CELLS.items() if name not in KINKED | INCLUDED}
any_lengths = arrays(np.int32, B, elements=st.integers(0, T))
any_resets = arrays(np.bool_, (B, T))
both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
LENGTHS = np.array([5, 0, 7])
RESETS = np.array([[0, 0, 1, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0, 0], [1, 0, 0, 1, 1, 0, 0]], bool)


def assert_close(result, expected, atol=1e-12):
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=atol), result, expected)


def assert_identical(result, expected):
    jax.tree.map(np.testing.assert_array_equal, result, expected)


def where_valid(lengths, values, otherwise):
    return np.where((np.arange(T) < lengths[:, None])[..., None], values, otherwise)


class Inputs(NamedTuple):
    """What a gradient is taken with respect to."""

    params: object
    xs: np.ndarray
    initial_state: object


@cache
def random_inputs(name):
    cell = CELLS[name].cell
    params = oracles.random_like(0, jax.eval_shape(lambda key: cell.init(key, input_size=F), jax.random.key(0)))
    state = jax.eval_shape(lambda params: cell.initial_state(params, (B,)), params)
    return Inputs(params, oracles.random_like(1, np.empty((B, T, F))), oracles.random_like(2, state))


@cache
def random_weights(name):
    """Weights of the final state and of the outputs in the loss."""
    cell, (params, xs, _) = CELLS[name].cell, random_inputs(name)
    return oracles.random_like(3, jax.eval_shape(lambda *args: unroll(cell, *args), params, xs))


def weighted_sum(weights, result):
    return sum(map(jnp.vdot, jax.tree.leaves(weights), jax.tree.leaves(result)))


@cache
def unroll_with_gradient(name, **options):
    """`(inputs, lengths, resets) -> (final_state, ys), gradient`, jitted; the gradient of a weighted sum of both."""
    cell = CELLS[name].cell

    def loss(inputs, weights, lengths, resets):
        params, xs, initial_state = inputs
        result = unroll(cell, params, xs, lengths=lengths, resets=resets, initial_state=initial_state, **options)
        return weighted_sum(weights, result), result

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def with_gradient(inputs, lengths, resets):
        (_, result), gradient = run(inputs, random_weights(name), lengths, resets)
        return result, gradient

    return with_gradient


@both_directions
@pytest.mark.parametrize("name", CELLS)
@given(lengths=any_lengths, resets=any_resets, seed=st.integers(0, 99))
@settings(max_examples=8)
def test_unroll_equals_loops_over_rows_and_steps(name, reverse, lengths, resets, seed, x64):
    inputs, weights = random_inputs(name), random_weights(name)

    def loops(inputs):
        params, xs, initial_state = inputs
        restart = getattr(params, "initial_state", jax.tree.map(lambda leaf: np.zeros(leaf.shape[1:]), initial_state))
        return oracles.unroll(
            CELLS[name].step, params, restart, xs, lengths, resets, initial_state, weights[1].shape[-1], reverse=reverse
        )

    result, gradient = unroll_with_gradient(name, reverse=reverse)(inputs, lengths, resets)
    assert_close(result, tuple(loops(inputs)))
    along = oracles.random_like(seed, inputs)
    slope = oracles.directional_derivative(lambda i: oracles.inner_product(weights, loops(i)), inputs, along)
    np.testing.assert_allclose(oracles.inner_product(gradient, along), slope, rtol=0, atol=1e-10)


@both_directions
@pytest.mark.parametrize("name", CELLS)
@given(lengths=any_lengths, resets=any_resets, padding=st.sampled_from([np.nan, np.inf, -np.inf, 1e300]))
@settings(max_examples=5)
def test_nothing_in_the_padding_reaches_a_result_or_a_gradient(name, reverse, lengths, resets, padding, x64):
    run, inputs = unroll_with_gradient(name, reverse=reverse), random_inputs(name)
    clean = run(inputs, lengths, where_valid(lengths, resets[..., None], False)[..., 0])
    dirty = run(inputs._replace(xs=where_valid(lengths, inputs.xs, padding)), lengths, resets)
    assert_identical(dirty, clean)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(dirty))
    (_, ys), gradient = dirty
    assert not where_valid(lengths, 0, ys).any() and not where_valid(lengths, 0, gradient.xs).any()


@both_directions
@pytest.mark.parametrize("name", CELLS)
def test_a_row_of_length_zero_ends_in_its_initial_state(name, reverse, x64):
    run, inputs = unroll_with_gradient(name, reverse=reverse), random_inputs(name)
    (final_state, ys), gradient = run(inputs, np.zeros(B, np.int32), np.ones((B, T), bool))
    assert_identical(final_state, inputs.initial_state)
    assert_identical(gradient.initial_state, random_weights(name)[0])
    assert not ys.any() and not any(leaf.any() for leaf in jax.tree.leaves((gradient.params, gradient.xs)))


@both_directions
def test_a_padded_row_equals_the_row_without_padding_alone(reverse, x64):
    inputs = random_inputs("lstm")
    (final_state, ys), gradient = unroll_with_gradient("lstm", reverse=reverse)(inputs, LENGTHS, np.zeros((B, T), bool))
    state_weights, y_weights = random_weights("lstm")

    @jax.jit
    def alone(inputs):
        def loss(inputs, row):
            params, xs, state = inputs
            state = jax.tree.map(lambda leaf: leaf[row], state)
            result = unroll(CELLS["lstm"].cell, params, xs[row, : LENGTHS[row]], initial_state=state, reverse=reverse)
            weights = jax.tree.map(lambda leaf: leaf[row], state_weights), y_weights[row, : LENGTHS[row]]
            return weighted_sum(weights, result), result

        return [jax.value_and_grad(loss, has_aux=True)(inputs, row) for row in (0, 2)]

    losses = alone(inputs)
    for row, ((_, (state, y)), _) in zip((0, 2), losses, strict=True):
        assert_close(state, jax.tree.map(lambda leaf, row=row: leaf[row], final_state))
        assert_close(y, ys[row, : LENGTHS[row]])
    total = jax.tree.map(lambda a, b: a + b, *(gradient for _, gradient in losses))
    total = total._replace(
        initial_state=jax.tree.map(lambda a, w: a.at[1].add(w[1]), total.initial_state, state_weights)
    )
    assert_close(gradient, total)


@both_directions
def test_packed_sequences_equal_separate_ones_with_a_learned_initial_state(reverse, x64):
    cell = CELLS["learned_initial_state"].cell
    params, xs, _ = random_inputs("learned_initial_state")
    packed, pieces = xs.reshape(1, B * T, F)[:, :12], [slice(0, 5), slice(5, 6), slice(6, 12)]
    resets = jnp.isin(np.arange(12), np.array([piece.start for piece in pieces]))[None]
    weights = oracles.random_like(4, np.empty((12, 3)))

    def together(params, packed):
        (h, c), ys = unroll(cell, params, packed, resets=resets, reverse=reverse)
        return weighted_sum(weights, ys[0]), (ys[0], h[0], c[0])

    def separately(params, packed):
        parts = [unroll(cell, params, packed[0, piece], reverse=reverse) for piece in pieces]
        ys = jnp.concatenate([ys for _, ys in parts])
        return weighted_sum(weights, ys), (ys, *parts[0 if reverse else -1][0])

    run = jax.jit(lambda *args: [jax.value_and_grad(f, (0, 1), has_aux=True)(*args) for f in (together, separately)])
    assert_close(*run(params, packed))


@both_directions
def test_reverse_is_forward_over_each_row_reversed_within_its_length(reverse, x64):
    inputs, no_resets = random_inputs("gru"), np.zeros((B, T), bool)

    def flip(rows):
        return np.stack([np.concatenate([row[:n][::-1], row[n:]]) for row, n in zip(rows, LENGTHS, strict=True)])

    (state, ys), _ = unroll_with_gradient("gru", reverse=reverse)(inputs, LENGTHS, no_resets)
    other = unroll_with_gradient("gru", reverse=not reverse)
    (other_state, other_ys), _ = other(inputs._replace(xs=flip(inputs.xs)), LENGTHS, no_resets)
    assert_close((state, ys), (other_state, flip(other_ys)))


@both_directions
def test_any_batch_axes_and_time_major_give_the_same_rows(reverse, x64):
    cell = CELLS["lstm"].cell
    params = random_inputs("lstm").params
    xs = oracles.random_like(4, np.empty((2, 3, T, F)))
    lengths, resets = np.array([[7, 0, 4], [1, 6, 7]]), np.random.default_rng(0).random((2, 3, T)) < 0.3

    @jax.jit
    def variants(params, xs, lengths, resets):
        run = lambda xs, lengths, resets, **options: unroll(  # noqa: E731
            cell, params, xs, lengths=lengths, resets=resets, reverse=reverse, **options
        )
        two_axes = run(xs, lengths, resets)
        one_axis = run(xs.reshape(6, T, F), lengths.reshape(6), resets.reshape(6, T))
        no_axis = run(xs[1, 0], lengths[1, 0], resets[1, 0])
        time_major = run(jnp.moveaxis(xs, 2, 0), lengths, jnp.moveaxis(resets, 2, 0), time_major=True)
        mapped = jax.vmap(jax.vmap(run))(xs, lengths, resets)
        return two_axes, one_axis, no_axis, time_major, mapped

    two_axes, one_axis, no_axis, (state, ys), mapped = variants(params, xs, lengths, resets)
    assert_close(one_axis, jax.tree.map(lambda leaf: leaf.reshape(6, *leaf.shape[2:]), two_axes))
    assert_close(no_axis, jax.tree.map(lambda leaf: leaf[1, 0], two_axes))
    assert_close((state, np.moveaxis(ys, 0, 2)), two_axes)
    assert_close(mapped, two_axes)


def test_an_ensemble_of_parameters_is_mapped_over(x64):
    cell = CELLS["gru"].cell
    params, xs = random_inputs("gru").params, jnp.asarray(random_inputs("gru").xs)
    ensemble = jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf]), params)
    _, ys = jax.jit(jax.vmap(lambda params: unroll(cell, params, xs)))(ensemble)
    for member in range(2):
        alone = jax.tree.map(lambda leaf, member=member: leaf[member], ensemble)
        assert_close(ys[member], jax.jit(lambda params: unroll(cell, params, xs)[1])(alone))


@pytest.mark.parametrize(("remat_every", "reverse"), [(1, False), (3, False), (3, True), (9, True)])
def test_rematerialisation_changes_neither_results_nor_gradients(remat_every, reverse, x64):
    arguments = random_inputs("lstm"), LENGTHS, RESETS
    expected = unroll_with_gradient("lstm", reverse=reverse)(*arguments)
    assert_close(unroll_with_gradient("lstm", reverse=reverse, remat_every=remat_every)(*arguments), expected)


def test_truncation_stops_gradients_at_the_borders_of_chunks_and_changes_no_value(x64):
    cell = seqjax.learned_initial_state(seqjax.simple_rnn(3))
    params = oracles.random_like(0, cell.init(jax.random.key(0), input_size=F))
    inputs = Inputs(params, random_inputs("gru").xs, random_inputs("gru").initial_state)
    weights, lengths, resets = random_weights("gru"), jnp.asarray(LENGTHS), jnp.asarray(RESETS)

    def loop(inputs, truncate_every):
        params, xs, state = inputs
        ys = []
        for t in range(T):
            if t > 0 and t % truncate_every == 0:
                state = jax.lax.stop_gradient(state)
            valid = (t < lengths)[:, None]
            state = jnp.where(valid & resets[:, t, None], params.initial_state, state)
            next_state, y = cell.step(params, state, xs[:, t])
            state = jnp.where(valid, next_state, state)
            ys.append(jnp.where(valid, y, 0))
        return state, jnp.stack(ys, axis=1)

    def chunks(inputs, truncate_every):
        params, xs, state = inputs
        options = {"lengths": lengths, "resets": resets, "initial_state": state}
        time_major = options | {"resets": resets.T, "time_major": True}
        state, ys = truncated_unroll(cell, params, jnp.moveaxis(xs, 1, 0), truncate_every=truncate_every, **time_major)
        return state, jnp.moveaxis(ys, 0, 1)

    @partial(jax.jit, static_argnums=0)
    def with_gradients(run, inputs):
        def loss(inputs, truncate_every):
            result = run(inputs, truncate_every)
            return weighted_sum(weights, result), result

        return [jax.value_and_grad(loss, has_aux=True)(inputs, every) for every in (1, 3, 9)]

    expected = with_gradients(loop, inputs)
    assert_close(with_gradients(chunks, inputs), expected)
    (_, truncated), (_, whole) = expected[1:]
    assert not np.allclose(truncated.params.cell.input_kernel, whole.params.cell.input_kernel)


def test_truncation_lets_the_first_chunk_learn_its_initial_state():
    cell = seqjax.learned_initial_state(seqjax.simple_rnn(3))
    params = cell.init(jax.random.key(0), input_size=F)

    @jax.jit
    def gradients(params):
        def loss(params, **options):
            return truncated_unroll(cell, params, jnp.ones((T, F)), **options)[1][2].sum()

        return [jax.grad(loss)(params, truncate_every=every).initial_state for every in (T, 3, 2)]

    whole, within, beyond = gradients(params)
    assert whole.all() and not beyond.any()
    assert_close(within, whole, atol=1e-6)


def test_memory_of_the_gradient_over_a_long_sequence():
    cell = seqjax.lstm(16)
    params = jax.eval_shape(lambda key: cell.init(key, input_size=1), jax.random.key(0))
    xs = jax.ShapeDtypeStruct((1, 20_000, 1), jnp.float32)

    def temporary_bytes(remat_every):
        def loss(params, xs):
            return unroll(cell, params, xs, remat_every=remat_every)[0].h.sum()

        return jax.jit(jax.grad(loss)).lower(params, xs).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(141) < temporary_bytes(None) / 10


def test_bidirectional_merges_a_cell_forward_and_another_backward(x64):
    cells = CELLS["lstm"].cell, CELLS["gru"].cell
    lstm_inputs, gru_inputs = random_inputs("lstm"), random_inputs("gru")
    params, starts = zip(*[(inputs.params, inputs.initial_state) for inputs in (lstm_inputs, gru_inputs)], strict=True)
    arguments = lstm_inputs.xs, starts, LENGTHS, RESETS
    forward_state, forward = unroll_with_gradient("lstm", reverse=False)(lstm_inputs, LENGTHS, RESETS)[0]
    backward_state, backward = unroll_with_gradient("gru", reverse=True)(
        gru_inputs._replace(xs=lstm_inputs.xs), LENGTHS, RESETS
    )[0]

    @jax.jit
    def run(xs, starts, lengths, resets):
        options = {"initial_state": starts, "lengths": lengths, "resets": resets}
        merged = [bidirectional(cells, params_, xs, merge=merge, **options) for merge in ("concat", "sum", "mean")]
        options |= {"resets": resets.T, "time_major": True, "remat_every": 3}
        return *merged, bidirectional(cells, params_, jnp.moveaxis(xs, 1, 0), **options)

    params_ = jax.tree.map(jnp.asarray, params)
    concat, total, mean, time_major = run(*arguments)
    states = forward_state, backward_state
    assert_close(concat, (states, np.concatenate([forward, backward], axis=-1)))
    assert_close(total, (states, forward + backward))
    assert_close(mean, (states, (forward + backward) / 2))
    assert_close((time_major[0], np.moveaxis(time_major[1], 0, 1)), concat)


def test_bidirectional_starts_from_the_state_of_either_cell(x64):
    cell = CELLS["learned_initial_state"].cell
    params, xs, _ = jax.tree.map(jnp.asarray, random_inputs("learned_initial_state"))
    xs = xs[:, :1]
    other = params._replace(initial_state=jax.tree.map(lambda leaf: 2 * leaf, params.initial_state))
    states, ys = bidirectional((cell, cell), (params, other), xs)
    for state, y, p in zip(states, np.split(ys, 2, axis=-1), (params, other), strict=True):
        assert_close((state, y[:, 0]), cell.step(p, cell.initial_state(p, (B,)), xs[:, 0]))


def test_a_state_may_hold_leaves_of_any_rank_and_type(x64):
    def step(params, state, x):
        memory = params * state["memory"] + x[..., :, None] * x[..., None, :]
        state = {"memory": memory, "count": state["count"] + 1}
        return state, memory[..., 0] * state["count"][..., None].astype(memory.dtype)

    cell = seqjax.Cell(
        init=lambda key, *, input_size: jnp.ones(()),
        initial_state=lambda params, batch_shape=(): {
            "memory": jnp.ones((*batch_shape, F, F)),
            "count": jnp.zeros(batch_shape, jnp.int32),
        },
        step=step,
    )
    xs = random_inputs("gru").xs
    start = {"memory": oracles.random_like(5, np.empty((B, F, F))), "count": np.array([5, 6, 7], np.int32)}
    restart = {"memory": np.ones((F, F)), "count": np.zeros((), np.int32)}
    for reverse in (False, True):
        run = jax.jit(
            lambda *args, reverse=reverse: unroll(
                cell, args[0], args[1], lengths=args[2], resets=args[3], initial_state=args[4], reverse=reverse
            )
        )
        expected = oracles.unroll(step, 0.5, restart, xs, LENGTHS, RESETS, start, F, reverse=reverse)
        assert_close(run(0.5, xs, LENGTHS, RESETS, start), tuple(expected))


@both_directions
def test_a_cell_with_its_own_way_through_a_sequence_is_handed_one_clean_rectangle(reverse):
    cell = CELLS["gru"].cell
    calls = []

    def sequence(params, state, restart, xs, valid, resets, *, reverse):
        calls.append((xs, valid, resets, reverse))
        return seqjax.sequence_of(cell)(params, state, restart, xs, valid, resets, reverse=reverse)

    with_sequence, params = cell._replace(sequence=sequence), cell.init(jax.random.key(0), input_size=F)
    xs = jnp.asarray(where_valid(LENGTHS, random_inputs("gru").xs, np.nan), jnp.float32)
    options = {"lengths": jnp.asarray(LENGTHS), "reverse": reverse}
    two_axes = {"lengths": jnp.asarray(LENGTHS)[:, None], "resets": jnp.asarray(RESETS)[:, None], "reverse": reverse}
    result = unroll(with_sequence, params, xs.reshape(B, 1, T, F), **two_axes)
    expected = unroll(cell, params, xs, resets=jnp.asarray(RESETS), **options)
    assert_close(jax.tree.map(lambda leaf: leaf[:, 0], result), expected, atol=1e-6)
    ((clean, valid, resets, direction),) = calls
    assert clean.shape == (B, T, F) and np.isfinite(clean).all() and direction is reverse
    np.testing.assert_array_equal(valid, np.arange(T) < LENGTHS[:, None])
    begins = RESETS & np.asarray(valid)
    np.testing.assert_array_equal(resets, np.roll(begins & (np.arange(T) > 0), -1, axis=1) if reverse else begins)
    unroll(with_sequence, params, xs[2], reverse=reverse)
    assert calls[1][1] is None and calls[1][2] is None


@both_directions
def test_no_steps_and_no_rows(reverse):
    cell = CELLS["lstm"].cell
    params = cell.init(jax.random.key(0), input_size=F)
    for rows, steps in (2, 0), (0, 2):
        xs = jnp.ones((rows, steps, F))
        for options in (
            {},
            {"remat_every": 2},
            {"resets": jnp.ones((rows, steps), bool), "lengths": jnp.zeros(rows, int)},
        ):
            state, ys = unroll(cell, params, xs, reverse=reverse, **options)
            assert_identical(state, cell.initial_state(params, (rows,)))
            assert ys.shape == (rows, steps, 3)


@pytest.mark.parametrize("dtype", [np.int8, np.uint32])
def test_lengths_may_be_any_integers_and_reach_beyond_the_last_step(dtype):
    cell = CELLS["gru"].cell
    params, xs = cell.init(jax.random.key(0), input_size=F), jnp.ones((2, T, F))
    result = unroll(cell, params, xs, lengths=jnp.array([T, 100], dtype))
    assert_identical(result, unroll(cell, params, xs))


def test_new_values_compile_nothing(compilations, x64):
    arguments = [
        (jax.tree.map(lambda leaf, k=k: k * leaf, random_inputs("lstm")), LENGTHS - (LENGTHS > k), np.roll(RESETS, k))
        for k in (1, 2)
    ]
    run = unroll_with_gradient("lstm", reverse=False)
    jax.block_until_ready(run(*arguments[0]))
    with compilations() as compiled:
        jax.block_until_ready(run(*arguments[1]))
    assert not compiled


def test_lowers_for_every_accelerator(lowers):
    def loss(params, xs, lengths, resets):
        options = {"lengths": lengths, "resets": resets}
        (lstm, gru), (lstm_params, gru_params) = (CELLS["lstm_everything"].cell, CELLS["gru"].cell), params
        _, both = bidirectional((lstm, gru), params, xs, remat_every=3, **options)
        _, truncated = truncated_unroll(gru, gru_params, xs, truncate_every=2, **options)
        return both.sum() + truncated.sum() + unroll(lstm, lstm_params, xs, **options)[1].sum()

    params = tuple(CELLS[name].cell.init(jax.random.key(0), input_size=F) for name in ("lstm_everything", "gru"))
    lowers(jax.value_and_grad(loss), params, jnp.ones((B, T, F)), jnp.asarray(LENGTHS), jnp.asarray(RESETS))


KEY = jax.random.key(0)
GRU, RESET_AFTER = seqjax.gru(3), seqjax.gru(3, reset_after=True)
LSTM, PEEPHOLES = seqjax.lstm(3), seqjax.lstm(3, peepholes=True)
XS = np.ones((2, 5, F), np.float32)


@pytest.mark.parametrize(
    ("cell", "arguments", "error", "message"),
    [
        (GRU, {"xs": XS[0, 0]}, ValueError, r"xs: expected \[\*B, T, I\], two axes or more, got shape \(2,\)"),
        (
            GRU,
            {"xs": XS[..., :1]},
            ValueError,
            r"xs: expected 2 features .* to match input_kernel, got shape \(2, 5, 1\)",
        ),
        (GRU, {"xs": [[1.0, 2.0]]}, TypeError, r"xs: expected an array \[\*B, T, I\], got list"),
        (
            GRU,
            {"params": seqjax.gru(4).init(KEY, input_size=F)},
            ValueError,
            r"params: expected GRUParams\(.*, got GRU",
        ),
        (
            GRU,
            {"params": RESET_AFTER.init(KEY, input_size=F)},
            ValueError,
            "params: expected GRUParams.*=None.*, got GRU",
        ),
        (GRU, {"params": LSTM.init(KEY, input_size=F)}, ValueError, "params: expected GRUParams.*, got LSTMParams"),
        (
            LSTM,
            {"params": PEEPHOLES.init(KEY, input_size=F)},
            ValueError,
            "params: expected LSTMParams.*, got LSTMParams",
        ),
        (GRU, {"lengths": jnp.array([1, 2, 3])}, ValueError, r"lengths: expected shape \(2,\) to match xs, got \(3,\)"),
        (GRU, {"lengths": jnp.array(1)}, ValueError, "lengths: expected shape"),
        (GRU, {"lengths": jnp.array([1.0, 2.0])}, TypeError, "lengths: expected dtype integer, got float32"),
        (GRU, {"lengths": [1, 2]}, TypeError, r"lengths: expected an array, got \[1, 2\]"),
        (GRU, {"resets": jnp.zeros((5, 2), bool)}, ValueError, r"resets: expected shape \(2, 5\) .* got \(5, 2\)"),
        (
            GRU,
            {"time_major": True, "resets": jnp.zeros((5, 2), bool)},
            ValueError,
            r"resets: expected shape \(2, 5\) .* got \(5, 2\)",
        ),
        (GRU, {"resets": jnp.zeros((2, 5), int)}, TypeError, "resets: expected dtype bool, got int32"),
        (GRU, {"initial_state": jnp.zeros((3, 3))}, ValueError, r"initial_state: expected .*\[2,3\], got .*\[3,3\]"),
        (GRU, {"initial_state": jnp.zeros((2, 3), jnp.int32)}, ValueError, "initial_state: .*float32.* got int32"),
        (GRU, {"initial_state": 0.0}, ValueError, "initial_state"),
        (GRU, {"initial_state": [jnp.zeros((2, 3))]}, TypeError, "initial_state: expected"),
        (LSTM, {"initial_state": (jnp.zeros((2, 3)),) * 2}, TypeError, "initial_state: expected .*LSTMState"),
        (GRU, {"remat_every": 0}, ValueError, "remat_every: .* got 0"),
        (GRU, {"remat_every": 2.5}, ValueError, "remat_every: .* got 2.5"),
        (GRU._replace(step=lambda p, h, x: ((h, h), h)), {}, TypeError, "state returned by cell.step"),
        (GRU._replace(step=lambda p, h, x: (h[:, :2], h)), {}, ValueError, "state returned by cell.step"),
        (GRU._replace(step=lambda p, h, x: h), {}, TypeError, "cell.step: expected to return a state and an output"),
        (GRU._replace(step=lambda p, h, x: (h, None)), {}, ValueError, "output returned by cell.step"),
        (GRU._replace(step=lambda p, h, x: (h, h.sum())), {}, ValueError, "output returned by cell.step"),
    ],
)
def test_unroll_refuses_what_does_not_fit(cell, arguments, error, message, unchecked):
    arguments = {"params": cell.init(jax.random.key(0), input_size=F), "xs": XS} | arguments
    with pytest.raises(error, match=f"^{message}"):
        unroll(cell, **arguments)


@pytest.mark.parametrize("cell", [seqjax.gru, 3, None])
def test_unroll_refuses_what_is_no_cell(cell, unchecked):
    with pytest.raises(TypeError, match=r"^cell: expected a seqjax.Cell, such as seqjax.lstm\(hidden_size=8\), got"):
        unroll(cell, GRU.init(KEY, input_size=F), XS)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"merge": "max"}, ValueError, "merge: expected 'concat', 'sum' or 'mean', got 'max'"),
        ({"cells": (GRU, seqjax.gru(4)), "merge": "sum"}, ValueError, "merge: expected equal output shapes for sum"),
        ({"cells": GRU}, TypeError, "cells: expected a pair"),
        ({"params": GRU.init(jax.random.key(0), input_size=F)}, TypeError, "params: expected a pair"),
        ({"initial_state": jnp.zeros((2, 3))}, TypeError, "initial_state: expected a pair"),
        ({"initial_state": (None, jnp.zeros((3, 3)))}, ValueError, "initial_state: expected .*float32"),
        ({"lengths": jnp.zeros(3, int)}, ValueError, "lengths"),
    ],
)
def test_bidirectional_refuses_what_does_not_fit(arguments, error, message, unchecked):
    cells = arguments.get("cells", (GRU, GRU))
    params = tuple(
        cell.init(jax.random.key(0), input_size=F) for cell in (cells if type(cells) is tuple else (GRU, GRU))
    )
    with pytest.raises(error, match=f"^{message}"):
        bidirectional(**{"cells": cells, "params": params, "xs": XS} | arguments)


@pytest.mark.parametrize("truncate_every", [0, -1, 1.5])
def test_truncated_unroll_refuses_a_chunk_of_less_than_a_step(truncate_every, unchecked):
    params = GRU.init(jax.random.key(0), input_size=F)
    with pytest.raises(ValueError, match=f"^truncate_every: .* got {truncate_every}"):
        truncated_unroll(GRU, params, XS, truncate_every=truncate_every)
