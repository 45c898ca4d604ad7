import functools
from itertools import combinations

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqjax.data import PAD, evaluation_pair_batches, make_buckets, pair_batch, pair_batches_per_epoch

LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=40)
SIZES = st.integers(1, 5)


def examples_of(lengths):
    """Sources and targets whose every id is the number of their example, from 1."""
    return tuple([np.full(pair[side], k, np.int32) for k, pair in enumerate(lengths, 1)] for side in (0, 1))


def buckets_of(lengths, num_buckets, batch_size):
    return make_buckets(*zip(*lengths, strict=True), num_buckets=num_buckets, batch_size=batch_size)


def area(buckets):
    return sum(-(-len(b.members) // b.batch_size) * b.batch_size * (b.source_length + b.target_length) for b in buckets)


def read(batch):
    """The examples of a batch, by number, once each row has been found to be that example, whole, or filler."""
    for ids, lengths in (batch[:2], batch[2:]):
        assert ids.dtype == lengths.dtype == np.int32
        np.testing.assert_array_equal(ids != PAD, np.arange(ids.shape[1]) < lengths[:, None])
    real = batch.source_lengths > 0
    np.testing.assert_array_equal(real, batch.target_lengths > 0)
    np.testing.assert_array_equal(real, np.sort(real)[::-1])  # filler comes last
    numbers = batch.sources[real, 0]
    for ids in (batch.sources, batch.targets):
        np.testing.assert_array_equal(ids, np.where(ids != PAD, ids[:, :1], PAD))
        np.testing.assert_array_equal(ids[real, 0], numbers)
    return numbers - 1, batch.source_lengths[real], batch.target_lengths[real]


@given(LENGTHS, SIZES, SIZES)
def test_every_example_is_in_one_bucket_and_fits(lengths, num_buckets, batch_size):
    buckets = buckets_of(lengths, num_buckets, batch_size)
    assert 1 <= len(buckets) <= num_buckets
    assert len({(b.source_length, b.target_length) for b in buckets}) == len(buckets)
    assert sorted(np.concatenate([b.members for b in buckets])) == list(range(len(lengths)))
    for bucket in buckets:
        longest = np.max([lengths[k] for k in bucket.members], axis=0)  # no wider than need be
        assert (bucket.source_length, bucket.target_length, bucket.batch_size) == (*longest, batch_size)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=15), SIZES, SIZES)
