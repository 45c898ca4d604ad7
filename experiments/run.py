"""What all experiments share and none repeats: the run folder, the training loop, metrics, checkpoints, signals.

An experiment describes its task as data and mathematics in a `Task`; time, files and signals are dealt with here. A run
folder holds

    checkpoints/           the newest train states, with the flags and whatever else it takes to use them
    metrics.csv            step, seconds of training, name and value of each metric
    events.out.tfevents.*  the same for TensorBoard
    samples/               what the model produced before the first step and after each epoch
    learning_curve.png     the metric of the task over the steps, in training and validation, and other figures
    result.json            command, minutes, machine, scores and baselines of the finished run
"""

import contextlib
import csv
import importlib.util
import json
import os
import platform
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import optax
from absl import app, flags, logging
from jax.sharding import Mesh
from tensorboardX import SummaryWriter
from tqdm import tqdm

from seqjax import devices
from seqjax.devices.allocation import keep_freed_memory
from seqjax.devices.compilation import compile_quickly
from seqjax.training import LossFn, TrainState, checkpoint, init_train_state, make_train_step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

flags.DEFINE_string("run_folder", None, "The folder of the run; by default a new one under runs/.")
flags.DEFINE_bool("resume", False, "Go on with the run in --run_folder from its newest checkpoint.")
flags.DEFINE_integer("checkpoint_every", 500, "Steps between two checkpoints; an epoch ends with one as well.")
flags.DEFINE_integer("devices", None, "How many share a batch on a CPU; by default one for each core.")
flags.DEFINE_bool("bfloat16", False, "Mixed precision, on GPU and TPU: see `seqjax.training`.")
flags.DEFINE_integer("seed", 0, "Seed of all that is random.")
flags.DEFINE_string("record", None, "Another file for the result, to become a row of the README's table.")

LOG_EVERY = 10  # steps; to read a metric is to wait for the device


class Task(NamedTuple):
    """What an experiment tells of itself: no file, no clock, no flag."""

    title: str  # as the table of results names it
    init: Callable[[jax.Array], tuple[Any, Any]]  # key -> (params, carry)
    loss: LossFn
    optimizer: optax.GradientTransformation
    max_grad_norm: float
    steps: int
    steps_per_epoch: int
    batch: Callable[[int], Any]  # the batch of a training step, counted from 0, whatever ran before
    symbols_per_step: int  # what the progress bar counts,
    symbol: str  # and what it calls them
    metric: str  # what the learning curve shows; loss and evaluate both give it
    evaluate: Callable[[Any], dict[str, float]]  # params -> scores on the validation part
    sample: Callable[[Any, jax.Array], str]  # params, key -> something to look at
    test: Callable[[Any], dict[str, float]]  # params -> scores on the test part
    baselines: Callable[[], dict[str, float]]  # the same scores of models that anyone has
    metadata: dict[str, Any]  # what it takes to use the parameters again, for JSON
    figures: Callable[[Any], dict[str, "Figure"]] = lambda params: {}  # params -> more to look at, by name of the file


def launch(main: Callable[[], None], define_flags: Callable[[], None]) -> None:
    """Parses the flags and calls `main`; of what libraries log, only warnings are shown."""

    def quiet_main(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"expected flags only, got {argv[1:]}")
        logging.set_verbosity(logging.WARNING)
        recall_flags()
        keep_freed_memory()
        compile_quickly()
        devices.one_device_per_core(flags.FLAGS.devices)
        if flags.FLAGS.bfloat16:
            if jax.default_backend() == "cpu":
                raise app.UsageError("--bfloat16: expected a GPU or TPU, got a CPU, which forms products in float32")
            jax.config.update("jax_default_matmul_precision", "BF16_BF16_F32")
        main()

    define_flags()
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        for flag in defined if module.startswith("experiments.") else ():  # so that --help tells of them too
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(quiet_main)


def recall_flags() -> None:
    """Gives the flags of a run that is to be resumed the values they had in its command, but for those given anew.

    Raises:
      ValueError, FileNotFoundError: if there is no such run.
    """
    FLAGS = flags.FLAGS
    if not FLAGS.resume:
        return
    if FLAGS.run_folder is None:
        raise ValueError("--resume: which run? Give its --run_folder")
    command = checkpoint.latest(Path(FLAGS.run_folder) / "checkpoints").metadata["command"]
    anew = {name: FLAGS[name].value for name in FLAGS if FLAGS[name].present}
    FLAGS(shlex.split(command)[2:])
    for name, value in anew.items():
        FLAGS[name].value = value


