"""The train step: clipping against NumPy, steps that must not be applied, keys, donation, the contract of a loss."""

import math
import re

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

import seqjax
from seqjax.layers.linen import Recurrent
from seqjax.models.language_model import LanguageModel
from seqjax.training import init_train_state, make_eval_step, make_train_step


def linear_loss(params, carry, batch, key):
    """A loss whose gradient is the batch itself."""
    loss = sum(jnp.vdot(params[name], batch[name]) for name in params)
    return loss, (carry + 1.0, {"draw": 0.0 if key is None else jax.random.uniform(key)})


def new_state(optimizer, carry=0.0):
    params = {"w": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array(0.5)}
    return init_train_state(params, optimizer, jnp.array(carry), jax.random.key(7))


def gradient(w, b=0.0):
    return {"w": jnp.asarray(w, jnp.float32), "b": jnp.asarray(b, jnp.float32)}


def assert_same_bits(tree, expected):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    for leaf, expected_leaf in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
        assert leaf.dtype == expected_leaf.dtype
        assert np.asarray(leaf).tobytes() == np.asarray(expected_leaf).tobytes()


def test_gradients_are_clipped_by_their_global_norm():
    optimizer = optax.sgd(0.1)
    state = new_state(optimizer)
    train_step = make_train_step(linear_loss, optimizer, max_grad_norm=2.0)
    w, b, clipped = np.array([1.0, -2.0, 3.0]), 0.5, 0
    for step, (grad_w, grad_b) in enumerate([([3.0, 0.0, 4.0], 12.0), ([0.1, 0.2, 0.3], 0.4), ([9.0, 9.0, 9.0], -1.0)]):
        norm = math.sqrt(sum(g * g for g in grad_w) + grad_b**2)
        scale = min(1.0, 2.0 / norm)
        w, b, clipped = w - 0.1 * scale * np.array(grad_w), b - 0.1 * scale * grad_b, clipped + (norm > 2.0)
        state, metrics = train_step(state, gradient(grad_w, grad_b))
        np.testing.assert_allclose(state.params["w"], w, rtol=1e-5)
        np.testing.assert_allclose(state.params["b"], b, rtol=1e-5)
        np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-6)
        np.testing.assert_allclose(metrics["clipped_share"], clipped / (step + 1), rtol=1e-6)
        assert state.carry == step + 1


def test_an_infinite_norm_clips_nothing():
    optimizer = optax.sgd(1.0)
    state, metrics = make_train_step(linear_loss, optimizer, math.inf)(new_state(optimizer), gradient([1e4, 0.0, 0.0]))
    assert state.params["w"][0] == 1.0 - 1e4
    assert metrics["clipped_share"] == 0.0


@pytest.mark.parametrize(
    "bad_batch, finite_loss",
    [
        pytest.param(gradient([np.nan, 0.0, 0.0]), False, id="NaN"),
        pytest.param(gradient([0.0, 0.0, 0.0], np.inf), False, id="infinity"),
        pytest.param(gradient([-1.0, 0.0, 0.0]), True, id="gradient alone"),
    ],
)
def test_a_step_that_is_not_finite_is_skipped_and_counted(bad_batch, finite_loss):
    def loss_fn(params, carry, batch, key):
        # The square root of zero is finite, its derivative is not: w[0] is 1, and the batch of "gradient alone" has -1.
        root = jnp.sqrt(jnp.maximum(params["w"][0] * batch["w"][0] + 1.0, 0.0)) * jnp.where(batch["w"][0] < 0, 1.0, 0.0)
        return linear_loss(params, carry, batch, key)[0] + root, (carry + 1.0, {})

    optimizer = optax.adam(0.1)
    train_step = make_train_step(loss_fn, optimizer)
    before = new_state(optimizer)
    after, metrics = train_step(jax.tree.map(jnp.copy, before), bad_batch)
    assert np.isfinite(metrics["loss"]) == finite_loss
    assert_same_bits(after[:3], before[:3])
    assert (int(after.step), int(after.skipped), int(metrics["skipped"]), int(after.clipped)) == (1, 1, 1, 0)
    assert metrics["clipped_share"] == 0.0
    # The next good step is the first that is applied, with the key of the second.
    good, good_metrics = train_step(after, gradient([3.0, 0.0, 4.0]))
    expected, _ = train_step(before._replace(step=jnp.int32(1)), gradient([3.0, 0.0, 4.0]))
    assert_same_bits(good[:3], expected[:3])
    assert (int(good.step), int(good.skipped), float(good_metrics["clipped_share"])) == (2, 1, 1.0)


