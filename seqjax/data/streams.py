"""Contiguous-stream batching: a long text as `B` parallel streams whose recurrent state passes from batch to batch.

The batches of truncated back-propagation through time (Mikolov et al. 2010): row `b` of the next batch begins where row
`b` of this one ended, so the state that one leaves is the state that the next starts from.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Bool, Int, Int32

GOLDEN_RATIO = 0.6180339887498949


class StreamBatch(NamedTuple):
    """`T` steps of `B` parallel streams: what is read, what is to be predicted, and where the state starts anew."""

    inputs: Int32[Array | np.ndarray, "B T"]
    targets: Int32[Array | np.ndarray, "B T"]  # the id that follows each input
    resets: Bool[Array | np.ndarray, "B T"]  # True where the state starts anew before this input is read
    mask: Bool[Array | np.ndarray, "B T"]  # True where the target counts


def batches_per_epoch(num_ids: int, *, batch_size: int, length: int) -> int:
    """Counts the batches of `batch_size` streams by `length` steps that one pass over `num_ids` ids gives.

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
    """Cuts the batch of a global training step out of a text: a pure function of `position`, so resuming needs no more.

    The text is read as a ring of `N` ids. Epoch `e = position // batches_per_epoch` starts `e` golden sections round
    it, so that the borders of streams and chunks, and the at most `B T` ids that an epoch leaves out, differ from epoch
    to epoch. The state starts anew where an epoch begins and where the ring closes; the target across the gap does not
    count.

    Args:
      ids: the encoded text.
      position: the global step, from 0.
      batch_size: `B`, the number of streams.
      length: `T`, the steps of one batch.

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
    """Cuts held-out text into batches in which each of its `N` ids is a counted target exactly once.

    Stream `b` scores the `b`-th of `B` equal parts of `ids`, and reads the `C` ids before it first, uncounted, to warm
    its state. One stream, the default, predicts each id from all before it; several are faster, but know only `C` ids
    before their part. All batches are `[B, T]`; the state passes from batch to batch.

    Args:
      context: the ids before the held-out text, at least one (a language model predicts the first id from it).
      ids: the held-out text.
      length: `T`, the steps of one batch.
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
    first = len(context) - 1  # reads the last id of the context, predicts the first that counts
    num_batches = -(-(first + part) // length)
    steps = np.arange(num_batches * length)
    places = part * np.arange(batch_size)[:, None] + steps
    mask = (first <= steps) & (steps < first + part) & (places < first + len(ids))
    text = np.concatenate([context, ids]).astype(np.int32)
    text = np.pad(text, (0, places[-1, -1] + 2 - len(text)))
    resets = np.broadcast_to(steps == 0, places.shape)
    whole = StreamBatch(text[places], text[places + 1], resets, mask)
    return (StreamBatch(*(field[:, t : t + length] for field in whole)) for t in range(0, len(steps), length))
