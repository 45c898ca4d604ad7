"""The training loop of every script: from the first step, or from the newest checkpoint, to the printed result."""

import json
import math
import os
import platform
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.harness import folder, settings, signals
from experiments.harness.errors import Diverged, UsageError, blame
from experiments.harness.launch import Command
from experiments.harness.progress import compilation_notice, compilations, paused, progress_bar
from experiments.harness.settings import action, option, setting
from experiments.harness.table import figure
from experiments.harness.task import Task
from seqjax import devices
from seqjax.training import TrainState, checkpoint, init_train_state, make_train_step

LOG_EVERY = 10  # steps; not every step, because reading a metric waits for the device
SKIPPED_AT_MOST = 50  # steps in a row; a run that has diverged skips every step


@dataclass(frozen=True)
class Run(Command):
    """Run: folder, checkpoints, devices."""

    run_folder: str | None = action(None, "Folder of the run; a new one under runs/ by default.")
    resume: bool = action(False, "Continue the run in --run_folder from its newest checkpoint.")
    checkpoint_every: int = option(500, "Steps between checkpoints; each epoch also ends with one.", at_least=1)
    devices: int | None = option(None, "CPU devices that share a batch; one per core by default.", at_least=1)
    bfloat16: bool = option(False, "Multiply matrices in bfloat16, on a GPU or TPU.")
    seed: int = setting(0, "Seed of all random numbers.")
    record: str | None = action(None, "Additional file for the result, used to make a row of the table of results.")


def train(task: Task, config: Any, script: str) -> Path:
    """Trains, then prints and writes the scores on the test set.

    Args:
      task: the task.
      config: settings of a class that derives from `Run`.
      script: name of the script in `experiments`.

    Returns:
      The folder of the run.

    Raises:
      UsageError: if the folder holds a run that is not to be resumed, or that was trained on other data.
      Diverged: if many steps in a row are skipped, or a score is not finite.
      SystemExit: after SIGINT or SIGTERM, once the current step is done and saved.
    """
    run_folder = Path(config.run_folder) if config.run_folder else folder.new(script)
    init_key, train_key, sample_key = jax.random.split(jax.random.key(config.seed), 3)
    if not config.resume and folder.holds_run(run_folder):
        raise UsageError(f"--run_folder={run_folder}: holds a run; give --resume to continue it, or another folder")
    how_to_continue = f"to continue: --resume --run_folder={run_folder}"
    with signals.stop_after_this_step(how_to_continue) as stop:
        params, carry = task.objective.init(init_key)
        mesh = devices.data_mesh(task.batches.batch(0))
        state = devices.replicate(mesh, init_train_state(params, task.objective.optimizer, carry, train_key))
        state = state._replace(carry=devices.shard(mesh, state.carry))

        metadata = {"settings": settings.record(config), **task.symbols}
        if config.resume:
            newest = folder.newest(run_folder, script)
            folder.announce_damage(newest)
            _check_same_data(run_folder, newest.metadata, task.symbols)
            progress = {name: newest.metadata[name] for name in ("command", "seconds", "unread_metrics")}
            state = checkpoint.restore(newest, state)
            print(f"Resuming {run_folder} after step {state.step} of {task.batches.steps}.")
        else:
            progress = {"command": settings.command(script, config), "seconds": 0.0, "unread_metrics": []}
            with blame("run_folder", run_folder):
                run_folder.mkdir(parents=True, exist_ok=True)
        if not folder.plots_are_possible():
            print('matplotlib is not installed, so there will be no figures; pip install -e ".[plots]" installs it.')
        names = ", ".join(map(str, jax.devices()))
        print(f"Devices: {names}; each batch is split over {mesh.size} of them.")
        seconds = _clock(progress["seconds"])
        every = config.checkpoint_every
        state = _train(task, state, mesh, run_folder, metadata | progress, seconds, sample_key, every, stop)
    _end_if_stopped(stop, int(state.step), run_folder)  # a signal may have arrived after the last step
    minutes = seconds() / 60
    params = devices.on_first_device(mesh, state.params)

    with signals.answered(lambda number: signals.quit_now(number, how_to_continue.capitalize())):
        print("Scoring the test set, then the baselines.")
        scores = task.test.scores(params)
        _check_finite(scores, "on the test set", run_folder)
        baselines = task.test.baselines()
    print(f"\nAfter {minutes:.1f} minutes of training, on the test set:")
    paths = run_folder / "result.json", config.record
    title, command, test = task.title, progress["command"], task.test
    report(title, command, minutes, scores, baselines, test.higher_is_better, *paths, ideal=test.ideal)
    print(f"The run folder is {run_folder}")
    return run_folder


