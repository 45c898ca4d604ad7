"""Contiguous-stream batching: a long text as `B` parallel streams whose carry passes from batch to batch.

These are the batches of truncated back-propagation through time (Mikolov et al. 2010). Row `b` of the next batch starts
where row `b` of this batch ends, so the final carry of one batch is the initial carry of the next.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Bool, Int, Int32

GOLDEN_RATIO = 0.6180339887498949


class StreamBatch(NamedTuple):
    """`T` time steps of `B` parallel streams: inputs, targets, and where the carry is reset."""

    inputs: Int32[Array | np.ndarray, "B T"]
    targets: Int32[Array | np.ndarray, "B T"]  # the id that follows each input
    resets: Bool[Array | np.ndarray, "B T"]  # True where the carry is reset before reading this input
    mask: Bool[Array | np.ndarray, "B T"]  # True where the target counts


def batches_per_epoch(num_ids: int, *, batch_size: int, length: int) -> int:
    """Returns the number of batches, of `batch_size` streams by `length` time steps, in a pass over `num_ids` ids.

    Raises:
      ValueError: the batch size or the length is below 1, or the ids do not fill one batch.

    >>> batches_per_epoch(1000, batch_size=4, length=30)
    8
    """
    for name, value in (("batch_size", batch_size), ("length", length)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    if num_ids <= batch_size * length:
        raise ValueError(
            f"ids: the text is too short: {num_ids} ids do not fill one batch"
            f" of batch_size {batch_size} x length {length} and the id to predict after it"
        )
    return (num_ids - 1) // (batch_size * length)


def stream_batch(ids: Int[np.ndarray, "N"], position: int, *, batch_size: int, length: int) -> StreamBatch:
    """Returns the batch of a global training step: a pure function of `position`, so resuming needs no other state.

    The text is treated as a ring of `N` ids. Epoch `e = position // batches_per_epoch` starts `e` golden sections round
    the ring. The borders of streams and chunks therefore differ from epoch to epoch, and so do the at most `B T` ids
    that an epoch leaves out. The carry is reset at the start of an epoch and where the text wraps round; the target
    across the wrap is masked.

    Args:
      ids: the encoded text.
      position: the global step, from 0.
      batch_size: `B`, the number of streams.
      length: `T`, the number of time steps in a batch.

    Raises:
      ValueError: a size is below 1, the position is negative, or the text does not fill one batch.

    >>> stream_batch(np.arange(13), 1, batch_size=2, length=3).inputs
    array([[ 3,  4,  5],
           [ 9, 10, 11]], dtype=int32)
    """
    num_batches = batches_per_epoch(len(ids), batch_size=batch_size, length=length)
    if position < 0:
        raise ValueError(f"position: expected a step of at least 0, got {position}")
    epoch, chunk = divmod(position, num_batches)
    start = epoch * round(GOLDEN_RATIO * len(ids)) + chunk * length
    rows = num_batches * length * np.arange(batch_size)[:, None]
    places = (start + rows + np.arange(length)) % len(ids)
    resets = places == 0
    resets[:, 0] |= chunk == 0
    return StreamBatch(
        inputs=ids[places].astype(np.int32),
        targets=ids[(places + 1) % len(ids)].astype(np.int32),
        resets=resets,
        mask=places != len(ids) - 1,
    )


def evaluation_batches(
    context: Int[np.ndarray, "C"], ids: Int[np.ndarray, "N"], *, length: int, batch_size: int = 1
) -> Iterator[StreamBatch]:
    """Cuts held-out text into batches in which each of its `N` ids is an unmasked target exactly once.

    Stream `b` scores the `b`-th of `B` equal parts of `ids`. It first reads the `C` ids before its part, with masked
    targets, to warm up the carry. One stream, the default, predicts each id from all ids before it; several streams are
    faster, but see only `C` ids before their part. All batches are `[B, T]`, and the carry passes from batch to batch.

    Args:
      context: the ids before the held-out text, at least one, from which a language model predicts the first id.
      ids: the held-out text.
      length: `T`, the number of time steps in a batch.
      batch_size: `B`, the number of streams.

    Raises:
      ValueError: a size is below 1, or the context or the held-out text is empty.

    >>> [batch.targets[batch.mask] for batch in evaluation_batches(np.array([7]), np.array([1, 2, 3, 4]), length=3)]
    [array([1, 2, 3], dtype=int32), array([4], dtype=int32)]
    """
    for name, value in (("length", length), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    for name, symbols in (("context", context), ("ids", ids)):
        if len(symbols) == 0:
            raise ValueError(f"{name}: expected at least one id, got none")
    part = -(-len(ids) // batch_size)
    first = len(context) - 1  # the step that reads the last id of the context and predicts the first of ids
    num_batches = -(-(first + part) // length)
    steps = np.arange(num_batches * length)
    places = part * np.arange(batch_size)[:, None] + steps
    mask = (first <= steps) & (steps < first + part) & (places < first + len(ids))
    text = np.concatenate([context, ids]).astype(np.int32)
    text = np.pad(text, (0, places[-1, -1] + 2 - len(text)))
    resets = np.broadcast_to(steps == 0, places.shape)
    whole = StreamBatch(text[places], text[places + 1], resets, mask)
    return (StreamBatch(*(field[:, t : t + length] for field in whole)) for t in range(0, len(steps), length))
