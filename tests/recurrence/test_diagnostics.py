"""Diagnostics against their definitions: whole Jacobians multiplied out, gradients summed, eigenvalues of NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import seqjax
from seqjax.cells import SimpleRNNParams, simple_rnn
from seqjax.recurrence.diagnostics import (
    gates,
    gradient_contributions,
    log_jacobian_norms,
    saturation,
    spectral_radius,
    step_jacobian,
)

CELLS = {
    "simple_rnn": simple_rnn(4),
    "lstm": seqjax.lstm(3),
    "stack": seqjax.stack([seqjax.gru(2), seqjax.layer_norm(seqjax.gru(3))]),
}


def problem(name, steps=5, seed=0):
    cell = CELLS[name]
    params = cell.init(jax.random.key(seed), input_size=2)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.result_type(float)), params)
    return cell, params, jax.random.normal(jax.random.key(seed + 1), (steps, 2))


@pytest.mark.parametrize("name", CELLS)
def test_log_jacobian_norms_are_those_of_the_whole_jacobian(name, x64):
    cell, params, xs = problem(name)
    flat, unflatten = ravel_pytree(cell.initial_state(params))
    start = flat + 0.1

    def last(nudges):  # what is added to each of the states
        def step(state, inputs):
            x, nudge = inputs
            state, _ = cell.step(params, unflatten(state + nudge), x)
            return ravel_pytree(state)[0], None

        return jax.lax.scan(step, start, (xs, nudges[:-1]))[0] + nudges[-1]

    jacobians = jax.jit(jax.jacfwd(last))(jnp.zeros((len(xs) + 1, flat.size)))
    expected = np.linalg.norm(jacobians, axis=(0, 2))[::-1] / np.sqrt(flat.size)
    norms = log_jacobian_norms(cell, params, xs, unflatten(start))
    np.testing.assert_allclose(jnp.exp(norms), expected, rtol=1e-9, atol=1e-12)


def scaled(radius, steps=400, size=8):
    """A linear recurrence, for as long as relu leaves it alone: a rotation by permutation, times the radius."""
    kernel = radius * jnp.eye(size)[jnp.roll(jnp.arange(size), 1)]
    params = SimpleRNNParams(jnp.zeros((1, size)), kernel, jnp.ones(size))
    return simple_rnn(size, activation="relu"), params, jnp.zeros((steps, 1))


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.2])
def test_norms_beyond_the_range_of_floats(radius):
    norms = log_jacobian_norms(*scaled(radius))
    np.testing.assert_allclose(norms, np.log(radius) * np.arange(401), rtol=1e-4, atol=1e-4)


def test_nothing_arrives_through_dead_units():
    cell, params, xs = scaled(1.0, steps=3)
    norms = log_jacobian_norms(cell, params._replace(bias=-jnp.ones(8)), xs)
    np.testing.assert_array_equal(norms, [0, -np.inf, -np.inf, -np.inf])


@pytest.mark.parametrize("name", CELLS)
def test_contributions_sum_to_the_gradient_of_each_loss(name, x64):
    cell, params, xs = problem(name)

    def losses(ys):  # one a step, and no output without its own weight
        return jnp.sum(jnp.sin(ys) * jnp.arange(1.0, 1 + ys.shape[-1])[None], axis=-1)

    terms = gradient_contributions(cell, params, xs, losses)
    expected = jax.jit(jax.jacrev(lambda params: losses(seqjax.unroll(cell, params, xs)[1])))(params)
    later = np.triu(np.ones((5, 5), bool), 1)
    for term, whole in zip(jax.tree.leaves(terms), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(term.sum(1), whole, rtol=1e-9, atol=1e-12)
        assert not np.asarray(term)[later].any()  # no loss has a gradient by weights that are used after it


def test_contributions_are_the_terms_of_the_equation(x64):
    cell, params, xs = problem("simple_rnn")
    terms = gradient_contributions(cell, params, xs, lambda ys: ys[-1].sum()).recurrent_kernel
    h = [np.zeros(4)]
    for x in np.asarray(xs):
        h.append(np.tanh(x @ params.input_kernel + h[-1] @ params.recurrent_kernel + params.bias))
    backward = np.ones(4)  # d E / d h_k
    for k in range(len(xs), 0, -1):
        d_z = backward * (1 - h[k] ** 2)
        np.testing.assert_allclose(terms[k - 1], np.outer(h[k - 1], d_z), rtol=1e-9, atol=1e-12)
        backward = params.recurrent_kernel @ d_z


@pytest.mark.parametrize("seed", range(3))
def test_spectral_radius_is_the_largest_eigenvalue(seed, x64):
    normal = np.random.default_rng(seed).normal(size=(7, 7))
    for matrix in (normal, normal + normal.T, np.triu(normal) * 1e-30, normal * 1e30):
        expected = np.abs(np.linalg.eigvals(matrix)).max()
        np.testing.assert_allclose(spectral_radius(jnp.asarray(matrix)), expected, rtol=1e-6)


def test_spectral_radius_of_defective_matrices_in_float32():
    assert spectral_radius(jnp.array([[0.0, 1.0], [0.0, 0.0]])) == 0  # nilpotent, of norm 1
    assert spectral_radius(jnp.zeros((3, 3))) == 0
    np.testing.assert_allclose(spectral_radius(jnp.array([[0.9, 100.0], [0.0, 0.9]])), 0.9, rtol=1e-5)
    np.testing.assert_allclose(spectral_radius(1e30 * jnp.eye(2)), 1e30, rtol=1e-5)


def test_step_jacobian_takes_all_of_the_state():
    cell, params, xs = problem("lstm")
    state = jax.tree.map(lambda leaf: leaf + 0.3, cell.initial_state(params))
    jacobian = step_jacobian(cell, params, state, xs[0])
    assert jacobian.shape == (6, 6)
    tangent = jax.random.normal(jax.random.key(2), (6,))
    _, unflatten = ravel_pytree(state)
    _, moved = jax.jvp(lambda state: cell.step(params, state, xs[0])[0], (state,), (unflatten(tangent),))
    np.testing.assert_allclose(jacobian @ tangent, ravel_pytree(moved)[0], atol=1e-6)


def test_gates_make_up_the_step():
    x = jax.random.normal(jax.random.key(1), (2, 3))
    cell = seqjax.lstm(4, bias_init=seqjax.chrono(10))
    params = cell.init(jax.random.key(0), input_size=3)
    state = jax.tree.map(lambda leaf: leaf + 0.5, cell.initial_state(params, (2,)))
    found, (after, _) = gates(params, state, x), cell.step(params, state, x)
    assert list(found) == ["i", "f", "o"]
    g = jnp.tanh((x @ params.input_kernel + state.h @ params.recurrent_kernel + params.bias[None])[:, 8:12])
    np.testing.assert_allclose(after.c, found["f"] * state.c + found["i"] * g, atol=1e-6)
    np.testing.assert_allclose(after.h, found["o"] * jnp.tanh(after.c), atol=1e-6)

    cell = seqjax.gru(4, bias_init=seqjax.chrono(10))
    params = cell.init(jax.random.key(0), input_size=3)
    h = cell.initial_state(params, (2,)) + 0.5
    found, (after, _) = gates(params, h, x), cell.step(params, h, x)
    assert list(found) == ["r", "u"]
    n = jnp.tanh(x @ params.input_kernel[:, 8:] + (found["r"] * h) @ params.recurrent_kernel[:, 8:])
    np.testing.assert_allclose(after, found["u"] * n + (1 - found["u"]) * h, atol=1e-6)


@pytest.mark.parametrize("cell", [simple_rnn(3), seqjax.lstm(3, peepholes=True), seqjax.lstm(3, coupled=True)])
def test_gates_of_other_cells_are_refused(cell):
    params = cell.init(jax.random.key(0), input_size=2)
    with pytest.raises(TypeError, match="^params: expected the parameters of a plain lstm or gru, got"):
        gates(params, cell.initial_state(params), jnp.zeros(2))


def test_saturation_of_any_range_over_any_axes():
    ys = jnp.array([[[-0.95, 0.0], [0.81, 0.79]], [[0.9, -0.79], [-1.0, -0.81]]])
    low, high = saturation(ys, ends=(-1.0, 1.0))
    np.testing.assert_array_equal(low, [0.5, 0.25])
    np.testing.assert_array_equal(high, [0.5, 0.0])
    with pytest.raises(ValueError, match="^near: expected a fraction between 0 and 0.5, got 0.5"):
        saturation(ys, near=0.5)


def test_everything_lowers_and_vmaps(lowers):
    cell, params, xs = problem("lstm")
    state = cell.initial_state(params)
    lowers(lambda params, xs: log_jacobian_norms(cell, params, xs), params, xs)
    lowers(lambda params, xs: gradient_contributions(cell, params, xs, lambda ys: ys[:, 0]), params, xs)
    lowers(lambda params, x: spectral_radius(step_jacobian(cell, params, state, x)), params, xs[0])
    lowers(lambda params, x: saturation(gates(params, state, x)["f"][None]), params, xs[0])
    norms = jax.vmap(lambda xs: log_jacobian_norms(cell, params, xs))(jnp.stack([xs, xs]))
    assert norms.shape == (2, 6)
