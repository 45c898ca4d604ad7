"""What a decoder reads and predicts, row by row, and how often it reads what it has drawn itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.training.teacher_forcing import inverse_sigmoid_decay, teacher_forcing

BOS, EOS = 1, 2


@settings(max_examples=15)
@given(
    rows=st.sampled_from([1, 3]).flatmap(
        lambda n: st.lists(st.lists(st.integers(3, 9), max_size=4), min_size=n, max_size=n)
    ),
    padding=st.sampled_from([0, EOS, -7, 2**31 - 1]),
    array=st.sampled_from([np.array, jnp.array]),
)
def test_rows_are_read_after_bos_and_end_with_eos(rows, padding, array):
    symbols = array([row + [padding] * (4 - len(row)) for row in rows], np.int32)
    forced = teacher_forcing(symbols, array([len(row) for row in rows]), bos=BOS, eos=EOS)
    assert forced.inputs.shape == forced.targets.shape == forced.mask.shape == (len(rows), 5)
    for b, row in enumerate(rows):
        count = len(row) + 1
        assert forced.inputs[b, :count].tolist() == [BOS, *row]
        assert forced.targets[b, :count].tolist() == [*row, EOS]
        assert forced.mask[b].tolist() == [bool(row)] * count + [False] * (5 - count)
        assert not forced.inputs[b, count:].any() and not forced.targets[b, count:].any()  # whatever the padding was


def test_takes_any_batch_axes_and_keeps_the_type():
    symbols, lengths = np.arange(3, 15, dtype=np.int32).reshape(2, 2, 3), np.array([[3, 1], [0, 2]])
    forced = teacher_forcing(symbols, lengths, bos=BOS, eos=EOS)
    for row in np.ndindex(2, 2):
        single = teacher_forcing(symbols[row], np.array(lengths[row]), bos=BOS, eos=EOS)
        jax.tree.map(lambda leaf, one, row=row: np.testing.assert_array_equal(leaf[row], one), forced, single)
    assert forced.inputs.dtype == forced.targets.dtype == np.int32 and forced.mask.dtype == bool


def test_lowers_for_every_accelerator_and_compiles_once(lowers, compilations):
    run = jax.jit(lambda symbols, lengths: teacher_forcing(symbols, lengths, bos=BOS, eos=EOS))
    arguments = [(jnp.full((2, 3), k), jnp.array([k, 3])) for k in (1, 2)]
    lowers(run, *arguments[0])
    run(*arguments[0])
    with compilations() as compiled:
        jax.block_until_ready(run(*arguments[1]))
    assert not compiled


@pytest.mark.parametrize("k", [1.0, 7.5, 1000.0])
def test_inverse_sigmoid_decay_rises_from_almost_never_to_always(k):
    schedule = inverse_sigmoid_decay(k)
    steps = jnp.arange(0, 20 * int(k), max(1, int(k) // 10))
    rates = np.asarray(jax.jit(jax.vmap(schedule))(steps))
    np.testing.assert_allclose(rates, 1 - k / (k + np.exp(np.asarray(steps) / k)), atol=1e-6)
    assert (np.diff(rates) >= 0).all() and rates[0] == pytest.approx(1 / (k + 1), abs=1e-6)
    assert schedule(round(k * np.log(k))) == pytest.approx(0.5, abs=0.1)
    assert schedule(10**6 * int(k)) == 1  # although exp overflows


def test_inverse_sigmoid_decay_refuses_what_never_falls():
    with pytest.raises(ValueError, match="^k: expected at least 1, got 0.5"):
        inverse_sigmoid_decay(0.5)


def test_a_length_for_each_sequence(unchecked):
    with pytest.raises(ValueError, match=r"^lengths: expected shape \(2,\), one per sequence, got \(1,\)"):
        teacher_forcing(jnp.ones((2, 3), int), jnp.ones(1, int), bos=BOS, eos=EOS)


def test_nothing_is_read_as_its_beginning_alone():
    forced = teacher_forcing(jnp.zeros((2, 0), int), jnp.zeros(2, int), bos=BOS, eos=EOS)
    np.testing.assert_array_equal(forced.inputs, [[BOS], [BOS]])
    assert forced.targets.shape == (2, 1) and not forced.mask.any()
