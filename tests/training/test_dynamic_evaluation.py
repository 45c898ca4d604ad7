"""Dynamic evaluation against its equations in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.training import make_eval_step
from seqjax.training.dynamic_evaluation import DynamicEvalState, gradient_rms, make_dynamic_eval_step

PARAMS = {"w": jnp.array([0.5, -1.0, 2.0]), "b": jnp.array([0.1])}
RMS = {"w": jnp.array([0.2, 1.0, 0.05]), "b": jnp.array([0.0])}
CARRY = jnp.zeros(())
SEGMENTS = [jnp.array(segment) for segment in ([1.0, 2.0, 0.0], [0.3, -1.0, 1.0], [2.0, 2.0, -2.0], [0.0, 1.0, 0.0])]


def loss_fn(params, carry, batch, key):
    """A squared error with a carry: the running sum of the inputs."""
    assert key is None
    error = params["w"] @ batch + params["b"][0] + carry
    return error**2, (carry + batch.sum(), {"error": error})


def numpy_gradient(params, carry, segment):
    error = params["w"] @ segment + params["b"][0] + carry
    return error**2, {"w": 2 * error * segment, "b": np.array([2 * error])}


def as_numpy(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def test_each_segment_is_scored_and_then_learned_from(jitted):
    step = make_dynamic_eval_step(loss_fn, learning_rate=0.01, decay=0.3, epsilon=0.1)
    state = DynamicEvalState(PARAMS, PARAMS, RMS, CARRY)
    trained, rms, carry = as_numpy(PARAMS), as_numpy(RMS), 0.0
    params, mean_rms = dict(trained), (0.2 + 1.0 + 0.05 + 0.0) / 4
    for segment in SEGMENTS:
        loss, grads = numpy_gradient(params, carry, np.asarray(segment))
        for name in params:
            rate = np.minimum(0.3 * rms[name] / mean_rms, 1.0)
            descent = 0.01 * grads[name] / (rms[name] + 0.1)
            params[name] = params[name] - descent + rate * (trained[name] - params[name])
        carry += float(segment.sum())
        state, metrics = step(state, segment)
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)
        np.testing.assert_allclose(metrics["error"] ** 2, loss, rtol=1e-4)
        np.testing.assert_allclose(state.carry, carry, rtol=1e-6)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4), state.params, params)
    assert step._cache_size() == 1


def test_the_first_figure_is_the_static_one():
    state = DynamicEvalState(PARAMS, PARAMS, RMS, CARRY)
    _, metrics = make_dynamic_eval_step(loss_fn, 0.1, 0.1)(state, SEGMENTS[0])
    static, _ = make_eval_step(loss_fn)(PARAMS, CARRY, SEGMENTS[0])
    assert metrics == static


def test_gradient_rms_is_over_batches_with_the_carry_handed_on():
    squares, carry = [], 0.0
    for segment in SEGMENTS:
        _, grads = numpy_gradient(as_numpy(PARAMS), carry, np.asarray(segment))
        squares.append(jax.tree.map(np.square, grads))
        carry += float(segment.sum())
    expected = jax.tree.map(lambda *g: np.sqrt(np.mean(g, axis=0)), *squares)
    rms = gradient_rms(loss_fn, PARAMS, CARRY, iter(SEGMENTS))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), rms, expected)


@pytest.mark.parametrize("what", ["loss", "gradient", "parameters", "carry"])
def test_a_segment_that_is_not_finite_changes_nothing(what):
    def loss_fn(params, carry, segment, key):
        loss = {"loss": params * jnp.inf, "gradient": jnp.sqrt(params - 1.0), "parameters": 10 * params}.get(
            what, params
        )
        return loss, (carry + (jnp.nan if what == "carry" else 1.0), {})

    one = jnp.array(1.0)
    step = make_dynamic_eval_step(loss_fn, learning_rate=1e38 if what == "parameters" else 0.1, decay=0.0)
    before = DynamicEvalState(one, one, gradient_rms=jnp.array(0.5), carry=jnp.array(0.0))
    after, metrics = step(before, ())
    assert after.params == before.params and after.carry == before.carry
    assert np.isfinite(metrics["loss"]) == (what != "loss")


def test_lowers_everywhere(lowers):
    state = DynamicEvalState(PARAMS, PARAMS, RMS, CARRY)
    lowers(make_dynamic_eval_step(loss_fn, 0.1, 0.1), state, SEGMENTS[0])


def test_wrong_arguments_are_named():
    for wrong, message in (
        ({"learning_rate": 0.0}, "learning_rate: expected a number above 0, got 0.0"),
        ({"decay": 1.5}, r"decay: expected a number in \[0, 1\], got 1.5"),
        ({"epsilon": 0.0}, "epsilon: expected a number above 0, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            make_dynamic_eval_step(loss_fn, **{"learning_rate": 0.1, "decay": 0.1} | wrong)
    with pytest.raises(ValueError, match="batches: expected at least one, got none"):
        gradient_rms(loss_fn, PARAMS, CARRY, [])