def read_flags(settings: type) -> Any:
    """Reads the fields of a NamedTuple from the flags of the same names.

    Where a run is resumed or used, what its checkpoint says of "settings" goes before a flag that was not given.

    Raises:
      FileNotFoundError: if it has no checkpoint.
    """
    FLAGS = flags.FLAGS
    saved = {}
    if FLAGS.resume or (FLAGS.run_folder is not None and _holds_run(Path(FLAGS.run_folder))):
        saved = checkpoint.latest(Path(FLAGS.run_folder) / "checkpoints").metadata["settings"]
    return settings(
        **{
            name: saved[name] if name in saved and not FLAGS[name].present else FLAGS[name].value
            for name in settings._fields
        }
    )


def train(task: Task, experiment: str) -> None:
    """Runs a task from the first step, or from where its folder's newest checkpoint left it, to the printed result.

    Raises:
      ValueError: if the folder holds a run that is not to be resumed, or one of other settings.
      SystemExit: after SIGINT or SIGTERM, when the current step has been taken and saved.
    """
    FLAGS = flags.FLAGS
    folder = Path(FLAGS.run_folder or Path("runs") / f"{experiment}-{time.strftime('%Y%m%d-%H%M%S')}")
    checkpoints = folder / "checkpoints"
    init_key, train_key, sample_key = jax.random.split(jax.random.key(FLAGS.seed), 3)
    with _stop_signals() as stop:
        params, carry = task.init(init_key)
        mesh = devices.data_mesh(task.batch(0))
        state = devices.replicate(mesh, init_train_state(params, task.optimizer, carry, train_key))
        state = state._replace(carry=devices.shard(mesh, state.carry))

        before = {"command": command_of(experiment), "seconds": 0.0, "unread_metrics": []}
        if FLAGS.resume:
            newest = checkpoint.latest(checkpoints)
            for damaged in newest.damaged:
                print(f"Damaged, so the checkpoint before it is used: {damaged}")
            _check_same_run(folder, newest.metadata, task.metadata)
            state, before = checkpoint.restore(newest, state), newest.metadata
            print(f"Resuming {folder} after step {state.step} of {task.steps}.")
        elif _holds_run(folder):
            raise ValueError(f"--run_folder={folder}: holds a run; give --resume to go on with it, or another folder")

        print(f"Each batch is shared by {mesh.size} of the devices {jax.devices()}.")
        seconds = _clock(before["seconds"])
        state = _train(task, state, mesh, folder, before, seconds, sample_key, FLAGS.checkpoint_every, stop)
    minutes = seconds() / 60
    params = devices.on_first_device(mesh, state.params)

    scores, baselines = task.test(params), task.baselines()
    print(f"\nAfter {minutes:.1f} minutes of training, on the test part:")
    report(task.title, before["command"], minutes, scores, baselines, folder / "result.json")
    print(f"All of it is in {folder}")


def report(
    title: str, command: str, minutes: float, scores: dict[str, float], baselines: dict[str, float], *paths: Path
) -> None:
    """Prints a result, and writes it to files and to that of --record."""
    result = {
        "task": title,
        "command": command,
        "minutes": round(minutes, 1),
        "machine": _machine(),
        "scores": scores,
        "baselines": baselines,
    }
    for path in [*paths, *([Path(flags.FLAGS.record)] if flags.FLAGS.record else [])]:
        _write(path, json.dumps(result, indent=1) + "\n")
    for name, value in (scores | baselines).items():
        print(f"  {value:7.3f}  {name}")


def command_of(experiment: str) -> str:
    """Gives the command that leads to this result, wherever it is kept."""
    FLAGS = flags.FLAGS
    given = [name for name in FLAGS if FLAGS[name].present and name not in ("record", "resume", "run_folder")]
    return shlex.join(["python", "-m", f"experiments.{experiment}", *(FLAGS[name].serialize() for name in given)])


