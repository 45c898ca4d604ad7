"""What the benchmark of a training step compares must learn; how fast it is, no test says."""

import itertools
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import peer, train_step, train_step_jax, turns
from benchmarks.peer import ROOT
from benchmarks.train_step_work import Sizes

SIZES = Sizes(batch=4, steps=6, vocabulary=5, hidden=8)


def check_learning(step):
    losses = [step() for _ in range(60)]
    assert abs(losses[0] - np.log(SIZES.vocabulary)) < 0.5  # it begins by guessing
    assert losses[-1] < losses[0] - 0.01


@pytest.mark.parametrize("what", ["seqjax", "flax.linen"])
def test_jax_learns(what):
    check_learning(train_step_jax.prepare(what=what, sizes=SIZES._asdict()))


def test_torch_learns():
    pytest.importorskip("torch")
    from benchmarks import train_step_torch

    check_learning(train_step_torch.prepare(what="torch", sizes=SIZES._asdict()))


def test_table_holds_medians_and_ratios():
    seconds = {"seqjax": np.array([0.1, 0.2, 0.9]), "torch": np.array([0.2, 0.4, 0.9])}
    text = train_step.report(SIZES, seconds)
    assert "| seqjax | 200.0 | 120 | 1.00 |" in text
    assert "| torch | 400.0 | 60 | 2.00 |" in text


def test_turns_go_forth_and_back(monkeypatch):
    monkeypatch.setattr(turns, "PAUSE", 0.0)
    asked = []

    def ask(name):
        asked.append(name)
        return {"result": len(asked), "seconds": float(len(asked))}

    measured = turns.take_turns({name: lambda name=name: ask(name) for name in "ab"}, 2)
    assert "".join(asked) == "ababba"
    assert measured.results == {"a": 6, "b": 5}
    np.testing.assert_array_equal(measured.seconds["a"], [3, 6])


def test_the_call_that_compiles_does_not_count(monkeypatch):
    # calls of 0.1, 0.05 and 0.2 seconds follow the first, with which time begins
    times = iter([0.0, 0.0, 0.1, 0.1, 0.1, 0.15, 0.15, 0.15, 0.35, 0.35])
    monkeypatch.setattr(peer, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    results = itertools.count()
    assert peer.measure(lambda: next(results)) == (3, pytest.approx(0.1))


@pytest.mark.parametrize("module", ["train_step_jax", "unroll_jax"])
def test_a_module_makes_no_array_before_glibc_is_told_to_keep_memory(module):
    code = f"import benchmarks.{module}, jax; jax.config.update('jax_num_cpu_devices', 2)"  # refused once JAX has begun
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
