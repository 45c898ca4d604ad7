"""Every attention against plain NumPy loops over rows and positions, and padding that must not matter."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from seqjax.layers.attention import (
    Alignment,
    additive,
    coverage_loss,
    dot,
    general,
    local_monotonic,
    local_predictive,
    masked_softmax,
    new_alignment,
    next_alignment,
)

B, S, D, HALF_WIDTH = 3, 5, 3, 2
KEY = jax.random.key(0)
LENGTHS = np.array([5, 0, 3])
VALID = np.arange(S) < LENGTHS[:, None]


def additive_score(params, value, query, covered):
    kernel = np.concatenate([params.query_kernel, params.key_kernel])  # Luong's one matrix
    added = 0 if params.coverage_kernel is None else covered * np.asarray(params.coverage_kernel)
    return params.score_kernel @ np.tanh(kernel.T @ np.concatenate([query, value]) + params.bias + added)


SCORES = {
    "dot": (dot(), lambda params, value, query, covered: query @ value),
    "general": (general(), lambda params, value, query, covered: query @ (params.kernel.T @ value)),
    "additive": (additive(4), additive_score),
    "coverage": (additive(4, coverage=True), additive_score),
}
KINDS = {
    f"{name}_{window}": (make(attention), score, window)
    for name, (attention, score) in SCORES.items()
    for window, make in {
        "everywhere": lambda attention: attention,
        "monotonic": lambda attention: local_monotonic(attention, HALF_WIDTH),
        "predictive": lambda attention: local_predictive(attention, HALF_WIDTH, size=2),
    }.items()
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@partial(jax.jit, static_argnums=0)
def attend(attention, params, values, lengths, alignment, query):
    params, values, lengths, alignment, query = jax.tree.map(jnp.asarray, (params, values, lengths, alignment, query))
    return attention.attend(params, attention.remember(params, values, lengths), alignment, query)


def attend_row(kind, params, values, length, alignment, query):
    """One row, position by position: context and weights."""
    _, score, window = KINDS[kind]
    center, scale = alignment.position, lambda s: 1.0
    if window == "predictive":
        center = length * oracles.sigma(params.position_kernel @ np.tanh(params.kernel.T @ query))
        deviation = HALF_WIDTH / 2
        params, scale = params.attention, lambda s: np.exp(-((s - center) ** 2) / (2 * deviation**2))
    seen = [s for s in range(length) if window == "everywhere" or abs(s - center) <= HALF_WIDTH]
    exponentials = {s: np.exp(score(params, values[s], query, alignment.attended[s])) for s in seen}
    weights, context = np.zeros(len(values)), np.zeros(values.shape[1])
    for s in seen:
        weights[s] = exponentials[s] / sum(exponentials.values()) * scale(s)
        context += weights[s] * values[s]
    return context, weights


def random_arguments(kind, batch_shape=(B,), size=S):
    """Parameters, values, an alignment and a query."""
    init = partial(KINDS[kind][0].init, query_size=D, value_size=D)
    params, values, attended, query = oracles.random_like(
        1,
        (
            jax.eval_shape(init, KEY),
            np.zeros((*batch_shape, size, D)),
            np.zeros((*batch_shape, size)),
            np.zeros((*batch_shape, D)),
        ),
        scale=1.0,
    )
    position = np.arange(np.prod(batch_shape, dtype=int)).reshape(batch_shape) + 2
    alignment = Alignment(jnp.asarray(position, jnp.int32), jnp.asarray(abs(attended)))
    return jax.tree.map(jnp.asarray, (params, values, alignment, query))


def assert_close(result, expected, atol=1e-12):
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=atol), result, expected)


@every_kind
def test_equals_the_equations_position_by_position(kind, x64):
    params, values, alignment, query = random_arguments(kind)
    contexts, weights = attend(KINDS[kind][0], params, values, LENGTHS, alignment, query)
    for b in range(B):
        row = jax.tree.map(lambda leaf, b=b: np.asarray(leaf[b]), (values, alignment, query))
        assert_close((contexts[b], weights[b]), attend_row(kind, params, row[0], LENGTHS[b], *row[1:]))
    assert not weights[1].any() and not contexts[1].any()  # of length 0


@settings(max_examples=15)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    batch_shape=st.sampled_from([(), (1,), (2, 2)]),
    size=st.sampled_from([1, 4]),
    data=st.data(),
)
def test_takes_any_batch_axes_and_lengths(kind, batch_shape, size, data):
    rows = int(np.prod(batch_shape))
    lengths = data.draw(st.none() | st.lists(st.integers(0, size), min_size=rows, max_size=rows), label="lengths")
    with jax.enable_x64(True):
        params, values, alignment, query = random_arguments(kind, batch_shape, size)
        given = None if lengths is None else jnp.array(lengths).reshape(batch_shape)
        contexts, weights = attend(KINDS[kind][0], params, values, given, alignment, query)
    assert contexts.shape == (*batch_shape, D) and weights.shape == (*batch_shape, size)
    params = jax.tree.map(np.asarray, params)
    lengths = np.broadcast_to(size if lengths is None else np.reshape(lengths, batch_shape), batch_shape)
    for row in np.ndindex(*batch_shape):
        arguments = jax.tree.map(lambda leaf, row=row: np.asarray(leaf)[row], (values, lengths, alignment, query))
        assert_close((contexts[row], weights[row]), attend_row(kind, params, *arguments))


@every_kind
@pytest.mark.parametrize("fill", [np.nan, np.inf])
def test_nothing_in_the_padding_reaches_a_result_or_a_gradient(kind, fill, x64):
    params, values, alignment, query = random_arguments(kind)
    clean, dirty = (jnp.where(VALID[..., None], values, padding) for padding in (0, fill))

    def loss(params, values, query):
        context, weights = attend(KINDS[kind][0], params, values, LENGTHS, alignment, query)
        return jnp.sum(context) + jnp.sum(weights**2), (context, weights)

    run = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    result, expected = run(params, dirty, query), run(params, clean, query)
    jax.tree.map(np.testing.assert_array_equal, result, expected)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
    (_, (_, weights)), (_, values_gradient, _) = result
    assert not weights[~VALID].any() and not values_gradient[~VALID].any()


@every_kind
def test_gradients_are_those_of_differences(kind, x64):
    params, values, alignment, query = random_arguments(kind)

    def function(params, values, attended, query):
        alignment_ = alignment._replace(attended=attended)
        return attend(KINDS[kind][0], params, values, LENGTHS, alignment_, query)

    check_grads(function, (params, values, alignment.attended, query), order=1, modes=["rev"])


def test_steps_add_up_what_they_attend_to(x64):
    attention = KINDS["coverage_everywhere"][0]
    assert attention.recurrent and not KINDS["additive_everywhere"][0].recurrent
    assert KINDS["coverage_monotonic"][0].recurrent and KINDS["coverage_predictive"][0].recurrent
    params, values, _, query = random_arguments("coverage_everywhere")
    memory = attention.remember(params, values, jnp.asarray(LENGTHS))
    alignment, covered, losses = new_alignment(memory), np.zeros((B, S)), []
    steps = []
    for t in range(3):
        _, weights = attend(attention, params, values, LENGTHS, alignment, query + t)
        for b in range(B):
            expected = Alignment(t, covered[b])
            row = attend_row("coverage_everywhere", params, values[b], LENGTHS[b], expected, query[b] + t)
            assert_close(weights[b], row[1])
        losses.append([sum(min(weights[b, s], covered[b, s]) for s in range(S)) for b in range(B)])
        covered = covered + np.asarray(weights)
        alignment = next_alignment(alignment, weights)
        steps.append(weights)
    assert (alignment.position == 3).all() and alignment.position.shape == (B,)
    assert_close(alignment.attended, covered)
    assert_close(coverage_loss(jnp.stack(steps, axis=1)), np.transpose(losses))


@given(shape=st.sampled_from([(1, 1), (3, 2), (2, 3, 2)]), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_coverage_loss_equals_loops(shape, seed):
    weights = np.random.default_rng(seed).random(shape).astype(np.float32)
    loss = coverage_loss(jnp.asarray(weights))
    assert loss.shape == shape[:-1]
    for *row, t in np.ndindex(*shape[:-1]):
        before = weights[(*row, slice(0, t))].sum(axis=0)
        np.testing.assert_allclose(loss[(*row, t)], np.minimum(weights[(*row, t)], before).sum(), atol=1e-5)


BIG = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("scores", "mask", "expected"),
    [
        ([BIG, 0, -BIG], [1, 1, 1], [1, 0, 0]),
        ([BIG, BIG, BIG], [1, 0, 1], [0.5, 0, 0.5]),
        ([-BIG, -BIG, BIG], [1, 1, 0], [0.5, 0.5, 0]),
        ([-1e30, -1e30 * 2, np.nan], [1, 1, 0], [1, 0, 0]),
        ([0, np.inf, -np.inf], [1, 0, 0], [1, 0, 0]),
        ([BIG, -BIG, 0], [0, 0, 0], [0, 0, 0]),
        ([np.nan, np.inf, -np.inf], [0, 0, 0], [0, 0, 0]),
    ],
)
def test_masked_softmax_of_extremes(scores, mask, expected):
    scores, mask = jnp.array(scores, jnp.float32), jnp.array(mask, bool)
    np.testing.assert_array_equal(masked_softmax(scores, mask), expected)
    jacobian = jax.jacobian(masked_softmax)(scores, mask)
    p = np.array(expected)
    np.testing.assert_allclose(jacobian, np.diag(p) - np.outer(p, p), atol=1e-6)


def test_lowers_for_every_accelerator_and_compiles_once(lowers, compilations):
    params, values, alignment, query = random_arguments("coverage_predictive")
    for kind in KINDS:
        lowers(partial(attend, KINDS[kind][0]), random_arguments(kind)[0], values, LENGTHS, alignment, query)
    lowers(coverage_loss, values)
    attention = KINDS["coverage_predictive"][0]
    arguments = [(params, values, jnp.asarray(LENGTHS), alignment, query)]
    arguments.append(jax.tree.map(lambda leaf: leaf * 0, arguments[0]))
    attend(attention, *arguments[0])
    with compilations() as compiled:
        jax.block_until_ready(attend(attention, *arguments[1]))
    assert not compiled


@every_kind
def test_parameters_are_float32_whatever_the_default(kind, x64):
    attention = KINDS[kind][0]
    params = attention.init(KEY, query_size=D, value_size=D)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} <= {jnp.dtype("float32")}
    values, alignment = jnp.ones((S, D), jnp.float32), Alignment(jnp.int32(0), jnp.zeros(S, jnp.float32))
    context, weights = attend(attention, params, values, None, alignment, jnp.ones(D, jnp.float32))
    assert context.dtype == weights.dtype == jnp.float32


def test_parameters_fit_queries_and_values_of_other_sizes():
    for kind in ("general_everywhere", "additive_monotonic", "coverage_predictive"):
        attention = KINDS[kind][0]
        params = attention.init(KEY, query_size=2, value_size=7)
        memory = attention.remember(params, jnp.ones((S, 7)), None)
        context, weights = attention.attend(params, memory, new_alignment(memory), jnp.ones(2))
        assert context.shape == (7,) and weights.shape == (S,)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="^size: expected at least 1, got 0"):
        additive(0)
    with pytest.raises(ValueError, match="^half_width: expected at least 0, got -1"):
        local_monotonic(dot(), -1)
    with pytest.raises(ValueError, match="^half_width: expected at least 1, got 0"):
        local_predictive(dot(), 0, size=1)
    with pytest.raises(ValueError, match="^size: expected at least 1, got 0"):
        local_predictive(dot(), 1, size=0)
    with pytest.raises(ValueError, match="^query_size: expected 3, the size of the values, got 2"):
        dot().init(KEY, query_size=2, value_size=3)
    with pytest.raises(ValueError, match="^query_size: expected 3"):
        local_predictive(dot(), 1, size=1).init(KEY, query_size=2, value_size=3)