def test_no_other_cuts_of_the_order_hold_less_padding(lengths, num_buckets, batch_size):
    sizes = sorted({max(pair) for pair in lengths})

    def cost(cuts):
        total = 0
        for low, high in zip((0, *cuts), (*cuts, sizes[-1]), strict=True):
            run = [pair for pair in lengths if low < max(pair) <= high]
            total += -(-len(run) // batch_size) * batch_size * sum(np.max(run, axis=0))
        return total

    every = [cuts for k in range(min(num_buckets, len(sizes))) for cuts in combinations(sizes[:-1], k)]
    assert area(buckets_of(lengths, num_buckets, batch_size)) == min(map(cost, every))


@given(LENGTHS, SIZES, SIZES, st.integers(0, 3))
def test_an_epoch_holds_every_example_once_and_whole(lengths, num_buckets, batch_size, epoch):
    sources, targets = examples_of(lengths)
    buckets = buckets_of(lengths, num_buckets, batch_size)
    steps = pair_batches_per_epoch(buckets)
    batches = [pair_batch(sources, targets, buckets, epoch * steps + k) for k in range(steps)]
    assert {(b.sources.shape, b.targets.shape) for b in batches} == {
        ((batch_size, b.source_length), (batch_size, b.target_length)) for b in buckets
    }
    numbers, source_lengths, target_lengths = map(np.concatenate, zip(*map(read, batches), strict=True))
    order = np.argsort(numbers)
    np.testing.assert_array_equal(numbers[order], np.arange(len(lengths)))
    np.testing.assert_array_equal(np.stack([source_lengths, target_lengths], axis=1)[order], lengths)


def test_only_the_last_batch_of_a_bucket_is_filled_up():
    lengths = [(1, 2)] * 10 + [(5, 4)] * 7
    sources, targets = examples_of(lengths)
    buckets = buckets_of(lengths, 2, 4)
    batches = [pair_batch(sources, targets, buckets, k) for k in range(pair_batches_per_epoch(buckets))]
    rows = sorted((b.sources.shape[1], int((b.source_lengths > 0).sum())) for b in batches)
    assert rows == [(1, 2), (1, 4), (1, 4), (5, 3), (5, 4)]


def test_position_and_seed_alone_decide():
    lengths = [(1 + k % 7, 1 + k % 5) for k in range(60)]
    sources, targets = examples_of(lengths)
    draw = functools.partial(pair_batch, sources, targets, buckets_of(lengths, 3, 4))
    batches = [draw(position) for position in range(80)]
    for position in (63, 0, 17):
        jax.tree.map(np.testing.assert_array_equal, batches[position], draw(position))
    assert any(draw(position, seed=1).sources.tolist() != batches[position].sources.tolist() for position in range(10))


def test_epochs_differ_in_the_batches_and_in_their_order():
    lengths = [(2, 3)] * 40 + [(8, 9)] * 40
    sources, targets = examples_of(lengths)
    buckets = buckets_of(lengths, 2, 8)
    epochs = [[pair_batch(sources, targets, buckets, 10 * e + k) for k in range(10)] for e in range(6)]
    assert len({str([batch.sources.shape for batch in epoch]) for epoch in epochs}) > 3
    assert len({str(sorted(sorted(batch.sources[:, 0]) for batch in epoch)) for epoch in epochs}) == 6


@given(LENGTHS, SIZES, SIZES)
def test_evaluation_reads_in_order_and_says_which(lengths, num_buckets, batch_size):
    sources, targets = examples_of(lengths)
    buckets = buckets_of(lengths, num_buckets, batch_size)
    batches = list(evaluation_pair_batches(sources, targets, buckets))
    assert len(batches) == pair_batches_per_epoch(buckets)
    for indices, batch in batches:
        np.testing.assert_array_equal(indices, read(batch)[0])
        assert (np.diff(indices) > 0).all()
    assert sorted(np.concatenate([indices for indices, _ in batches])) == list(range(len(lengths)))


@pytest.mark.parametrize(
    "source_lengths, target_lengths, sizes, message",
    [
        ([], [], {"num_buckets": 1, "batch_size": 1}, "source_lengths: expected at least one example, got none"),
        ([1, 2], [1], {"num_buckets": 1, "batch_size": 1}, "target_lengths: expected 2, one per source, got 1"),
        ([1, 0], [1, 1], {"num_buckets": 1, "batch_size": 1}, "source_lengths: .* got 0 in example 1"),
        ([1, 1], [-3, 1], {"num_buckets": 1, "batch_size": 1}, "target_lengths: .* got -3 in example 0"),
        ([1], [1], {"num_buckets": 0, "batch_size": 1}, "num_buckets: .* got 0"),
        ([1], [1], {"num_buckets": 1, "batch_size": 0}, "batch_size: .* got 0"),
    ],
)
def test_bad_lengths(source_lengths, target_lengths, sizes, message):
    with pytest.raises(ValueError, match=message):
        make_buckets(source_lengths, target_lengths, **sizes)


@pytest.mark.parametrize(
    "lengths, options, message",
    [
        ([(2, 2), (3, 3)], {"position": -1}, "position: .* got -1"),
        ([(2, 2), (3, 3)], {"position": 0, "seed": -1}, "seed: .* got -1"),
        ([(2, 2)], {"position": 0}, "sources: expected the 2 examples of the buckets, got 1"),
        ([(2, 2), (3, 4)], {"position": 0}, "targets: expected at most 3 ids in example 1, got 4"),
    ],
)
def test_bad_batches(lengths, options, message):
    buckets = buckets_of([(2, 2), (3, 3)], 1, 2)
    with pytest.raises(ValueError, match=message):
        pair_batch(*examples_of(lengths), buckets, **options)
