"""The sequences with a gradient written by hand against the scan of the step, from which they must not differ."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import seqjax
from seqjax import unroll

T, F, H = 7, 2, 3
CELLS = {
    "tanh": seqjax.simple_rnn(H),
    "relu": seqjax.simple_rnn(H, activation="relu", use_bias=False),
    "lstm": seqjax.lstm(H),
    "gru": seqjax.gru(H),
    "gru_reset_after": seqjax.gru(H, reset_after=True),
    "learned_initial_state": seqjax.learned_initial_state(seqjax.gru(H)),
}
LARGE = {"lstm": seqjax.lstm(512), "gru": seqjax.gru(1024)}  # with 32 rows, large enough for other forms of products
LENGTHS = np.array([5, 0, 7])
RESETS = np.array([[0, 0, 1, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0, 0], [1, 0, 0, 1, 1, 0, 0]], bool)
MASKS = {"lengths": jnp.asarray(LENGTHS), "resets": jnp.asarray(RESETS)}
every_cell = pytest.mark.parametrize("name", CELLS)


def random_inputs(cell, rows):
    """Random parameters, inputs and initial state, and the weights of outputs and final state in a loss."""
    params = jax.eval_shape(lambda key: cell.init(key, input_size=F), jax.random.key(0))
    state = jax.eval_shape(lambda params: cell.initial_state(params, (rows,)), params)
    hidden_size = jax.tree.leaves(state)[0].shape[-1]
    trees = params, np.empty((rows, T, F)), state, (state, np.empty((rows, T, hidden_size)))
    *inputs, weights = (oracles.random_like(seed, tree) for seed, tree in enumerate(trees))
    return inputs, weights


def make_loss(cell, weights, **options):
    def loss(params, xs, state):
        result = unroll(cell, params, xs, initial_state=state, **options)
        return sum(map(jnp.vdot, *map(jax.tree.leaves, (weights, result)))), result

    return loss


def assert_equal_to_scan(cell, transform, inputs, weights, **options):
    """`transform` of the loss gives the same for the cell and for the scan of its step."""
    fused, scan = (transform(make_loss(c, weights, **options)) for c in (cell, cell._replace(sequence=None)))
    result, expected = jax.jit(lambda *inputs: (fused(*inputs), scan(*inputs)))(*inputs)
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=1e-12), result, expected)


def gradients(loss):
    return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)


def gradients_of_gradients(loss):
    def squares(*inputs):
        gradient, _ = jax.grad(loss, (0, 1, 2), has_aux=True)(*inputs)
        return sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(gradient))

    return jax.grad(squares, (0, 1, 2))


@every_cell
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(
    ("rows", "options"),
    [(3, {}), (3, MASKS), (3, MASKS | {"remat_every": 3}), (1, {})],
    ids=["plain", "masked", "remat", "one_row"],
)
def test_results_and_gradients_are_those_of_the_scan(name, reverse, rows, options, x64):
    inputs, weights = random_inputs(CELLS[name], rows)
    assert_equal_to_scan(CELLS[name], gradients, inputs, weights, reverse=reverse, **options)


@pytest.mark.parametrize("name", LARGE)
def test_large_cells_give_what_the_scan_gives(name, x64):
    cell, lengths = LARGE[name], jnp.arange(32) % (T + 1)
    (params, xs, state), weights = random_inputs(cell, 32)
    params = jax.tree.map(lambda leaf: leaf / 16, params)  # so that no gate is saturated
    dirty = jnp.where((jnp.arange(T)[None] < lengths[:, None])[..., None], xs, jnp.nan)
    fused, scan = (make_loss(c, weights, lengths=lengths) for c in (cell, cell._replace(sequence=None)))
    for transform in (lambda loss: loss, gradients, gradients_of_gradients):
        result = jax.jit(transform(fused))(params, dirty, state)
        expected = jax.jit(transform(scan))(params, xs, state)
        jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-12), result, expected)


@every_cell
def test_nan_in_the_padding_reaches_nothing(name, x64):
    cell = CELLS[name]
    (params, xs, state), weights = random_inputs(cell, 3)
    dirty = np.where((np.arange(T) < LENGTHS[:, None])[..., None], xs, np.nan)
    run = jax.jit(gradients(make_loss(cell, weights, **MASKS)))
    jax.tree.map(np.testing.assert_array_equal, run(params, dirty, state), run(params, xs, state))


@every_cell
def test_gradients_of_gradients_are_those_of_the_scan(name, x64):
    inputs, weights = random_inputs(CELLS[name], 3)
    assert_equal_to_scan(CELLS[name], gradients_of_gradients, inputs, weights, **MASKS)


@every_cell
def test_checkpointed_and_mapped_over_parameters_and_rows(name, x64):
    cell = CELLS[name]
    inputs, weights = random_inputs(cell, 2)
    params, xs, state = (jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf]), tree) for tree in inputs)
    transform = lambda loss: jax.vmap(gradients(jax.checkpoint(loss)))  # noqa: E731
    assert_equal_to_scan(cell, transform, (params, xs, state), weights)


def test_inputs_of_another_dtype_get_gradients_of_their_own():
    cell = CELLS["gru"]
    params = cell.init(jax.random.key(0), input_size=F)
    d_xs = jax.jit(jax.grad(lambda xs: unroll(cell, params, xs)[1].sum()))(jnp.ones((2, T, F), jnp.bfloat16))
    assert d_xs.dtype == jnp.bfloat16 and d_xs.any()


def test_forward_mode_is_refused_and_left_to_the_scan():
    cell = CELLS["lstm"]
    params, xs = cell.init(jax.random.key(0), input_size=F), jnp.ones((2, T, F))
    run = lambda cell: jax.jvp(lambda xs: unroll(cell, params, xs)[1], (xs,), (xs,))  # noqa: E731
    with pytest.raises(TypeError, match="forward-mode"):
        run(cell)
    assert run(cell._replace(sequence=None))[1].shape == (2, T, H)


@pytest.mark.parametrize(
    ("cell", "way", "reason"),
    [
        (seqjax.simple_rnn(H), "sequence", "is set"),
        (seqjax.gru(H, reset_after=True), "sequence", "is set"),
        (seqjax.learned_initial_state(seqjax.gru(H)), "sequence", "is set"),
        (seqjax.stack([seqjax.gru(H)]), "sequence", "is set"),
        (seqjax.jordan_rnn(H, F), "scan", "is None"),
        (seqjax.layer_norm(seqjax.gru(H)), "scan", "is None"),
        *[
            (seqjax.lstm(H, **option), "scan", "is None")  # what only the step knows
            for option in ({"peepholes": True}, {"projection_size": 2}, {"coupled": True}, {"cell_clip": 1.0})
        ],
    ],
)
def test_path_of_tells_which_way_is_taken(cell, way, reason):
    taken = []

    def spy(*args, **kwargs):
        taken.append("sequence")
        return cell.sequence(*args, **kwargs)

    params = cell.init(jax.random.key(0), input_size=F)
    spied = cell._replace(sequence=cell.sequence and spy)
    jax.eval_shape(lambda xs: unroll(spied, params, xs), jnp.ones((2, T, F)))
    path = seqjax.path_of(cell)
    assert path.way == way == ("sequence" if taken else "scan")
    assert reason in path.reason
    again = seqjax.path_of(cell, remat_every=3)
    assert again.way == way and "remat_every: 3 steps" in again.reason


@pytest.mark.parametrize(("cells", "rows", "options"), [(CELLS, 3, MASKS), (LARGE, 32, {})], ids=["small", "large"])
def test_lowers_for_every_accelerator(cells, rows, options, lowers):
    def losses(inputs):
        both = (make_loss(cells[n], w, **options) for n, (_, w) in inputs.items())
        return [
            (loss(*i), jax.grad(loss, has_aux=True)(*i)) for loss, (i, _) in zip(both, inputs.values(), strict=True)
        ]

    inputs = {name: random_inputs(cell, rows) for name, cell in cells.items()}
    lowers(losses, jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), inputs))
