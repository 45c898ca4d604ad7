"""Batches of sequence pairs bucketed by length, in a few fixed shapes, so that a run compiles only a few times.

Pairs of similar lengths form a bucket, and all batches of a bucket have the same shape. (Sutskever, Vinyals and Le
2014, section 3.4, train twice as fast with batches of sentences of roughly the same length.) In the shapes, `B` is the
batch size; `S` and `T` are the lengths to which the bucket's sources and targets are padded.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Int, Int32

from seqjax.data.vocabulary import PAD


class PairBatch(NamedTuple):
    """`B` sources and their targets, padded with `PAD`; rows that only fill the batch have length 0."""

    sources: Int32[Array | np.ndarray, "B S"]
    source_lengths: Int32[Array | np.ndarray, "B"]
    targets: Int32[Array | np.ndarray, "B T"]
    target_lengths: Int32[Array | np.ndarray, "B"]


class Bucket(NamedTuple):
    """A batch shape and the examples that are batched in it."""

    source_length: int
    target_length: int
    batch_size: int
    members: Int[np.ndarray, "N"]  # indices of examples, ascending


def make_buckets(
    source_lengths: Sequence[int] | Int[np.ndarray, "N"],
    target_lengths: Sequence[int] | Int[np.ndarray, "N"],
    *,
    num_buckets: int,
    batch_size: int,
) -> tuple[Bucket, ...]:
    """Sorts `N` pairs into at most `num_buckets` buckets that minimise the padded area of an epoch.

    The pairs are ordered by `max(s, t)`, the longer of source and target, and cut into runs; pairs of equal `max(s, t)`
    stay together. The cost of a run of `n` pairs is the area of its batches, including the rows that only fill the last
    one,

        cost(run) = ceil(n / B) B (max s + max t),

    and a dynamic program finds the cuts of least total cost. No example is truncated. On CMUdict, ordering
    by `s + t` instead leaves more padding.

    Args:
      source_lengths: the length of each source, at least 1.
      target_lengths: the length of each target, at least 1.
      num_buckets: the maximum number of buckets, and so of shapes to compile.
      batch_size: `B`, the rows of every batch.

    Raises:
      ValueError: a length or setting is below 1, the numbers of sources and targets differ, or there are no examples.

    >>> for bucket in make_buckets([1, 1, 2, 9, 9, 8], [1, 2, 2, 7, 8, 8], num_buckets=2, batch_size=3):
    ...     print(bucket)
    Bucket(source_length=2, target_length=2, batch_size=3, members=array([0, 1, 2]))
    Bucket(source_length=9, target_length=8, batch_size=3, members=array([3, 4, 5]))
    """
    for name, value in (("num_buckets", num_buckets), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    source_lengths, target_lengths = np.asarray(source_lengths), np.asarray(target_lengths)
    if len(source_lengths) != len(target_lengths):
        raise ValueError(f"target_lengths: expected {len(source_lengths)}, one per source, got {len(target_lengths)}")
    for name, lengths in (("source_lengths", source_lengths), ("target_lengths", target_lengths)):
        if not len(lengths):
            raise ValueError(f"{name}: expected at least one example, got none")
        if lengths.min() < 1:
            raise ValueError(f"{name}: expected at least 1, got {lengths.min()} in example {lengths.argmin()}")

    sizes, place = np.unique(np.maximum(source_lengths, target_lengths), return_inverse=True)
    longest = np.zeros((2, len(sizes)), int)  # longest source and target of the pairs of each size
    np.maximum.at(longest[0], place, source_lengths)
    np.maximum.at(longest[1], place, target_lengths)
    smaller = np.concatenate([[0], np.bincount(place).cumsum()])  # [j]: number of pairs of the first j sizes

    least = np.full((num_buckets + 1, len(sizes) + 1), np.inf)  # [k, j]: least cost of k runs over the first j sizes
    least[0, 0] = 0.0
    cuts = np.zeros(least.shape, int)  # [k, j]: where the last of those runs starts
    for j in range(1, len(sizes) + 1):
        widths = np.maximum.accumulate(longest[:, :j][:, ::-1], axis=1)[:, ::-1].sum(axis=0)  # of a run from i to j
        rows = -(-(smaller[j] - smaller[:j]) // batch_size) * batch_size
        costs = least[:-1, :j] + rows * widths
        cuts[1:, j] = costs.argmin(axis=1)
        least[1:, j] = costs.min(axis=1)

    buckets, end = [], len(sizes)
    for k in range(int(least[:, end].argmin()), 0, -1):  # the fewest runs among those of equal cost
        start = cuts[k, end]
        shape = longest[:, start:end].max(axis=1)
        members = np.flatnonzero((start <= place) & (place < end))
        buckets.append(Bucket(int(shape[0]), int(shape[1]), batch_size, members))
        end = start
    return tuple(reversed(buckets))


def pair_batches_per_epoch(buckets: tuple[Bucket, ...]) -> int:
    """Returns the number of batches that hold each example once.

    >>> pair_batches_per_epoch(make_buckets([1] * 10, [1] * 10, num_buckets=3, batch_size=4))
    3
    """
    return sum(map(_num_batches, buckets))


def pair_batch(
    sources: Sequence[Int[np.ndarray, "_"]],
    targets: Sequence[Int[np.ndarray, "_"]],
    buckets: tuple[Bucket, ...],
    position: int,
    *,
    seed: int = 0,
) -> PairBatch:
    """Gathers the batch of a global training step: a pure function of `position`, so resuming needs no other state.

    Epoch `e = position // pair_batches_per_epoch` holds each example once. Generators seeded by `(seed, e)` shuffle the
    examples within each bucket before they are cut into batches, and then the batches of all buckets.

    Args:
      sources: the encoded source of each example.
      targets: the encoded target of each example.
      buckets: the result of `make_buckets` for their lengths.
      position: the global step, from 0.
      seed: seed of the permutations, at least 0.

    Raises:
      ValueError: position or seed is negative, or the buckets were made for other examples.

    >>> words = [np.array([5]), np.array([6, 7]), np.array([8, 9])]
    >>> buckets = make_buckets([1, 2, 2], [1, 2, 2], num_buckets=2, batch_size=2)
    >>> [pair_batch(words, words, buckets, position).sources.tolist() for position in (0, 1)]
    [[[8, 9], [6, 7]], [[5], [0]]]
    """
    _check_examples(sources, targets, buckets)
    for name, value in (("position", position), ("seed", seed)):
        if value < 0:
            raise ValueError(f"{name}: expected at least 0, got {value}")
    epoch, step = divmod(position, pair_batches_per_epoch(buckets))
    chunk = int(_permutation(pair_batches_per_epoch(buckets), seed, epoch, len(buckets))[step])
    ends = np.cumsum([_num_batches(bucket) for bucket in buckets])
    number = int(np.searchsorted(ends, chunk, side="right"))
    bucket = buckets[number]
    start = (chunk - int(ends[number]) + _num_batches(bucket)) * bucket.batch_size
    rows = _permutation(len(bucket.members), seed, epoch, number)[start : start + bucket.batch_size]
    return _gather(sources, targets, bucket, bucket.members[rows])


def evaluation_pair_batches(
    sources: Sequence[Int[np.ndarray, "_"]], targets: Sequence[Int[np.ndarray, "_"]], buckets: tuple[Bucket, ...]
) -> Iterator[tuple[Int[np.ndarray, "_"], PairBatch]]:
    """Gathers each example once, bucket by bucket, with the indices that restore the order of the examples.

    Args and errors as for `pair_batch`. The first rows of a batch belong to the indices; any other rows only fill it.

    >>> words = [np.array([5]), np.array([6, 7]), np.array([8])]
    >>> buckets = make_buckets([1, 2, 1], [1, 2, 1], num_buckets=2, batch_size=2)
    >>> [
    ...     (indices.tolist(), batch.source_lengths.tolist())
    ...     for indices, batch in evaluation_pair_batches(words, words, buckets)
    ... ]
    [([0, 2], [1, 1]), ([1], [2, 0])]
    """
    _check_examples(sources, targets, buckets)
    return (
        (indices, _gather(sources, targets, bucket, indices))
        for bucket in buckets
        for indices in np.split(bucket.members, range(bucket.batch_size, len(bucket.members), bucket.batch_size))
    )


def _num_batches(bucket: Bucket) -> int:
    return -(-len(bucket.members) // bucket.batch_size)


@functools.lru_cache(maxsize=64)  # the permutations of the current epoch and a few before it
def _permutation(size: int, seed: int, epoch: int, stream: int) -> Int[np.ndarray, "N"]:
    return np.random.default_rng((seed, epoch, stream)).permutation(size)


def _gather(
    sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], bucket: Bucket, indices: Int[np.ndarray, "_"]
) -> PairBatch:
    def pad(name: str, sequences: Sequence[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
        rows = [sequences[index] for index in indices]
        lengths = np.zeros(bucket.batch_size, np.int32)
        lengths[: len(rows)] = [len(row) for row in rows]
        if lengths.max() > length:
            index = indices[lengths.argmax()]
            raise ValueError(f"{name}: expected at most {length} ids in example {index}, got {lengths.max()}")
        padded = np.full((bucket.batch_size, length), PAD, np.int32)
        padded[np.arange(length) < lengths[:, None]] = np.concatenate(rows)
        return padded, lengths

    return PairBatch(*pad("sources", sources, bucket.source_length), *pad("targets", targets, bucket.target_length))


def _check_examples(sources: Sequence, targets: Sequence, buckets: tuple[Bucket, ...]) -> None:
    count = sum(len(bucket.members) for bucket in buckets)
    for name, examples in (("sources", sources), ("targets", targets)):
        if len(examples) != count:
            raise ValueError(f"{name}: expected the {count} examples of the buckets, got {len(examples)}")