@pytest.mark.parametrize("largest", [1e25, 1e38])
def test_a_finite_gradient_whose_squares_overflow_is_clipped(largest):
    optimizer = optax.sgd(1.0)
    state, metrics = make_train_step(linear_loss, optimizer, 0.5)(
        new_state(optimizer), gradient([0.6 * largest, 0.0, -0.8 * largest])
    )
    np.testing.assert_allclose(state.params["w"], [0.7, -2.0, 3.4], rtol=1e-5)
    assert (int(state.skipped), int(state.clipped)) == (0, 1)
    np.testing.assert_allclose(metrics["grad_norm"], np.float32(largest), rtol=1e-5)


@pytest.mark.parametrize("what", ["parameters", "carry"])
def test_a_step_that_leads_to_what_is_not_finite_is_skipped(what):
    """The loss and the gradient are finite in both cases."""

    def loss_fn(params, carry, batch, key):
        return params * batch, (carry + (jnp.nan if what == "carry" else 1.0), {})

    optimizer = optax.sgd(1e38 if what == "parameters" else 0.1)
    before = init_train_state(jnp.array(-1.0), optimizer, jnp.array(0.0), jax.random.key(0))
    train_step = make_train_step(loss_fn, optimizer, max_grad_norm=math.inf)
    after, metrics = train_step(jax.tree.map(jnp.copy, before), jnp.array(10.0))
    assert np.isfinite(metrics["loss"]) and np.isfinite(metrics["grad_norm"])
    assert_same_bits(after[:3], before[:3])
    assert (int(after.step), int(after.skipped)) == (1, 1)


OPTIMIZERS = {
    "lbfgs": optax.lbfgs(),
    "polyak_sgd": optax.polyak_sgd(),
    "reduce_on_plateau": optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1)),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=9)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_that_want_the_loss_get_it(name, compilations):
    """A quadratic bowl; the step equals what optax's own documentation does by hand, without clipping."""

    def loss(params):
        return jnp.sum((params - jnp.arange(3.0)) ** 2 * jnp.array([1.0, 2.0, 3.0]))

    optimizer = OPTIMIZERS[name]
    train_step = make_train_step(lambda params, carry, batch, key: (loss(params), (carry, {})), optimizer, math.inf)
    state = init_train_state(jnp.ones(3), optimizer, (), jax.random.key(0))
    state, _ = train_step(state, ())
    with compilations() as compiled:
        for _ in range(5):
            state, _ = train_step(state, ())
    assert not compiled

    params, opt_state = jnp.ones(3), optimizer.init(jnp.ones(3))
    for _ in range(6):
        value, grad = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(grad, opt_state, params, value=value, grad=grad, value_fn=loss)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(state.params, params, rtol=1e-5)
    assert loss(params) < loss(jnp.ones(3))


def test_each_step_draws_from_its_own_key():
    optimizer = optax.sgd(0.1)
    state, train_step = new_state(optimizer), make_train_step(linear_loss, optimizer)
    for step in range(3):
        state, metrics = train_step(state, gradient([1.0, 0.0, 0.0]))
        assert metrics["draw"] == jax.random.uniform(jax.random.fold_in(jax.random.key(7), step))


def test_buffers_are_donated_and_the_callers_arrays_survive(jitted):
    optimizer = optax.adam(0.1)
    params = {"w": jnp.ones(3), "b": jnp.array(0.0)}
    zero = jnp.array(0.0)
    state = init_train_state(params, optimizer, zero, jax.random.key(0))
    new, _ = make_train_step(linear_loss, optimizer)(state, gradient([1.0, 2.0, 3.0]))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((params, zero, new)))


def test_second_step_compiles_nothing(compilations):
    optimizer = optax.adam(optax.linear_schedule(0.1, 0.0, 10))
    state, batches = new_state(optimizer), [gradient([1.0, 2.0, 3.0]), gradient([np.inf, 2.0, 3.0])]
    train_step, eval_step = make_train_step(linear_loss, optimizer), make_eval_step(linear_loss)
    state, _ = train_step(state, batches[0])
    eval_step(state.params, state.carry, batches[0])
    with compilations() as compiled:
        state, _ = train_step(state, batches[1])
        eval_step(state.params, state.carry, batches[1])
    assert not compiled
    assert train_step._cache_size() == eval_step._cache_size() == 1


