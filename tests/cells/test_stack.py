import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import seqjax
from seqjax import stack, unroll

B, T, F = 3, 6, 4
KEY = jax.random.key(0)
LENGTHS = np.array([6, 0, 4])
RESETS = np.array([[0, 0, 1, 0, 0, 1], [1, 1, 0, 0, 0, 0], [1, 0, 1, 1, 0, 0]], bool)
LAYERS = [(seqjax.lstm(4), oracles.lstm_step), (seqjax.gru(4), oracles.gru_step), (seqjax.gru(2), oracles.gru_step)]
CELLS = [cell for cell, _ in LAYERS]

# Puts out its input, so that what stands between the layers can be seen.
wire = seqjax.Cell(
    lambda key, *, input_size: (), lambda params, batch_shape=(): jnp.zeros(batch_shape), lambda p, h, x: (h, x)
)


def assert_close(result, expected, atol=1e-12):
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=atol), result, expected)


@pytest.fixture
def params(x64):
    like = jax.eval_shape(lambda key: stack(CELLS).init(key, input_size=F), KEY)
    return jax.tree.map(jnp.asarray, oracles.random_like(0, like))


@pytest.fixture
def start(params):
    return jax.tree.map(jnp.asarray, oracles.random_like(2, stack(CELLS).initial_state(params, (B,))))


@pytest.fixture
def xs(x64):
    return jnp.asarray(oracles.random_like(1, np.empty((B, T, F))))


@pytest.mark.parametrize(("residual", "reverse"), [(False, False), (True, True)])
def test_stack_equals_loops_over_one_layer_after_another(residual, reverse, params, start, xs):
    cell = stack(CELLS, residual=residual)
    run = jax.jit(lambda *args, **kwargs: unroll(cell, *args, reverse=reverse, **kwargs))
    states, ys = run(params, xs, lengths=LENGTHS, resets=RESETS, initial_state=start)
    below = np.asarray(xs)
    for (_, step), layer_params, layer_start, state in zip(LAYERS, params, start, states, strict=True):
        restart = jax.tree.map(lambda leaf: np.zeros(leaf.shape[1:]), layer_start)
        size = layer_start.h.shape[-1] if hasattr(layer_start, "h") else layer_start.shape[-1]
        expected_state, above = oracles.unroll(
            step, layer_params, restart, below, LENGTHS, RESETS, layer_start, size, reverse=reverse
        )
        assert_close(state, expected_state)
        below = below + above if residual and size == below.shape[-1] else above
    valid = (np.arange(T) < LENGTHS[:, None])[..., None]
    assert_close(ys, np.where(valid, below, 0))


def test_a_sequence_through_the_layers_equals_steps_through_all_of_them(params, start, xs):
    @jax.jit
    def both(key, params, start, xs):
        cell = stack(CELLS, residual=True, dropout_rate=0.4, key=key)

        def loss(params, start, xs, cell):
            options = {"lengths": jnp.asarray(LENGTHS), "resets": jnp.asarray(RESETS), "initial_state": start}
            state, ys = unroll(cell, params, xs, **options)
            return (ys**2).sum() + sum((leaf**2).sum() for leaf in jax.tree.leaves(state)), (state, ys)

        gradient = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
        return [gradient(params, start, xs, c) for c in (cell, cell._replace(sequence=None))]

    assert_close(*both(KEY, params, start, xs))


def test_dropout_draws_one_mask_over_all_steps_between_layers_and_none_above_the_last():
    layers = [wire, wire, wire._replace(step=lambda p, h, x: (h, jnp.concatenate([x, jnp.ones_like(x)], axis=-1)))]
    cell = stack(layers, dropout_rate=0.5, key=KEY)
    ys = np.asarray(unroll(cell, ((),) * 3, jnp.ones((20, 3, 50)))[1])
    dropped, untouched = np.split(ys, 2, axis=-1)
    assert (untouched == 1).all()
    assert set(np.unique(dropped)) == {0, 4}  # two masks, each of which scales what is left by 2
    assert (dropped == dropped[:, :1]).all()
    assert abs((dropped[:, 0] == 0).mean() - 0.75) < 4.5 * np.sqrt(0.75 * 0.25 / 1000)  # drawn apart
    assert not (dropped[0] == dropped[1]).all()
    plain = stack(layers, dropout_rate=0.5)
    assert (np.asarray(unroll(plain, ((),) * 3, jnp.ones((2, 3, 5)))[1]) == 1).all()


