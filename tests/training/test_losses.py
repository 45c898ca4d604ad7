"""Masked losses against plain NumPy, and padding that must not matter, whatever stands in it."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqjax.training.losses import bits_per_character, mean_nll, nll_sum_and_count, perplexity, token_nll

B, T, V = 3, 4, 5


def batch(seed, *, dtype=np.float32):
    """Logits, targets and a mask that leaves some positions and one whole row out."""
    rng = np.random.default_rng(seed)
    mask = rng.random((B, T)) < 0.6
    mask[seed % B] = False
    logits = rng.normal(scale=3.0, size=(B, T, V)).astype(dtype)
    return jnp.asarray(logits), jnp.asarray(rng.integers(V, size=(B, T))), jnp.asarray(mask)


def numpy_loss(logits, targets, mask, label_smoothing):
    """Sum and count of the loss, and the gradient of their ratio, position by position."""
    total, count, grads = 0.0, 0, np.zeros(logits.shape)
    for position in np.ndindex(*targets.shape):
        if mask[position]:
            probs = np.exp(np.asarray(logits[position], np.float64))
            probs /= probs.sum()
            target_probs = np.full(V, label_smoothing / V)
            target_probs[targets[position]] += 1.0 - label_smoothing
            total -= target_probs @ np.log(probs)
            count += 1
            grads[position] = probs - target_probs
    return total, count, grads / max(count, 1)


@given(seed=st.integers(0, 99), label_smoothing=st.sampled_from([0.0, 0.1, 0.5]))
def test_value_and_gradient_are_those_of_numpy(seed, label_smoothing):
    with jax.enable_x64(True):
        logits, targets, mask = batch(seed, dtype=np.float64)
        total, count, expected = numpy_loss(*map(np.asarray, (logits, targets, mask)), label_smoothing)
        mean, grads = jax.value_and_grad(mean_nll)(logits, targets, mask, label_smoothing=label_smoothing)
        nll_sum = nll_sum_and_count(logits, targets, mask, label_smoothing=label_smoothing)
    np.testing.assert_allclose(mean, total / max(count, 1), rtol=1e-12)
    np.testing.assert_allclose(grads, expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(nll_sum.total, total, rtol=1e-12)
    assert nll_sum.count == count


def test_label_smoothing_is_that_of_optax():
    logits, targets, mask = batch(0)
    smoothed = optax.smooth_labels(jax.nn.one_hot(targets, V), 0.2)
    expected = jnp.where(mask, optax.softmax_cross_entropy(logits, smoothed), 0.0)
    np.testing.assert_allclose(token_nll(logits, targets, mask, label_smoothing=0.2), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_padding_reaches_neither_value_nor_gradient(garbage, label_smoothing):
    logits, targets, mask = batch(1)
    loss_and_grad = jax.value_and_grad(mean_nll)
    expected = loss_and_grad(logits, targets, mask, label_smoothing=label_smoothing)
    dirty_logits = jnp.where(mask[..., None], logits, garbage)
    dirty_targets = jnp.where(mask, targets, -100)
    loss, grads = loss_and_grad(dirty_logits, dirty_targets, mask, label_smoothing=label_smoothing)
    np.testing.assert_array_equal(loss, expected[0])
    np.testing.assert_array_equal(grads, expected[1])
    np.testing.assert_array_equal(grads[~mask], 0.0)


def test_mean_is_over_valid_positions_not_over_the_padded_length():
    logits, targets, _ = batch(2)
    padded = jnp.pad(logits, ((0, 0), (0, 7), (0, 0)), constant_values=jnp.nan)
    mask = jnp.broadcast_to(jnp.arange(T + 7) < T, (B, T + 7))
    np.testing.assert_allclose(
        mean_nll(padded, jnp.pad(targets, ((0, 0), (0, 7))), mask), mean_nll(logits, targets), rtol=1e-6
    )


def test_all_padding_gives_zero_and_no_gradient():
    logits, targets, mask = batch(3)
    loss, grads = jax.value_and_grad(mean_nll)(logits * jnp.nan, targets, jnp.zeros_like(mask))
    assert loss == 0.0
    np.testing.assert_array_equal(grads, 0.0)


def test_sums_over_batches_are_those_of_the_whole():
    logits, targets, mask = batch(4)
    whole = nll_sum_and_count(logits, targets, mask)
    rows = [nll_sum_and_count(logits[b], targets[b], mask[b]) for b in range(B)]
    assert sum(row.count for row in rows) == whole.count
    np.testing.assert_allclose(sum(row.total for row in rows), whole.total, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(nll_sum_and_count)(logits, targets, mask).total.sum(), whole.total, rtol=1e-6)


def test_low_precision_logits_are_summed_in_float32():
    loss = mean_nll(jnp.zeros((1000, V), jnp.bfloat16), jnp.zeros(1000, jnp.int32))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, np.log(V), rtol=1e-6)


def test_units():
    nll = mean_nll(jnp.zeros((B, T, 8)), jnp.zeros((B, T), jnp.int32))
    np.testing.assert_allclose(perplexity(nll), 8.0, rtol=1e-6)
    np.testing.assert_allclose(bits_per_character(nll), 3.0, rtol=1e-6)
    np.testing.assert_allclose(2.0 ** bits_per_character(0.7), perplexity(0.7), rtol=1e-6)


@pytest.mark.parametrize("loss", [token_nll, nll_sum_and_count, mean_nll])
def test_compiles_once_and_lowers_everywhere(loss, lowers, compilations):
    jitted = jax.jit(loss)
    batches = [batch(0), batch(1)]
    jitted(*batches[0])
    with compilations() as compiled:
        jitted(*batches[1])
    assert not compiled
    lowers(loss, *batches[0])


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        ({"logits": jnp.zeros((B, T, V), jnp.int32)}, TypeError, "logits: expected the type floating, got int32"),
        ({"targets": jnp.zeros((B, T))}, TypeError, "targets: expected the type integer, got float32"),
        ({"mask": jnp.ones((B, T))}, TypeError, "mask: expected the type bool, got float32"),
        ({"targets": jnp.zeros((B, T + 1), jnp.int32)}, ValueError, r"targets: .* \(3, 4\) of logits .* got \(3, 5\)"),
        ({"mask": jnp.ones((B, 1), bool)}, ValueError, r"mask: .* \(3, 4\) of targets, got \(3, 1\)"),
        ({"label_smoothing": 1.0}, ValueError, r"label_smoothing: expected a number in \[0, 1\), got 1.0"),
    ],
)
def test_wrong_arguments_are_named(wrong, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # its checks would come first
    logits, targets, mask = batch(0)
    with pytest.raises(error, match=message):
        mean_nll(**{"logits": logits, "targets": targets, "mask": mask} | wrong)
