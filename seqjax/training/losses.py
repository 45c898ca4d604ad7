"""Negative log-likelihood of discrete sequences with padding, its units, and the loss of quantiles.

Padding contributes neither value nor gradient, even if it holds NaN or infinity. Means are taken over the valid
positions, never over the padded length. For an exact mean over many batches, add up the sums and the counts
(`nll_sum_and_count`), not the means. The mask for rows of given lengths is `jnp.arange(T) < lengths[..., None]`. In the
shapes, `V` is the number of symbols and `*B` any axes, including time.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Integer

from seqjax.arguments import at_least, check_setting, check_symbols, is_symbol, is_traced, where_defined


class NLLSum(NamedTuple):
    """A negative log-likelihood in nats, summed over `count` positions."""

    total: Float[Array, ""]
    count: Int[Array, ""]  # type: ignore[assignment]  # hides tuple.count


def token_nll(
    logits: Float[Array, "*B V"],
    targets: Integer[Array, "*B"],
    mask: Bool[Array, "*B"] | None = None,
    *,
    label_smoothing: float | Float[Array, ""] = 0.0,
) -> Float[Array, "*B"]:
    """Computes the negative log-likelihood of each target, zero in the padding.

    With `label_smoothing` a, computes the cross-entropy to a target distribution that spreads the probability a evenly
    over all symbols (Szegedy et al. 2016, section 7):

        nll  = -log softmax(logits)[target]
        loss = (1 - a) nll - a / V sum_v log softmax(logits)[v]
             = nll + a (logits[target] - mean_v logits[v])

    Args:
      logits: unnormalised log-probabilities; the arithmetic is at least float32.
      targets: symbols from 0 to `V - 1`, with any values in the padding; the loss of another number is NaN under `jit`.
      mask: true at the positions that count; all count if None.
      label_smoothing: `a`, in [0, 1).

    Returns:
      The loss of each position in nats.

    Raises:
      ValueError: if the shapes do not match, `label_smoothing` is outside [0, 1) or (outside `jit`) a target is not a
        symbol.
      TypeError: if logits are not floats, targets not integers or the mask not booleans.

    >>> token_nll(jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.9]])), jnp.array([0, 1])).round(4)
    Array([0.6931, 0.1054], dtype=float32)
    """
    _check(logits, targets, mask, label_smoothing)
    vocabulary = logits.shape[-1]
    check_symbols("targets", targets, vocabulary, mask)
    logits = at_least(logits, jnp.float32)
    if mask is not None:
        logits = jnp.where(mask[..., None], logits, 0.0)  # before the loss, so that no NaN meets a gradient of zero
        targets = jnp.where(mask, targets, 0)
    valid = is_symbol(targets, vocabulary)
    targets = jnp.where(valid, targets, 0)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets)
    if is_traced(label_smoothing) or label_smoothing:
        target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        losses += label_smoothing * (target_logits - logits.mean(axis=-1))
    losses = where_defined(valid, losses)
    return losses if mask is None else jnp.where(mask, losses, 0.0)


def nll_sum_and_count(
    logits: Float[Array, "*B V"],
    targets: Integer[Array, "*B"],
    mask: Bool[Array, "*B"] | None = None,
    *,
    label_smoothing: float | Float[Array, ""] = 0.0,
) -> NLLSum:
    """Sums the negative log-likelihood over the valid positions of a batch, and counts them.

    Args and raises: see `token_nll`.

    >>> logits = jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.9]]))
    >>> nll_sum_and_count(logits, jnp.array([0, 7]), jnp.array([True, False]))
    NLLSum(total=Array(0.6931472, dtype=float32), count=Array(1, dtype=int32))
    """
    losses = token_nll(logits, targets, mask, label_smoothing=label_smoothing)
    return NLLSum(losses.sum(), jnp.asarray(losses.size if mask is None else mask.sum(), jnp.int32))


def mean_nll(
    logits: Float[Array, "*B V"],
    targets: Integer[Array, "*B"],
    mask: Bool[Array, "*B"] | None = None,
    *,
    label_smoothing: float | Float[Array, ""] = 0.0,
) -> Float[Array, ""]:
    """Computes the mean negative log-likelihood in nats over the valid positions; 0 if there are none.

    Args and raises: see `token_nll`.

    >>> mean_nll(jnp.zeros((2, 3, 8)), jnp.zeros((2, 3), int), jnp.arange(3)[None] < jnp.array([[3], [1]])).round(4)
    Array(2.0794, dtype=float32)
    """
    total, count = nll_sum_and_count(logits, targets, mask, label_smoothing=label_smoothing)
    return total / jnp.maximum(count, 1).astype(total.dtype)


def perplexity(nll: Float[Array, "*B"] | float) -> Float[Array, "*B"]:
    """Converts a mean negative log-likelihood in nats to the perplexity, exp(nll).

    >>> round(float(perplexity(math.log(8.0))), 3)
    8.0
    """
    return jnp.exp(nll)


def bits_per_character(nll: Float[Array, "*B"] | float) -> Float[Array, "*B"] | float:
    """Converts a mean negative log-likelihood from nats to bits, nll / log 2.

    >>> bits_per_character(math.log(8.0))
    3.0
    """
    return nll / math.log(2.0)


def _check(logits: Array, targets: Array, mask: Array | None, label_smoothing: float | Array) -> None:
    """Raises if the arguments of a loss do not match."""
    for name, array, kind in (
        ("logits", logits, jnp.floating),
        ("targets", targets, jnp.integer),
        ("mask", mask, jnp.bool_),
    ):
        if array is not None and not jnp.issubdtype(array.dtype, kind):
            raise TypeError(f"{name}: expected the type {kind.__name__}, got {array.dtype}")
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets: expected the shape {logits.shape[:-1]} of logits without its last axis, got {targets.shape}"
        )
    if mask is not None and mask.shape != targets.shape:
        raise ValueError(f"mask: expected the shape {targets.shape} of targets, got {mask.shape}")
    check_setting("label_smoothing", label_smoothing, lambda a: 0.0 <= a < 1.0, "a number in [0, 1)")


def pinball(
    quantiles: Float[Array, "*B Q"],
    targets: Float[Array, "*B"],
    probabilities: Float[Array, " Q"],
    mask: Bool[Array, "*B"] | None = None,
) -> Float[Array, ""]:
    """Computes the mean loss of predicted quantiles, 0 if the mask is nowhere true.

    Koenker and Bassett (1978), with the difference `u` of a target and the prediction of its quantile at probability p:

        loss = max(p u, (p - 1) u)

    Args:
      quantiles: predictions of the `Q` quantiles of each target.
      targets: observed values, anything in the padding.
      probabilities: the probability of each quantile.
      mask: true at valid positions; None if all are valid.

    >>> pinball(jnp.array([[0.0, 5.0]]), jnp.array([1.0]), jnp.array([0.5, 0.75]))  # the mean of 0.5 and 1
    Array(0.75, dtype=float32)
    """
    valid = jnp.ones(targets.shape, bool) if mask is None else mask
    difference = jnp.where(valid, targets, 0)[..., None] - jnp.where(valid[..., None], quantiles, 0)
    p = jnp.broadcast_to(probabilities, difference.shape)
    losses = jnp.maximum(p * difference, (p - 1) * difference).mean(axis=-1)
    return jnp.sum(jnp.where(valid, losses, 0)) / jnp.maximum(valid.sum(), 1).astype(losses.dtype)
