"""Teacher forcing: the inputs and targets of a decoder in training, and a schedule for reading its own symbols.

A decoder that predicts y_1 ... y_n and then `eos` reads `bos`, y_1 ... y_n. Trained only on such inputs, it never sees
its own mistakes; scheduled sampling lets it read more and more of its own symbols (Bengio et al. 2015).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from seqjax.arguments import IntLike, at_least, clip_lengths, within


class Forced(NamedTuple):
    """Inputs and targets of a decoder for sequences of up to `L` symbols, in `T = L + 1` steps."""

    inputs: Integer[Array, "*B T"]
    targets: Integer[Array, "*B T"]
    mask: Bool[Array, "*B T"]  # true where the target counts; nowhere in a row of length 0


def teacher_forcing(
    symbols: Integer[Array | np.ndarray, "*B L"],
    lengths: Integer[Array | np.ndarray, "*B"],
    *,
    bos: IntLike,
    eos: IntLike,
) -> Forced:
    r"""Builds decoder inputs with `bos` before each sequence, and targets with `eos` after each.

    Args:
      symbols: sequences padded to `L`, with any values in the padding.
      lengths: length of each sequence; a row of length 0 only fills the batch, so not even its `eos` counts. Lengths
        above `L` count as `L`.
      bos: the first input.
      eos: the last target.

    Returns:
      Inputs and targets, of a type that holds the symbols and is at least int32, so that it holds `bos` and `eos` too.

    Raises:
      ValueError: if there is not one length for each sequence.

    >>> forced = teacher_forcing(jnp.array([[5, 6, 7], [5, 0, 0]]), jnp.array([3, 1]), bos=1, eos=2)
    >>> print(forced.inputs, forced.targets, sep="\n")
    [[1 5 6 7]
     [1 5 0 0]]
    [[5 6 7 2]
     [5 2 0 0]]
    >>> forced.mask.sum(axis=1)
    Array([4, 2], dtype=int32)
    """
    if np.shape(lengths) != symbols.shape[:-1]:
        raise ValueError(f"lengths: expected shape {symbols.shape[:-1]}, one per sequence, got {np.shape(lengths)}")
    symbols = at_least(symbols, jnp.int32)
    steps = symbols.shape[-1] + 1
    lengths = clip_lengths(lengths, steps - 1)
    symbols = jnp.where(within(lengths, steps - 1), symbols, 0)
    begin = jnp.full((*symbols.shape[:-1], 1), bos, symbols.dtype)
    targets = jnp.concatenate([symbols, jnp.zeros_like(begin)], axis=-1)
    up_to_eos = within(lengths + 1, steps)
    return Forced(
        inputs=jnp.concatenate([begin, symbols], axis=-1),
        targets=jnp.where(up_to_eos & ~within(lengths, steps), eos, targets),
        mask=up_to_eos & (lengths > 0)[..., None],
    )


def inverse_sigmoid_decay(k: float) -> Callable[[int | Int[Array, ""]], Float[Array, ""]]:
    """Builds a schedule of the probability that a decoder reads its own symbols, by training step.

    Bengio et al. (2015), section 2.4: 1 - k / (k + exp(i / k)) at step i. For a linear schedule, see
    `optax.linear_schedule`.

    Args:
      k: at least 1; a larger k delays the rise. The probability is 1/2 after k log k steps.

    Raises:
      ValueError: if `k` is below 1.

    >>> schedule = inverse_sigmoid_decay(100.0)
    >>> print(*(f"{schedule(step):.2f}" for step in (0, 460, 1000)))
    0.01 0.50 1.00
    """
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}")
    return lambda step: 1 - k / (k + jnp.exp(jnp.asarray(step, float) / k))