def test_steps_lower_everywhere(lowers):
    optimizer = optax.adamw(0.1)
    state, batch = new_state(optimizer), gradient([1.0, 2.0, 3.0])
    lowers(make_train_step(linear_loss, optimizer), state, batch)
    lowers(make_eval_step(linear_loss), state.params, state.carry, batch)


@pytest.mark.parametrize("cell", [seqjax.lstm(4), seqjax.gru(4), seqjax.lstm(4, peepholes=True)])
def test_mixed_precision_rounds_the_factors_of_products_and_nothing_else(lowers, cell):
    model = LanguageModel(5, Recurrent(cell))
    tokens = jnp.array([[0, 1, 2], [3, 4, 0]])

    def loss_fn(params, carry, batch, key):
        carry, logits = model.apply(params, batch, carry)
        return jnp.mean(logits**2), (carry, {})

    params = model.init(jax.random.key(0), tokens)
    state = init_train_state(params, optax.adam(0.1), model.apply(params, tokens)[0], jax.random.key(1))
    with jax.default_matmul_precision("BF16_BF16_F32"):
        lowered = lowers(make_train_step(loss_fn, optax.adam(0.1)), state, tokens).mlir_module()
    products = re.findall(r"stablehlo.dot_general .*", lowered)
    algorithm = r"lhs_precision_type = bf16, rhs_precision_type = bf16, accumulation_type = f32"
    forward, backward = 3, 5  # of x, h and the output; of the output twice, h twice and x, which needs no gradient
    assert len(products) >= forward + backward and all(re.search(algorithm, product) for product in products)
    assert "xbf16>" not in lowered and "xf16>" not in lowered


def test_eval_step_gets_no_key_and_hands_the_carry_on():
    state = new_state(optax.sgd(0.1), carry=4.0)
    metrics, carry = make_eval_step(linear_loss)(state.params, state.carry, gradient([1.0, 1.0, 1.0], 2.0))
    assert metrics == {"loss": 3.0, "draw": 0.0}
    assert carry == 5.0


@pytest.mark.parametrize(
    "loss_fn, error, message",
    [
        (lambda p, c, b, k: (p["w"], (c, {})), ValueError, r"got loss of shape \(3,\)"),
        (lambda p, c, b, k: (p["b"], (c, {"hits": p["w"]})), ValueError, r"got hits of shape \(3,\)"),
        (lambda p, c, b, k: (p["b"], (c, {"loss": 1.0})), ValueError, r"reserved names, got \['loss'\]"),
        (lambda p, c, b, k: (p["b"], (c[None], {})), ValueError, r"carry float32\[\], got float32\[1\]"),
        (lambda p, c, b, k: (p["b"], (c > 0, {})), ValueError, r"carry float32\[\], got bool\[\]"),
        (lambda p, c, b, k: (p["b"], ({"h": c}, {})), ValueError, r"carry float32\[\], got absent"),
        (lambda p, c, b, k: (p["b"], {}), TypeError, r"loss_fn: expected it to return \(loss, \(carry, metrics\)\)"),
    ],
)
def test_what_a_loss_returns_is_checked(loss_fn, error, message):
    state = new_state(optax.sgd(0.1))
    with pytest.raises(error, match=message):
        make_train_step(loss_fn, optax.sgd(0.1))(state, ())
    with pytest.raises(error, match=message):
        make_eval_step(loss_fn)(state.params, state.carry, ())


def test_an_old_style_key_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # its checks would come first
    with pytest.raises(TypeError, match="key: expected a typed key"):
        init_train_state(jnp.ones(2), optax.sgd(0.1), (), jax.random.PRNGKey(0))


@pytest.mark.parametrize("max_grad_norm", [0.0, -1.0, math.nan])
def test_max_grad_norm_must_be_positive(max_grad_norm):
    with pytest.raises(ValueError, match=f"max_grad_norm: expected a number above 0, got {max_grad_norm}"):
        make_train_step(linear_loss, optax.sgd(0.1), max_grad_norm)
