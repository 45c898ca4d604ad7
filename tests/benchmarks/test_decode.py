"""What the decoding benchmark compares must compute the same; how fast it is, no test says."""

import numpy as np
import pytest

from benchmarks import decode, decode_jax
from benchmarks.decode_model import EOS

SIZES = decode.SMALL
POINT = {"sizes": SIZES._asdict(), "batch": 2}


@pytest.fixture(scope="module")
def found():
    return decode_jax.prepare(what="beam_search", beam=4, **POINT)()


def test_python_loop_finds_the_same(found):
    assert np.shape(found) == (2, SIZES.target)
    assert found[0] != found[1]
    assert decode_jax.prepare(what="python_loop", beam=4, **POINT)() == found


def test_torch_finds_the_same(found):
    pytest.importorskip("torch")
    from benchmarks import decode_torch

    assert decode_torch.prepare(beam=4, **POINT)() == found


def test_greedy_search_is_a_beam_of_one(found):
    greedy = decode_jax.prepare(what="greedy_search", beam=1, **POINT)()
    assert decode_jax.prepare(what="beam_search", beam=1, **POINT)() == greedy != found


def test_limit_runs():
    assert decode_jax.prepare(what="limit", beam=4, **POINT)() == []


def test_all_sequences_end_where_told():
    for end in 3, SIZES.target:
        tokens = np.array(decode_jax.prepare(what="ending_beam_search", beam=4, end=end, **POINT)())
        assert (tokens[:, end - 1] == EOS).all()
        assert (tokens[:, : end - 1] != EOS).all()
        assert (tokens[:, end:] == 0).all()


def test_memory_does_not_hold_the_context_for_each_hypothesis():
    sizes = SIZES._replace(source=4000)
    context = 2 * 2 * sizes.source * sizes.hidden * 4
    assert decode_jax.memory(sizes, 2, beam=10) - decode_jax.memory(sizes, 2, beam=1) < 2 * context


def test_disagreement_is_told():
    def contestant(tokens):
        return lambda **point: {"result": tokens}

    contestants = {name: contestant([[1, 2]]) for name in ("limit", "beam search", "greedy search")}
    decode.check_agreement(contestants)
    with pytest.raises(ValueError, match="torch finds"):
        decode.check_agreement(contestants | {"torch": contestant([[1, 3]])})


def test_table_holds_medians_and_ratios():
    seconds = {"limit": np.array([1.0, 2.0, 9.0]), "beam search": np.array([2.0, 4.0, 9.0])}
    text = decode.report_points({(8, 5): seconds, (16, 5): seconds}, ["limit", "beam search", "greedy search"])
    assert "| 8 | 5 | 4.0 | 2.0 | - | 2.00 | - |" in text
    linear = {(1, rows): {"beam search": np.array([0.5 * rows])} for rows in (1, 2, 8)}
    assert "0.500 s x rows^1.00" in decode.report_growth(linear)
