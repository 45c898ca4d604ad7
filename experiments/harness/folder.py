"""The folder of a run.

checkpoints/           the newest train states, with the settings and everything else needed to use them
metrics.csv            step, seconds of training, name and value of each metric
events.out.tfevents.*  the same for TensorBoard
samples/               what the model wrote before the first step and after each epoch
learning_curve.png     the task's metric over the steps, in training and validation; other figures are next to it
result.json            command, minutes, machine, scores and baselines of the finished run
"""

import csv
import importlib.util
import os
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tensorboardX import SummaryWriter

from experiments.harness.errors import UsageError
from seqjax.training import checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHECKPOINTS = "checkpoints"


def new(script: str) -> Path:
    """Names a new folder under `runs/`."""
    return Path("runs") / f"{script}-{time.strftime('%Y%m%d-%H%M%S')}"


def holds_run(folder: str | os.PathLike) -> bool:
    """Returns whether a folder holds a checkpoint, intact or not."""
    return any(path.name.isdecimal() for path in (Path(folder) / CHECKPOINTS).glob("*"))


def newest(folder: str | os.PathLike | None, *scripts: str, flag: str = "run_folder") -> checkpoint.Checkpoint:
    """Finds the newest intact checkpoint of a run.

    Args:
      folder: the folder; None if the flag was not given.
      scripts: the scripts whose runs can be used.
      flag: the flag that names the folder.

    Raises:
      UsageError: if there is none, or if another script wrote it.
    """
    of_scripts = " or ".join(f"experiments.{script}" for script in scripts)
    if folder is None:
        raise UsageError(f"--{flag}: expected the folder of a run of {of_scripts}; it is not given")
    try:
        found = checkpoint.latest(Path(folder) / CHECKPOINTS)
    except FileNotFoundError as error:
        first, *damaged = str(error).splitlines()
        raise UsageError("; ".join([f"--{flag}={folder}: {first}", *damaged])) from None
    script = script_of(found)
    if script not in scripts:
        raise UsageError(f"--{flag}: {folder} is a run of experiments.{script}, expected one of {of_scripts}")
    return found


def script_of(found: checkpoint.Checkpoint) -> str:
    """Returns the name of the script that wrote a checkpoint."""
    return shlex.split(found.metadata["command"])[2].removeprefix("experiments.")


def announce_damage(found: checkpoint.Checkpoint) -> None:
    """Prints which newer checkpoints are damaged."""
    for damaged in found.damaged:
        print(f"Damaged, so the checkpoint before it is used: {damaged}")


def write(path: Path, text: str) -> None:
    """Writes a file under a temporary name, then renames it, so that the file is never incomplete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text)
    unfinished.replace(path)


def metric_log(folder: Path, step: int, seconds: Callable[[], float]) -> Callable[[int, Mapping[str, float]], None]:
    """Opens the metrics log of a run that continues after `step`, and drops what a killed run logged after it.

    Returns:
      The function `(step, metrics)` that logs to metrics.csv and TensorBoard.
    """
    path = folder / "metrics.csv"
    rows = [["step", "seconds", "metric", "value"]]
    if path.exists():
        with path.open(newline="", errors="replace") as file:
            rows += [row for row in csv.reader(file) if len(row) == 4 and row[0].isdecimal() and int(row[0]) <= step]
    write(path, "".join(",".join(row) + "\n" for row in rows))
    events = SummaryWriter(str(folder), purge_step=step + 1)

    def log(step: int, metrics: Mapping[str, float]) -> None:
        with path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [step, f"{seconds():.1f}", name, f"{value:.6g}"] for name, value in metrics.items()
            )
        for name, value in metrics.items():
            events.add_scalar(name, value, step)
        events.flush()

    return log


def plots_are_possible() -> bool:
    """Returns whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot(folder: Path, metric: str, figures: Mapping[str, "Figure"]) -> None:
    """Draws the learning curve of a metric, which needs at least two points, and the task's figures."""
    from seqjax.plots import learning_curve

    curves: dict[str, list[tuple[int, float]]] = {}
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            part, _, name = row["metric"].partition("/")
            if name == metric:
                curves.setdefault(part, []).append((int(row["step"]), float(row["value"])))
    drawn = dict(figures)
    if any(len(points) > 1 for points in curves.values()):
        drawn["learning_curve"] = learning_curve(curves, metric.replace("_", " "))
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png", dpi=150)
