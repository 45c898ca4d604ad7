"""The language model as a user runs it: a tiny one, killed, resumed, sampled, and given what it cannot use."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import orbax.checkpoint as ocp
import pytest

from experiments import language_model
from experiments.harness import folder
from experiments.harness.errors import Diverged, UsageError
from experiments.harness.train import report
from seqjax.training import checkpoint

TEXT = "the quick brown fox jumps over the lazy dog. " * 40
TINY = ["--hidden_size=8", "--batch_size=4", "--length=8", "--epochs=1", "--checkpoint_every=7", "--seed=3",
        "--characters=20"]  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "fox.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, text, run_main):
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    run_main(f"--text={text}", f"--run_folder={folder}", *TINY, "--epochs=3")
    return folder


@pytest.fixture(scope="module")
def run_main(run_experiment):
    return partial(run_experiment, language_model)


def arrays(folder):
    """All that is in a run's newest checkpoint, by name."""
    newest = checkpoint.latest(folder / "checkpoints")
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(newest.path / "arrays")


def rows(folder):
    """The metrics of a run, without the seconds."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [(row["step"], row["metric"], row["value"]) for row in csv.DictReader(file)]


def start(*arguments):
    command = [sys.executable, "-m", "experiments.language_model", "--devices=1", *map(str, arguments)]  # as in here
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process, line):
    for printed in process.stdout:
        if printed.startswith(line):
            return
    raise AssertionError(f"{line!r} was not printed; {process.stderr.read()}")


def test_run_folder_is_complete(finished):
    result = json.loads((finished / "result.json").read_text())
    assert result["command"].startswith("python -m experiments.language_model ")
    assert "--batch_size=4" in result["command"]
    assert "run_folder" not in result["command"]
    assert set(result["scores"]) == {"bits per character"}
    assert len(result["baselines"]) == 3
    assert list(finished.glob("events.out.tfevents.*"))
    assert (finished / "learning_curve.png").stat().st_size > 1000
    steps = {int(step) for step, _, _ in rows(finished)}
    assert sorted(p.name for p in (finished / "samples").iterdir()) == [
        "000000.txt",
        "000050.txt",
        "000100.txt",
        "000150.txt",
    ]
    assert {50, 100, 150} <= steps
    validation = [float(value) for _, metric, value in rows(finished) if metric == "validation/bits_per_character"]
    assert validation == sorted(validation, reverse=True)


def test_killed_and_stopped_and_resumed_equals_unbroken(finished, text, tmp_path, run_main):
    folder = tmp_path / "broken"
    process = start(f"--text={text}", f"--run_folder={folder}", *TINY, "--epochs=3")
    wait_for(process, "--- sample after step 50 ---")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resume = [f"--run_folder={folder}", "--resume"]

    process = start(*resume, "--checkpoint_every=7")  # the flags of its command are those of the run
    wait_for(process, "--- sample after step 100 ---")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err
    assert f"--resume --run_folder={folder}" in out

    run_main(*resume)
    expected, got = arrays(finished), arrays(folder)
    assert expected.keys() == got.keys()
    for name in expected:
        np.testing.assert_array_equal(expected[name], got[name], err_msg=name)
    assert rows(finished) == rows(folder)
    results = [json.loads((run / "result.json").read_text()) for run in (finished, folder)]
    assert results[0]["scores"] == results[1]["scores"]
    assert "--epochs=3" in results[1]["command"]
    for sample in (finished / "samples").iterdir():
        assert sample.read_text() == (folder / "samples" / sample.name).read_text()


def test_stopped_before_the_first_step_it_takes_that_and_saves(text, tmp_path, capsys, run_main, monkeypatch):
    init_carry = language_model.initial_carry

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return init_carry(*arguments)

    monkeypatch.setattr(language_model, "initial_carry", interrupted)
    with pytest.raises(SystemExit) as stopped:
        run_main(f"--text={text}", f"--run_folder={tmp_path}", *TINY, "--epochs=3", "--characters=5")
    assert stopped.value.code == 128 + signal.SIGINT
    assert f"Stopped by SIGINT after step 1; to continue: --resume --run_folder={tmp_path}" in capsys.readouterr().out
    assert checkpoint.latest(tmp_path / "checkpoints").path.name == "000002"  # the first is of the start


def test_sampling_needs_only_the_run_folder(finished, tmp_path, capsys, run_main):
    folder = shutil.copytree(finished, tmp_path / "elsewhere")
    run_main(f"--run_folder={folder}", "--sample_only", "--prompt=the q", "--characters=30", "--greedy")
    written = capsys.readouterr().out.strip("\n")
    assert written.startswith("the q") and len(written) == 35
    run_main(f"--run_folder={folder}", "--sample_only", "--prompt=the q", "--top_k=1", "--characters=30")
    assert capsys.readouterr().out.strip("\n") == written


def test_damaged_checkpoint_falls_back_and_says_so(finished, tmp_path, capsys, run_main):
    folder = shutil.copytree(finished, tmp_path / "damaged")
    newest = checkpoint.latest(folder / "checkpoints").path
    largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-10])
    run_main(f"--run_folder={folder}", "--resume")
    out = capsys.readouterr().out
    assert f"Damaged, so the checkpoint before it is used: {newest}" in out
    expected, got = arrays(finished), arrays(folder)
    for name in expected:
        np.testing.assert_array_equal(expected[name], got[name], err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "--hidden_size=16"], "--hidden_size=16: the run in .* has 8"),
        (["--resume", "--cell=gru"], "--cell=gru: the run in .* has lstm"),
        ([], "--run_folder=.*: holds a run; give --resume"),
        (["--sample_only", "--prompt=Ω"], "--prompt='Ω': .*'Ω' at position 0"),
    ],
)
def test_what_does_not_fit_the_run_is_named(finished, arguments, message, run_main):
    before = arrays(finished)
    with pytest.raises(ValueError, match=message):
        run_main(f"--run_folder={finished}", *arguments)
    after = arrays(finished)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_changed_text_is_not_resumed(finished, tmp_path, run_main):
    other = tmp_path / "other.txt"
    other.write_text(TEXT.upper())
    with pytest.raises(ValueError, match="--text=.*other.txt: the run in"):
        run_main(f"--run_folder={finished}", "--resume", f"--text={other}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bad.txt: .*too short"),
        (b"short", "bad.txt: .*too short|do not fill one batch"),
        (b"good line\nbad \xff line\n" * 50, "bad.txt: line 2, byte 5: not UTF-8"),
    ],
)
def test_bad_text_is_named(content, message, tmp_path, run_main):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        run_main(f"--text={path}", f"--run_folder={tmp_path / 'run'}", *TINY)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("epochs", [1, 9])
def test_a_run_that_diverged_stops_and_says_so(epochs, text, tmp_path, run_main):
    """One epoch is too short for many skipped steps; then the score is not finite."""
    with pytest.raises(Diverged, match=r"^--learning_rate: .* intact$"):
        run_main(f"--text={text}", f"--run_folder={tmp_path}", *TINY, f"--epochs={epochs}", "--learning_rate=1e38")
    assert not (tmp_path / "result.json").exists()
    newest = checkpoint.latest(tmp_path / "checkpoints")
    json.loads((newest.path / "metadata.json").read_text(), parse_constant=pytest.fail)  # NaN is not JSON


def test_a_run_that_diverged_ends_with_exit_code_1(text, tmp_path):
    with start(f"--text={text}", f"--run_folder={tmp_path}", *TINY, "--epochs=9", "--learning_rate=1e38") as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("language_model: --learning_rate: ")


def test_nothing_to_resume(tmp_path, run_main):
    with pytest.raises(UsageError, match="--run_folder=.*none: no checkpoint in"):
        run_main("--resume", f"--run_folder={tmp_path / 'none'}")
    with pytest.raises(ValueError, match="--resume: expected --run_folder=FOLDER"):
        run_main("--resume")


def test_a_row_of_metrics_that_is_no_step_does_not_stop_a_resume(finished, tmp_path, run_main):
    folder = shutil.copytree(finished, tmp_path / "edited")
    expected = rows(folder)
    with (folder / "metrics.csv").open("a") as file:
        file.write("later,1.0,train/loss,2.0\n151.5,1.0,train/loss,2.0\nhalf a row\n")
    run_main(f"--run_folder={folder}", "--resume")
    assert rows(folder) == expected


def test_without_matplotlib_a_run_says_that_there_are_no_figures(text, tmp_path, capsys, run_main, monkeypatch):
    monkeypatch.setattr(folder, "plots_are_possible", lambda: False)
    run_main(f"--text={text}", f"--run_folder={tmp_path / 'run'}", *TINY, "--epochs=0.1")
    assert 'there will be no figures; pip install -e ".[plots]" installs it.' in capsys.readouterr().out
    assert not list((tmp_path / "run").glob("*.png"))


def test_a_learning_curve_needs_two_points(tmp_path):
    log = folder.metric_log(tmp_path, 0, lambda: 0.0)
    log(1, {"train/nats": 1.0, "validation/nats": 1.0})
    folder.plot(tmp_path, "nats", {})
    assert not (tmp_path / "learning_curve.png").exists()
    log(2, {"train/nats": 0.5})
    folder.plot(tmp_path, "nats", {})
    assert (tmp_path / "learning_curve.png").exists()


def test_results_are_printed_with_their_direction(tmp_path, capsys):
    report(
        "task",
        "command",
        1.0,
        {"accuracy, beam 1": 0.5},
        {"nats": 2.5e-4},
        ["accuracy"],
        tmp_path / "result.json",
        None,
    )
    out = capsys.readouterr().out.splitlines()
    assert out == ["     0.500  accuracy, beam 1 (higher is better)", "  0.000250  nats (lower is better)"]
    assert json.loads((tmp_path / "result.json").read_text())["higher_is_better"] == ["accuracy"]
