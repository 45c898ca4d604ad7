"""Problems of long memory against their definitions, and the script as a user runs it, tiny."""

import json
import re
from functools import partial

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments import long_memory
from experiments.datasets import long_lags

TINY = ["--batch_size=16", "--hidden_size=8", "--warmup_steps=5", "--checkpoint_every=1000"]


@pytest.fixture(scope="module")
def run_main(run_experiment):
    return partial(run_experiment, long_memory)


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("length", [10, 33])
def test_adding_marks_one_number_in_each_half(length):
    inputs, targets = long_lags.adding(np.random.default_rng(0), 200, length)
    assert inputs.shape == (200, length, 2) and inputs.dtype == targets.dtype == np.float32
    for (numbers, marks), target in zip(inputs.transpose(0, 2, 1), targets, strict=True):
        first, second = np.flatnonzero(marks)
        assert first < length // 2 <= second and numbers[first] + numbers[second] == target
    marked = inputs[..., 1].sum(0)
    assert (marked > 0).all() and ((inputs[..., 0] >= 0) & (inputs[..., 0] < 1)).all()


def test_chance_of_adding_is_that_of_always_saying_one():
    _, targets = long_lags.adding(np.random.default_rng(0), 50_000, 10)
    assert np.mean((targets - 1) ** 2) == pytest.approx(1 / 6, rel=0.02)


def test_copy_asks_for_what_came_first():
    inputs, targets = long_lags.copy(np.random.default_rng(0), 50, 12)
    symbols = inputs.argmax(-1)
    assert inputs.shape == (50, 32, 10) and targets.shape == (50, 32)
    np.testing.assert_array_equal(inputs.sum(-1), 1)
    np.testing.assert_array_equal(targets[:, -10:], symbols[:, :10])
    assert (targets[:, :-10] == 8).all() and (symbols[:, 10:21] == 8).all() and (symbols[:, 22:] == 8).all()
    assert (symbols[:, 21] == 9).all()  # so 12 steps after the last symbol it is said again
    assert set(symbols[:, :10].flat) == set(range(8))


