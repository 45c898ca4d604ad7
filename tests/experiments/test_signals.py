"""SIGINT and SIGTERM in every phase of a run: none is lost, one line at once, no traceback, and the run can go on."""

import os
import signal
import subprocess
import sys
import threading
from functools import partial

import pytest

from experiments import language_model
from experiments.harness import signals

TEXT = "the quick brown fox jumps over the lazy dog. " * 60
TINY = ["--hidden_size=8", "--batch_size=4", "--length=8", "--epochs=3", "--checkpoint_every=7", "--characters=20",
        "--devices=1"]  # fmt: skip
AT_ONCE, AFTER_THIS_STEP = "Stopped by", "stopping after this step; again stops now."

PHASES = {  # a text that shows that the phase has begun, and how the signal is answered in it
    "imports": ("numpy", AT_ONCE),  # in the list of -X importtime
    "preparation of data": ("Preparing brown/press", AT_ONCE),
    "start of the run": ("Devices: ", AFTER_THIS_STEP),
    "compilation": ("compiling", AFTER_THIS_STEP),
    "steps": ("loss ", AFTER_THIS_STEP),
    "evaluation and samples": ("--- sample after step", AFTER_THIS_STEP),
    "test set": ("Scoring the test set", AT_ONCE),
}


@pytest.fixture
def run_main(run_experiment):
    return partial(run_experiment, language_model)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "fox.txt"
    path.write_text(TEXT)
    return path


def stopped_in(phase, number, arguments, data_dir):
    """Runs the script until the phase begins, sends the signal, and returns its exit code and all it printed."""
    marker, _ = PHASES[phase]
    options = ["-X", "importtime"] if phase == "imports" else []
    process = subprocess.Popen(
        [sys.executable, *options, "-m", "experiments.language_model", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"TFDS_DATA_DIR": str(data_dir)},
    )
    printed = b""
    while chunk := os.read(process.stdout.fileno(), 1000):
        printed += chunk
        if marker.encode() in printed:
            process.send_signal(number)
            break
    rest, _ = process.communicate()
    return process.returncode, (printed + rest).decode(errors="replace")


@pytest.mark.parametrize("number", signals.STOP_SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_ends_the_run_in_one_line_and_it_can_go_on(phase, number, text, tmp_path, run_main, capsys):
    data = [] if phase == "preparation of data" else [f"--text={text}"]
    folder = tmp_path / "run"
    code, printed = stopped_in(phase, number, [*data, f"--run_folder={folder}", *TINY], tmp_path / "data")
    _, answer = PHASES[phase]
    assert code == 128 + number, printed
    assert printed.count(AT_ONCE) == 1 and printed.count(AFTER_THIS_STEP) == (answer == AFTER_THIS_STEP), printed
    assert "Traceback" not in printed and "KeyboardInterrupt" not in printed
    if phase in ("imports", "preparation of data"):
        assert not folder.exists()
        return
    assert f"o continue: --resume --run_folder={folder}" in printed
    run_main(f"--run_folder={folder}", "--resume")
    assert f"The run folder is {folder}" in capsys.readouterr().out


def test_the_second_signal_ends_the_process():
    program = (
        "import os, signal\n"
        "from experiments.harness import signals\n"
        "with signals.stop_after_this_step('to continue: --resume') as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    while not stop: pass\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    while True: pass\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 128 + signal.SIGTERM
    first, second = ran.stderr.splitlines()
    assert first == f"SIGINT: {AFTER_THIS_STEP}"
    assert second == "Stopped by SIGTERM. to continue: --resume"


def test_a_signal_while_python_exits_changes_nothing():
    program = (
        "import atexit, os, runpy, signal, sys\n"
        "atexit.register(lambda: [os.kill(os.getpid(), number) for number in (signal.SIGINT, signal.SIGTERM)])\n"
        "sys.argv = ['tag', '--help']\n"
        "runpy.run_module('experiments.tag', run_name='__main__', alter_sys=True)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("usage: ")


def test_the_answer_does_not_wait_for_the_main_thread():
    answered = threading.Event()
    with signals.answered(lambda number: answered.set()):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])  # none; the main thread then waits outside Python
        signal.raise_signal(signal.SIGTERM)
        assert answered.wait(timeout=60)
    assert not blocked


def test_handlers_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in signals.STOP_SIGNALS]
    with signals.answered(print):
        assert [signal.getsignal(number) for number in signals.STOP_SIGNALS] != before
    assert [signal.getsignal(number) for number in signals.STOP_SIGNALS] == before


def test_a_closed_pipe_ends_quietly(text, tmp_path):
    command = [sys.executable, "-m", "experiments.language_model", f"--text={text}", f"--run_folder={tmp_path / 'run'}"]
    with subprocess.Popen([*command, *TINY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE
    assert "Traceback" not in errors and "BrokenPipe" not in errors