def report(
    title: str,
    command: str,
    minutes: float,
    scores: Mapping[str, float],
    baselines: Mapping[str, float],
    higher_is_better: Sequence[str],
    *paths: str | Path | None,
    ideal: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Prints a result and writes it to each path that is not None."""
    result = {
        "task": title,
        "command": command,
        "minutes": round(minutes, 1),
        "machine": _machine(),
        "scores": scores,
        "baselines": baselines,
        "higher_is_better": list(higher_is_better),
    } | ({"ideal": dict(ideal)} if ideal else {})
    for path in paths:
        if path is not None:
            folder.write(Path(path), json.dumps(result, indent=1, allow_nan=False) + "\n")
    for name, value in {**scores, **baselines}.items():
        measure = name.partition(", ")[0]
        best = f"{ideal[measure]:g}" if measure in ideal else "higher" if measure in higher_is_better else "lower"
        print(f"  {figure(value):>8}  {name} ({best} is {'ideal' if measure in ideal else 'better'})")


def _train(
    task: Task,
    state: TrainState,
    mesh: Mesh,
    run_folder: Path,
    metadata: dict[str, Any],  # of the previous checkpoint, if the run is resumed
    seconds: Callable[[], float],
    sample_key: jax.Array,
    save_every: int,
    stop: list[signal.Signals],
) -> TrainState:
    """Runs the remaining steps."""
    objective, batches, validation = task.objective, task.batches, task.validation

    def show_sample(step: int) -> None:
        text = validation.sample(devices.on_first_device(mesh, state.params), jax.random.fold_in(sample_key, step))
        print(f"--- sample after step {step} ---\n{text}\n---", flush=True)
        folder.write(run_folder / "samples" / f"{step:06d}.txt", text + "\n")

    def save() -> None:
        now = {"seconds": seconds(), "unread_metrics": jax.tree.map(lambda value: str(float(value)), unread)}
        checkpoint.save(run_folder / folder.CHECKPOINTS, state, metadata | now)

    first = int(state.step)
    # of the steps since the last row of metrics; stored as text, because JSON has no NaN
    unread = jax.tree.map(float, list(metadata["unread_metrics"]))
    skipped, skipped_in_a_row = int(state.skipped), 0
    if first == 0:
        show_sample(0)
        save()
    train_step = make_train_step(objective.loss, objective.optimizer, objective.max_grad_norm)
    log = folder.metric_log(run_folder, first, seconds)
    with compilations("train_step") as compiled, progress_bar(batches, first) as bar:
        compiling = compilation_notice(bar)
        for step in range(first + 1, batches.steps + 1):
            batch = batches.batch(step - 1)
            with compiling(batch):
                state, metrics = train_step(state, devices.shard(mesh, batch))
            unread.append(metrics)
            bar.update(batches.units_per_step)
            if step % LOG_EVERY == 0 or step == batches.steps:
                means = jax.tree.map(lambda *values: float(np.mean(values, dtype=np.float64)), *unread)
                newly_skipped = int(metrics["skipped"]) - skipped
                skipped += newly_skipped
                skipped_in_a_row = skipped_in_a_row + len(unread) if newly_skipped == len(unread) else 0
                unread.clear()
                bar.set_postfix_str(f"loss {means['loss']:.3f}")
                log(step, {f"train/{name}": value for name, value in means.items()})
                if skipped_in_a_row >= SKIPPED_AT_MOST:
                    raise Diverged(
                        f"--learning_rate: the last {skipped_in_a_row} steps up to step {step} were skipped, because "
                        f"numbers were not finite; try a smaller one. The checkpoints in {run_folder} are intact"
                    )
            epoch_ends = step % batches.steps_per_epoch == 0 or step == batches.steps
            if epoch_ends:
                with paused(bar):
                    params = devices.on_first_device(mesh, state.params)
                    scores = validation.evaluate(params)
                    _check_finite(scores, f"on the validation set after step {step}", run_folder)
                    log(step, {f"validation/{name}": value for name, value in scores.items()})
                    with bar.external_write_mode():
                        words = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in scores.items())
                        print(f"Epoch {step / batches.steps_per_epoch:.3g}, validation set: {words}")
                        show_sample(step)
                    if folder.plots_are_possible():
                        folder.plot(run_folder, validation.metric, validation.figures(params))
            if epoch_ends or stop or step % save_every == 0:
                save()
            if stop:
                bar.close()
                _end_if_stopped(stop, step, run_folder)
    shapes = "once" if len(compiled) == 1 else f"{len(compiled)} times, for batches of different shapes"
    print(f"The training step was compiled {shapes}, in {sum(compiled):.1f} seconds.")
    return state


def _check_finite(scores: Mapping[str, float], where: str, run_folder: Path) -> None:
    """Raises Diverged unless all scores are finite."""
    for name, value in scores.items():
        if not math.isfinite(value):
            raise Diverged(
                f"--learning_rate: {name} {where} is {value}; the run has diverged, try a smaller one. "
                f"The checkpoints in {run_folder} are intact"
            )


def _end_if_stopped(stop: list[signal.Signals], step: int, run_folder: Path) -> None:
    """Ends the program, whose state is already saved, if a signal has requested it."""
    if stop:
        print(f"Stopped by {stop[0].name} after step {step}; to continue: --resume --run_folder={run_folder}")
        raise SystemExit(128 + stop[0])


def _check_same_data(run_folder: Path, saved: Mapping[str, Any], symbols: Mapping[str, Any]) -> None:
    """Raises UsageError if a checkpoint was trained with different symbols, that is, on different data."""
    for name, value in json.loads(json.dumps(symbols)).items():
        if name in saved and saved[name] != value:
            raise UsageError(
                f"--run_folder={run_folder}: the data have changed: the run has a different {name}: "
                f"{_shortened(saved[name])}, not {_shortened(value)}"
            )


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _clock(before: float) -> Callable[[], float]:
    """Counts the seconds of training, including those before the run was resumed."""
    start = time.monotonic() - before
    return lambda: time.monotonic() - start


def _machine() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")] or [platform.machine()]
    return f"{os.cpu_count()} cores, {names[0]}, Python {platform.python_version()}, jax {jax.__version__}"