@pytest.mark.parametrize("length", [10, 200])
def test_temporal_order_is_read_off_its_signs(length):
    inputs, targets = long_lags.temporal_order(np.random.default_rng(0), 300, length)
    symbols = inputs.argmax(-1)
    assert inputs.shape == (300, length, 8) and set(targets) == set(range(8))
    assert (symbols[:, 0] == 6).all() and (symbols[:, -1] == 7).all()
    for row, target in zip(symbols, targets, strict=True):
        places = np.flatnonzero((row == 4) | (row == 5))
        np.testing.assert_array_equal(places * 10 // length, [1, 3, 6])
        assert int("".join(str(sign - 4) for sign in row[places]), 2) == target


@pytest.mark.parametrize("name", long_lags.SYNTHETIC)
def test_batches_are_a_function_of_seed_and_position(name):
    problem = long_lags.synthetic(name, 10, 4, 40, seed=3)
    assert problem.steps_per_epoch == 10
    later, again = problem.batch(7), long_lags.synthetic(name, 10, 4, 40, seed=3).batch(7)
    for one, other in zip(later, again, strict=True):
        np.testing.assert_array_equal(one, other)
    parts = [problem.batch(6), problem.validation, problem.test, long_lags.synthetic(name, 10, 4, 40, seed=4).batch(7)]
    assert not any(np.array_equal(later.inputs, part.inputs[:4]) for part in parts)


def test_a_run_learns_to_add_and_shows_how(tmp_path, run_main, capsys):
    options = ["--length=10", "--cell=gru", "--hidden_size=16", "--epochs=1.2", "--learning_rate=2e-2"]
    run_main(f"--run_folder={tmp_path}", *TINY, *options)
    [error, wrong], [chance] = result(tmp_path)["scores"].values(), result(tmp_path)["baselines"].values()
    assert error < 0.2 * chance and wrong < 100
    for figure in ("learning_curve", "gradient_flow", "contributions", "gates"):
        assert (tmp_path / f"{figure}.png").stat().st_size > 1000
    shown = re.findall(r"expected (\S+), got (\S+)", capsys.readouterr().out)[-5:]
    assert np.mean([abs(float(expected) - float(got)) for expected, got in shown]) < 0.4


def test_copy_by_two_layers_that_are_not_clipped(tmp_path, run_main):
    options = ["--problem=copy", "--length=10", "--cell=simple_rnn", "--max_grad_norm=inf", "--layers=2"]
    run_main(f"--run_folder={tmp_path}", *TINY, *options, "--epochs=0.1", "--learning_rate=1e-2")
    scores, baselines = result(tmp_path)["scores"], result(tmp_path)["baselines"]
    assert baselines == {"nats per step, chance (10 ln 8 / (T + 20))": pytest.approx(10 * np.log(8) / 30)}
    assert scores["nats per step"] < np.log(9) and scores["% wrong"] == 100  # it has learned to be silent, no more
    assert "train/clipped_share,0\n" in (tmp_path / "metrics.csv").read_text()
    sample = max((tmp_path / "samples").iterdir()).read_text()
    assert re.match(r"expected( \d){10}, got( \d){10}\n", sample)


class Halves(tfds.core.GeneratorBasedBuilder):
    """Images of 4 by 3 by 1, bright on top or below, with noise; no validation part."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Tensor(shape=(4, 3, 1), dtype=np.uint8)
        label = tfds.features.ClassLabel(num_classes=2)
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"image": image, "label": label}), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(400, 0), "test": self._generate_examples(50, 1)}

    def _generate_examples(self, count, seed):
        rng = np.random.default_rng(seed)
        for number in range(count):
            label = int(rng.integers(2))
            image = rng.integers(0, 100, (4, 3, 1), np.uint8)
            image[2 * label : 2 * label + 2] += 100
            yield number, {"image": image, "label": label}


@pytest.mark.parametrize(("by", "steps"), [("rows", 4), ("pixels", 12)])
def test_images_are_read_row_by_row_or_pixel_by_pixel(by, steps, tmp_path):
    pytest.importorskip("sklearn")
    problem = long_lags.images(Halves(data_dir=tmp_path), by, 32, seed=0)
    inputs, targets = problem.test
    assert inputs.shape == (50, steps, 12 // steps) and len(problem.validation.targets) == 20
    halves = inputs.reshape(50, 2, 6).mean(-1)
    np.testing.assert_array_equal(halves.argmax(-1), targets)
    assert problem.steps_per_epoch == 11
    epoch = np.concatenate([problem.batch(position).inputs for position in range(11)])
    assert len({image.tobytes() for image in epoch}) == 11 * 32  # none twice
    assert not np.array_equal(problem.batch(0).inputs, problem.batch(11).inputs)
    share, machine = problem.baselines().values()
    assert 30 <= share <= 70 and machine == 0


def test_rows_of_any_images_with_labels(tmp_path, run_main, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(long_memory.datasets, "builder", lambda name: Halves(data_dir=tmp_path / "data"))
    options = ["--problem=rows", "--dataset=halves", "--epochs=4", "--learning_rate=2e-2", "--cell=gru"]
    run_main(f"--run_folder={tmp_path / 'run'}", *TINY, *options)
    scores = result(tmp_path / "run")["scores"]
    assert scores["% wrong"] < 20 and set(scores) == {"nats", "% wrong"}


def test_what_does_not_fit_is_named(tmp_path, run_main, monkeypatch):
    with pytest.raises(ValueError, match="^--length=9: expected at least 10"):
        run_main("--length=9")
    with pytest.raises(Exception, match="^--length=11: only for synthetic problems, not for --problem=rows"):
        run_main("--problem=rows", "--length=11")
    monkeypatch.setattr(long_memory.datasets, "builder", lambda name: Halves(data_dir=tmp_path))
    with pytest.raises(ValueError, match=r"^--batch_size=500: expected at most 380 \(the training images\)"):
        run_main("--problem=pixels", "--batch_size=500")