def test_residual_connections_go_around_layers_of_one_size_the_last_one_included():
    double = wire._replace(step=lambda p, h, x: (h, 2 * x))
    widen = wire._replace(step=lambda p, h, x: (h, jnp.concatenate([x, x], axis=-1)))
    cell = stack([double, widen, double], residual=True)
    _, y = cell.step(((),) * 3, (jnp.zeros(()),) * 3, jnp.ones(1))
    np.testing.assert_array_equal(y, [9, 9])  # 1 + 2, without residual, 3 + 6


def test_each_layer_goes_its_own_way_through_a_sequence():
    def sequence(params, state, restart, xs, valid, resets, *, reverse):
        return state, xs + 10

    cell = stack([wire, wire._replace(sequence=sequence)])
    np.testing.assert_array_equal(unroll(cell, ((), ()), jnp.ones((3, 1)))[1], np.full((3, 1), 11))


def test_layers_are_initialised_apart_each_for_the_output_of_the_one_below():
    cell = stack([seqjax.lstm(5, projection_size=3), seqjax.learned_initial_state(seqjax.gru(3)), seqjax.gru(3)])
    params = cell.init(KEY, input_size=2)
    assert params[0].input_kernel.shape == (2, 20)
    assert params[1].cell.input_kernel.shape == params[2].input_kernel.shape == (3, 9)
    assert not np.allclose(params[1].cell.input_kernel, params[2].input_kernel)


def test_stacks_may_be_stacked(params, start, xs):
    flat = unroll(stack(CELLS), params, xs, initial_state=start)
    nested = stack([stack(CELLS[:2]), CELLS[2]])
    (lower, upper), ys = unroll(
        nested, (params[:2], params[2]), xs, initial_state=(start[:2], start[2]), lengths=jnp.array([T] * B)
    )
    assert_close(((*lower, upper), ys), flat)


def test_lowers_for_every_accelerator_and_compiles_once(lowers, compilations):
    def run(params, xs, lengths, key):
        cell = stack(CELLS, residual=True, dropout_rate=0.5, key=key)
        return unroll(cell, params, xs, lengths=lengths)

    params = stack(CELLS).init(KEY, input_size=F)
    arguments = [(params, jnp.full((B, T, F), k, jnp.float32), jnp.array([k, 1, 2]), jax.random.key(k)) for k in (1, 2)]
    lowers(run, *arguments[0])
    run = jax.jit(run)
    jax.block_until_ready(run(*arguments[0]))
    with compilations() as compiled:
        jax.block_until_ready(run(*arguments[1]))
    assert not compiled


def test_refuses_what_is_no_list_of_cells(unchecked):
    with pytest.raises(TypeError, match="^cell: expected a seqjax.Cell"):
        stack(CELLS[0])


def test_refuses_no_layers_and_a_rate_that_is_no_probability(unchecked):
    with pytest.raises(ValueError, match="^cells: expected at least one"):
        stack([])
    for rate in (1.0, -0.5):
        with pytest.raises(ValueError, match=rf"^dropout_rate: expected a probability in \[0, 1\), got {rate}"):
            stack(CELLS, dropout_rate=rate)


def test_refuses_states_of_another_stack(unchecked):
    cell = stack(CELLS)
    params = cell.init(KEY, input_size=F)
    with pytest.raises(TypeError, match="^initial_state: expected"):
        unroll(cell, params, jnp.ones((T, F)), initial_state=stack(CELLS[:2]).initial_state(params[:2]))
