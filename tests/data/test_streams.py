import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqjax.data import StreamBatch, batches_per_epoch, evaluation_batches, stream_batch

SIZES = st.integers(1, 4)


def epoch_of(ids, epoch, **sizes):
    """One epoch with its batches laid end to end along the time axis."""
    num_batches = batches_per_epoch(len(ids), **sizes)
    batches = [stream_batch(ids, epoch * num_batches + k, **sizes) for k in range(num_batches)]
    return StreamBatch(*(np.concatenate(fields, axis=1) for fields in zip(*batches, strict=True)))


@given(st.integers(0, 60), SIZES, SIZES)
def test_first_epoch_reads_the_text_once_in_order(extra, batch_size, length):
    sizes = {"batch_size": batch_size, "length": length}
    ids = np.arange(batch_size * length + 1 + extra)
    epoch = epoch_of(ids, 0, **sizes)
    read = epoch.inputs.ravel()
    np.testing.assert_array_equal(read, ids[: read.size])
    np.testing.assert_array_equal(epoch.targets, epoch.inputs + 1)
    assert len(ids) - 1 - batch_size * length < read.size <= len(ids) - 1
    assert epoch.mask.all()
    assert epoch.resets[:, 0].all() and not epoch.resets[:, 1:].any()


@given(st.integers(0, 60), SIZES, SIZES, st.integers(1, 9))
def test_later_epochs_read_round_the_ring(extra, batch_size, length, number):
    ids = np.arange(batch_size * length + 1 + extra)
    epoch = epoch_of(ids, number, batch_size=batch_size, length=length)
    assert len(np.unique(epoch.inputs)) == epoch.inputs.size
    inputs, targets = epoch.inputs, epoch.targets
    np.testing.assert_array_equal(targets, (inputs + 1) % len(ids))
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])  # every stream goes on where its last batch ended
    np.testing.assert_array_equal(epoch.mask, targets != 0)
    np.testing.assert_array_equal(epoch.resets[:, 1:], inputs[:, 1:] == 0)
    assert epoch.resets[:, 0].all()


def test_epochs_begin_in_different_places():
    starts = [int(epoch_of(np.arange(1000), e, batch_size=4, length=7).inputs[0, 0]) for e in range(20)]
    assert len(set(starts)) == 20 and starts[0] == 0


def test_position_alone_decides_and_shapes_never_change():
    ids = np.arange(101) % 7
    batches = [stream_batch(ids, p, batch_size=3, length=4) for p in range(30)]
    again = stream_batch(ids, 17, batch_size=3, length=4)
    jax.tree.map(np.testing.assert_array_equal, batches[17], again)
    assert {field.shape for batch in batches for field in batch} == {(3, 4)}
    assert [field.dtype for field in again] == [np.int32, np.int32, bool, bool]


@pytest.mark.parametrize(
    "num_ids, position, sizes, message",
    [
        (0, 0, {"batch_size": 1, "length": 1}, "too short: 0 ids"),
        (12, 0, {"batch_size": 3, "length": 4}, "too short: 12 ids do not fill one batch of batch_size 3 x length 4"),
        (13, -1, {"batch_size": 3, "length": 4}, "position: .* got -1"),
        (13, 0, {"batch_size": 0, "length": 4}, "batch_size: .* got 0"),
        (13, 0, {"batch_size": 3, "length": -2}, "length: .* got -2"),
    ],
)
def test_bad_arguments(num_ids, position, sizes, message):
    with pytest.raises(ValueError, match=message):
        stream_batch(np.arange(num_ids), position, **sizes)


@given(st.integers(1, 5), st.integers(1, 40), SIZES, st.integers(1, 6))
def test_evaluation_counts_every_held_out_id_once(num_context, num_ids, batch_size, length):
    text = np.arange(num_context + num_ids)
    batches = list(evaluation_batches(text[:num_context], text[num_context:], length=length, batch_size=batch_size))
    assert {field.shape for batch in batches for field in batch} == {(batch_size, length)}
    whole = StreamBatch(*(np.concatenate(fields, axis=1) for fields in zip(*batches, strict=True)))
    np.testing.assert_array_equal(whole.targets[whole.mask], text[num_context:])  # row by row, in order
    np.testing.assert_array_equal(whole.inputs[whole.mask], text[num_context - 1 : -1])
    np.testing.assert_array_equal(whole.inputs[:, 1:], whole.targets[:, :-1])
    assert whole.resets[:, 0].all() and not whole.resets[:, 1:].any()
    for row, mask in zip(whole.inputs, whole.mask, strict=True):
        if mask.any():  # the context is read before the first id that counts, which nothing follows but ids that count
            first = mask.argmax()
            assert first == num_context - 1 and mask[first : first + mask.sum()].all()
            assert row[first] == row[0] + first


def test_one_stream_predicts_each_id_from_all_before_it():
    [batch] = evaluation_batches(np.array([8, 9]), np.array([1, 2, 3]), length=5)
    assert batch.inputs[0, :4].tolist() == [8, 9, 1, 2]
    assert batch.mask.tolist() == [[False, True, True, True, False]]


@pytest.mark.parametrize(
    "context, ids, sizes, message",
    [
        ([], [1], {"length": 1}, "context: expected at least one id"),
        ([1], [], {"length": 1}, "ids: expected at least one id"),
        ([1], [1], {"length": 0}, "length: .* got 0"),
        ([1], [1], {"length": 1, "batch_size": 0}, "batch_size: .* got 0"),
    ],
)
def test_bad_evaluation_arguments(context, ids, sizes, message):
    with pytest.raises(ValueError, match=message):
        evaluation_batches(np.array(context, int), np.array(ids, int), **sizes)