def _train(
    task: Task,
    state: TrainState,
    mesh: Mesh,
    folder: Path,
    before: dict[str, Any],  # what is known of the run, from its checkpoint if it is resumed
    seconds: Callable[[], float],
    sample_key: jax.Array,
    save_every: int,
    stop: list[signal.Signals],
) -> TrainState:
    """Takes the steps that are left, and tells of them."""

    def show_sample(step: int) -> None:
        text = task.sample(devices.on_first_device(mesh, state.params), jax.random.fold_in(sample_key, step))
        print(f"--- sample after step {step} ---\n{text}\n---", flush=True)
        _write(folder / "samples" / f"{step:06d}.txt", text + "\n")

    def save() -> None:
        now = {"command": before["command"], "seconds": seconds(), "unread_metrics": jax.tree.map(float, unread)}
        checkpoint.save(folder / "checkpoints", state, task.metadata | now)

    first = int(state.step)
    unread = list(before["unread_metrics"])  # of the steps since the last row of metrics
    if first == 0:
        show_sample(0)
        save()
    train_step = make_train_step(task.loss, task.optimizer, task.max_grad_norm)
    log = _metric_log(folder, first, seconds)
    with _compilations("train_step") as compiled, _progress_bar(task, first) as bar:
        for step in range(first + 1, task.steps + 1):
            state, metrics = train_step(state, devices.shard(mesh, task.batch(step - 1)))
            unread.append(metrics)
            bar.update(task.symbols_per_step)
            if step % LOG_EVERY == 0 or step == task.steps:
                means = jax.tree.map(lambda *values: float(np.mean(values, dtype=np.float64)), *unread)
                unread.clear()
                bar.set_postfix_str(f"loss {means['loss']:.3f}")
                log(step, {f"train/{name}": value for name, value in means.items()})
            epoch_ends = step % task.steps_per_epoch == 0 or step == task.steps
            if epoch_ends:
                params = devices.on_first_device(mesh, state.params)
                scores = task.evaluate(params)
                log(step, {f"validation/{name}": value for name, value in scores.items()})
                with bar.external_write_mode():
                    words = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in scores.items())
                    print(f"Epoch {step / task.steps_per_epoch:.3g}, validation: {words}")
                    show_sample(step)
                _plot(folder, task, params)
            if epoch_ends or stop or step % save_every == 0:
                save()
            if stop:
                bar.close()
                print(f"Stopped by {stop[0].name} after step {step}; to go on: --resume --run_folder={folder}")
                raise SystemExit(128 + stop[0])
    print(f"The training step was compiled {len(compiled)} times, in {sum(compiled):.1f} seconds.")
    return state


def _holds_run(folder: Path) -> bool:
    return any(path.name.isdecimal() for path in (folder / "checkpoints").glob("*"))


def _check_same_run(folder: Path, saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises ValueError if a checkpoint tells of another model or other data than the task."""
    for name, value in json.loads(json.dumps(given)).items():
        if saved.get(name) == value:
            continue
        if isinstance(value, dict):  # of settings, of which an older run may have had fewer
            for setting, old in saved[name].items():
                if setting in value and value[setting] != old:
                    raise ValueError(f"--{setting}={value[setting]}: the run in {folder} has {old}")
            continue
        raise ValueError(f"{folder}: holds a run of another {name}: {saved.get(name)!r}, not {value!r}")


def _clock(before: float) -> Callable[[], float]:
    """Counts the seconds of training, those before the run was resumed included."""
    start = time.monotonic() - before
    return lambda: time.monotonic() - start


def _progress_bar(task: Task, first: int) -> tqdm:
    return tqdm(
        total=task.steps * task.symbols_per_step,
        initial=first * task.symbols_per_step,
        unit=f" {task.symbol}s",
        unit_scale=True,
        mininterval=1.0,
        dynamic_ncols=True,
    )


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[signal.Signals]]:
    """Collects the first SIGINT or SIGTERM instead of dying of it."""
    received: list[signal.Signals] = []

    def note(number: int, frame: Any) -> None:
        received.append(signal.Signals(number))
        signal.signal(number, before[number])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _compilations(name: str) -> Iterator[list[float]]:
    """Collects the seconds that each compilation of the jitted function of that name takes."""
    seconds: list[float] = []

    def note(event: str, duration: float, **what: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration" and what.get("fun_name") == f"jit({name})":
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def _metric_log(folder: Path, step: int, seconds: Callable[[], float]) -> Callable[[int, dict[str, float]], None]:
    """Opens the metrics of a run that is about to leave `step`; what a killed run logged beyond it is dropped."""
    path = folder / "metrics.csv"
    rows = [["step", "seconds", "metric", "value"]]
    if path.exists():
        with path.open(newline="") as file:
            rows += [row for row in list(csv.reader(file))[1:] if len(row) == 4 and int(row[0]) <= step]
    _write(path, "".join(",".join(row) + "\n" for row in rows))
    events = SummaryWriter(str(folder), purge_step=step + 1)

    def log(step: int, metrics: dict[str, float]) -> None:
        with path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [step, f"{seconds():.1f}", name, f"{value:.6g}"] for name, value in metrics.items()
            )
        for name, value in metrics.items():
            events.add_scalar(name, value, step)
        events.flush()

    return log


def _plot(folder: Path, task: Task, params: Any) -> None:
    """Draws the learning curve and the task's own figures, where matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    from seqjax.plots import learning_curve

    curves: dict[str, list[tuple[int, float]]] = {}
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            part, _, name = row["metric"].partition("/")
            if name == task.metric:
                curves.setdefault(part, []).append((int(row["step"]), float(row["value"])))
    figures = {"learning_curve": learning_curve(curves, task.metric.replace("_", " "))} | task.figures(params)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150)


def _write(path: Path, text: str) -> None:
    """Writes a file under another name and then puts it in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text)
    unfinished.replace(path)


def _machine() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")] or [platform.machine()]
    return f"{os.cpu_count()} cores, {names[0]}, Python {platform.python_version()}, jax {jax.__version__}"
