"""The examples run as a reader would run them, on a small text."""

import runpy
from pathlib import Path

import jax
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
TEXT = "the quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "fox.txt"
    path.write_text(TEXT)
    return path


def test_char_rnn_learns_and_writes(text, capsys):
    program = runpy.run_path(str(EXAMPLES / "char_rnn.py"))
    small = {"HIDDEN": 32, "BATCH": 4, "LENGTH": 16, "EPOCHS": 12}
    program["main"].__globals__.update(small)
    with jax.numpy_rank_promotion("allow"):  # the example adds a bias as a reader would
        program["main"](text)
    *epochs, sample = capsys.readouterr().out.splitlines()
    bits = [float(line.split()[2]) for line in epochs]
    assert len(bits) == 12 and bits[-1] < 1.5 < bits[0]
    assert len(sample) == 300 and set(sample) <= set(TEXT)
    assert sum(word in TEXT.split() for word in sample.split()) > len(sample.split()) / 2


def test_char_rnn_is_read_in_one_sitting():
    assert len((EXAMPLES / "char_rnn.py").read_text().splitlines()) <= 100
