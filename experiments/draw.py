"""Pen strokes: a model of the movements of a pen, and drawings sampled from it.

    python -m experiments.draw

The script trains an LSTM on the strokes of Chinese characters, in the order of writing. It predicts each movement of
the pen with a mixture of Gaussians, and whether the stroke or the character ends. At the end it reports the nats per
point on held-out characters, and those of a Gaussian, a mixture and n-grams. If matplotlib is installed, it draws
characters beside real ones in `sheet.png` and `sheet.svg` in the run folder; `densities.png` shows where the next point
of a character may be, and `saliency.png` on which earlier points that depends.

    --ndjson=FILE           train on your own drawings, in the format of QuickDraw
    --condition=strokes     train a model that knows the number of strokes of each drawing
    --sample_only --run_folder=FOLDER --seed=1
                            draw another sheet with a trained model
    --prefix=CHARACTER --prefix_strokes=2
                            with --sample_only: continue the first strokes of a character
    --strokes=8             with --sample_only: draw 8 strokes, if the model knows the number

The default run takes 5.1 minutes on two cores and reaches 7.957 nats per point; the best baseline, 3-grams of
movements, reaches 9.733.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments import datasets
from experiments.baselines import stroke_densities
from experiments.harness import folder, recipe
from experiments.harness.errors import UsageError, blame
from experiments.harness.launch import launch
from experiments.harness.settings import action, from_record, option, setting
from experiments.harness.task import Batches, Objective, Task, Test, Validation
from experiments.harness.train import Run, train
from seqjax import data
from seqjax.decoding import rollout
from seqjax.distributions import Distribution, mean_log_likelihood, sketch
from seqjax.models.stroke_model import START, StrokeModel
from seqjax.stroke_plots import in_text
from seqjax.training import LossFn, checkpoint, make_eval_step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from seqjax.stroke_plots import DensityMap

HELD_OUT = {"validation": 5, "test": 5}  # percent of the drawings of a file
PENS = np.float32([[0, 0], [1, 0], [1, 1]])  # end and last: within a stroke, at its end, at the end of the drawing
STROKES_SHOWN = (6, 12)  # of the drawing in the figures
MAPS = 6  # of densities, in a figure
SIDE = 100  # points of a map in each direction
SAMPLES = 6  # drawings in the text after each epoch


@dataclass(frozen=True)
class Settings(recipe.Layers, recipe.Regularization, recipe.Optimization, Run):
    """Drawings and sampling."""

    dataset: str = setting("hanzi_strokes", "TFDS data set of drawings.")
    ndjson: str | None = setting(None, "File in QuickDraw's format to train on instead of a data set.")
    condition: str = setting("none", "What the model knows about a drawing.", choices=["none", "strokes"])
    components: int = setting(20, "Number of Gaussians in the mixture.", at_least=1)
    buckets: int = setting(3, "Maximum number of padded lengths; drawings of similar length share one.", at_least=1)
    sample_only: bool = action(False, "Only draw, with the newest checkpoint in --run_folder.")
    prefix: str | None = action(None, "Drawing whose first strokes the model continues.")
    prefix_strokes: int = action(2, "Number of strokes of --prefix that are given.", at_least=1)
    strokes: int | None = action(None, "Number of strokes to draw, with --condition=strokes.", at_least=1)
    drawings: int = option(36, "Number of drawings to draw.", at_least=1)
    points: int = option(250, "Maximum number of points in a drawing.", at_least=1)
    bias: float = option(0.5, "0 to sample from the model; larger numbers make probable movements more frequent.")
    batch_size: int = 16
    epochs: float = 6.0
    learning_rate: float = 2e-2
    weight_decay: float = 0.0
    dropout: float = 0.0


class Pen(NamedTuple):
    """A model with the distribution and the units of its movements."""

    model: StrokeModel
    family: Distribution
    frame: data.StrokeFrame

    def strokes(self, movements: Float[Array, "B T 4"]) -> Int[Array, " B"] | None:
        """Returns the class of each drawing, which is its number of strokes, if the model has classes."""
        if self.model.num_classes is None:
            return None
        return jnp.minimum(movements[..., 2].sum(axis=1).astype(int), self.model.num_classes - 1)


def make_pen(settings: Settings, frame: data.StrokeFrame, most_strokes: int) -> Pen:
    """Makes the model that the settings describe, for drawings of at most `most_strokes` strokes."""
    family = sketch(settings.components)
    recurrent = recipe.make_recurrent(settings)
    num_classes = most_strokes + 1 if settings.condition == "strokes" else None
    return Pen(StrokeModel(family.num_features, recurrent, num_classes, settings.dropout), family, frame)


def make_loss(pen: Pen) -> LossFn:
    """Makes the loss function: the mean negative log-density of a batch's points, in units of the data."""

    def loss_fn(params: Any, carry: Any, batch: data.StrokeBatch, key: jax.Array | None) -> Any:
        rngs = None if key is None else {"dropout": key}
        movements, targets, lengths = map(jnp.asarray, batch)
        classes = pen.strokes(movements)
        features = pen.model.apply(params, movements, lengths, classes, deterministic=key is None, rngs=rngs)
        valid = jnp.arange(movements.shape[1]) < lengths[:, None]
        nats = 2 * np.log(pen.frame.unit) - mean_log_likelihood(pen.family, features, targets, valid)
        return nats, (carry, {"nats_per_point": nats})

    return loss_fn


def make_artist(pen: Pen, settings: Settings) -> Callable[..., list[np.ndarray]]:
    """Makes the function `(params, key, strokes, prefix=None) -> drawings` that draws.

    `strokes` holds a number of strokes for each drawing, which a model without classes ignores. The drawings include
    the prefix, whose points are given.
    """

    def step(params: Any, classes: Any, state: Any, movement: jax.Array) -> tuple[Any, Any]:
        state, features = pen.model.apply(params, state, movement, classes, method="step")
        return pen.family.parameters(features), state

    def stop(classes: Any, state: Any, movement: jax.Array) -> jax.Array:
        return movement[3] > 0.5

    def draw(params: Any, key: jax.Array, strokes: Sequence[int], prefix: np.ndarray | None = None) -> list[np.ndarray]:
        count, unit = len(strokes), np.array([pen.frame.unit, pen.frame.unit, 1, 1])
        known = np.zeros((0, 4)) if prefix is None else data.to_movements(prefix, pen.frame.origin) * [1, 1, 1, 0]
        most = pen.model.num_classes
        classes = None if most is None else jnp.minimum(jnp.asarray(strokes, int), most - 1)
        drawn = rollout(
            key,
            step,
            pen.family,
            params,
            classes,
            pen.model.apply(params, classes, batch_size=count, method="start"),
            first=np.tile(START, (count, 1)),
            max_length=settings.points,
            prefix=np.tile((known / unit).astype(np.float32), (count, 1, 1)),
            stop=stop,
            bias=settings.bias,
        )
        rows = zip(np.asarray(drawn.values)[:, 0], np.asarray(drawn.lengths)[:, 0], strict=True)
        return [data.to_points(np.vstack([known, row[:length] * unit]), pen.frame.origin) for row, length in rows]

    return draw


def make_figures(pen: Pen, drawing: data.Drawing) -> Callable[[Any], dict[str, "Figure"]]:
    """Makes the function that draws the predictions along a drawing, and what one of them depends on."""
    points = drawing.points.astype(np.float32)
    ends = np.flatnonzero(points[:, 2]) + 1
    late = ends[-2] if len(ends) > 1 else len(points) - 1  # the first point of the last stroke
    name = " ".join(f"U+{ord(letter):04X}" for letter in drawing.name) if not drawing.name.isascii() else drawing.name

    def predict(params: Any, where: Float[Array, "T 2"], t: Any) -> tuple[Any, Array]:
        """Returns the parameters of point t, in units of the data, and its movement."""
        unit = jnp.array([pen.frame.unit, pen.frame.unit, 1.0, 1.0])
        moves = jnp.diff(where, axis=0, prepend=pen.frame.origin[None].astype(np.float32))
        movements = jnp.column_stack([moves, points[:, 2], jnp.arange(len(points)) == len(points) - 1])
        scaled = (movements / unit)[None]
        features = pen.model.apply(params, scaled, jnp.array([len(points)]), pen.strokes(scaled))
        of_point = pen.family.parameters(features[0, t])
        return pen.family.rescale(of_point, unit[0]), movements[t]

    @jax.jit
    def density(params: Any, t: Array, moves: Float[Array, "N 2"]) -> Float[Array, " N"]:
        parameters, _ = predict(params, points[:, :2], t)
        log_prob = jax.vmap(partial(pen.family.log_prob, parameters))
        return sum(jnp.exp(log_prob(jnp.column_stack([moves, jnp.tile(state, (len(moves), 1))]))) for state in PENS)

    @jax.jit
    def saliency(params: Any) -> Float[Array, " S"]:
        gradient = jax.grad(lambda where: pen.family.log_prob(*predict(params, where, late)))(points[:, :2])
        return jnp.linalg.norm(gradient[:late], axis=1)

    def map_after(params: Any, t: int) -> "DensityMap":
        from seqjax.stroke_plots import DensityMap

        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        reach = 0.7 * max(high - low)
        x, y = (np.linspace(middle - reach, middle + reach, SIDE) for middle in (low + high) / 2)
        grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        found = density(params, t, (grid - points[t - 1, :2]).astype(np.float32))
        stroke = int(points[: t - 1, 2].sum()) + 1
        where = f"at the end of stroke {stroke}" if points[t - 1, 2] else f"within stroke {stroke}"
        return DensityMap(points[:t], points[t, :2], x, y, np.asarray(found).reshape(SIDE, SIDE), where)

    def figures(params: Any) -> dict[str, "Figure"]:
        from seqjax.stroke_plots import density_maps, stroke_saliency

        strokes = np.linspace(0, max(len(ends) - 2, 0), MAPS // 2).astype(int)  # from the first to the last but one
        times = np.unique(np.clip(np.concatenate([ends[strokes] - 1, ends[strokes]]), 1, len(points) - 1))
        maps = [map_after(params, int(t)) for t in times]
        title = f"{name}, from the validation set: "
        return {
            "densities": density_maps(maps, title=title + "where the model expects the next point", unit="grid unit"),
            "saliency": stroke_saliency(
                points[: late + 1],
                np.asarray(saliency(params)),
                title=title + f"which points the prediction of point {late + 1} depends on",
                unit="grid unit",
            ),
        }

    return figures


def make_task(settings: Settings, splits: data.DrawingSplits) -> Task:
    """Makes the task of training a model of pen movements."""
    frame = data.fit_stroke_frame(splits.train)
    most_strokes = max(count_strokes(drawing.points) for drawing in splits.train)
    pen = make_pen(settings, frame, most_strokes)
    loss_fn = make_loss(pen)
    eval_step = make_eval_step(loss_fn)
    shape = {"num_buckets": settings.buckets, "batch_size": settings.batch_size}
    strokes = data.gather_strokes(splits.train, frame, **shape)
    steps_per_epoch = data.pair_batches_per_epoch(strokes.buckets)
    steps = round(settings.epochs * steps_per_epoch)
    artist = make_artist(pen, settings)
    drawn = [drawing for drawing in splits.validation if count_strokes(drawing.points) in range(*STROKES_SHOWN)]

    def init(key: jax.Array) -> tuple[Any, tuple[()]]:
        movements, _, lengths = (jnp.asarray(array[:1]) for array in data.stroke_batch(strokes, 0))
        return jax.jit(pen.model.init)(key, movements, lengths, pen.strokes(movements)), ()

    def score(params: Any, drawings: Sequence[data.Drawing]) -> float:
        nats = points = 0.0
        for batch in data.evaluation_stroke_batches(data.gather_strokes(drawings, frame, **shape)):
            nats += float(eval_step(params, (), batch)[0]["nats_per_point"]) * batch.lengths.sum()
            points += batch.lengths.sum()
        return nats / points

    def sample(params: Any, key: jax.Array) -> str:
        counts = [count_strokes(drawing.points) for drawing in splits.validation[:SAMPLES]]
        return "\n".join(map("  ".join, zip(*map(in_text, artist(params, key, counts)), strict=True)))

    def baselines() -> dict[str, float]:
        parts = []
        for number, part in enumerate(splits):
            rng = np.random.default_rng((settings.seed, number))
            movements = (data.to_movements(drawing.points, frame.origin) for drawing in part)
            parts.append([data.dequantize(of_one, frame.grid, rng) for of_one in movements])
        return stroke_densities.all_scores(*parts)

    return Task(
        title=f"pen strokes, {settings.ndjson or settings.dataset}"
        + (", number of strokes known" if settings.condition == "strokes" else ""),
        objective=Objective(init, loss_fn, recipe.make_optimizer(settings, steps), settings.max_grad_norm),
        batches=Batches(
            partial(data.stroke_batch, strokes, seed=settings.seed),
            steps,
            steps_per_epoch,
            units_per_step=(len(strokes.movements) - 1) // steps_per_epoch,
            unit="point",
        ),
        validation=Validation(
            "nats_per_point",
            lambda params: {"nats_per_point": score(params, splits.validation)},
            sample,
            make_figures(pen, (drawn or splits.validation)[0]),
        ),
        test=Test(lambda params: {"nats per point": score(params, splits.test)}, baselines),
        symbols={"frame": [*map(float, frame.origin), frame.unit, frame.grid], "most_strokes": most_strokes},
    )


def count_strokes(points: Float[np.ndarray, "T 3"]) -> int:
    """Returns the number of strokes of a drawing."""
    return int(points[:, 2].sum())


def read_splits(settings: Settings) -> data.DrawingSplits:
    """Reads the drawings that the settings select; a hash of its key decides the part of a drawing from a file."""
    if settings.ndjson is None:
        with blame("dataset", settings.dataset):
            return data.read_drawing_dataset(datasets.prepared(settings.dataset))
    with blame("ndjson", settings.ndjson):
        drawings = data.read_ndjson(settings.ndjson)
        splits = data.DrawingSplits([], [], [])
        for drawing in drawings:
            getattr(splits, datasets.part_of(drawing.key, **HELD_OUT)).append(drawing)
        for name, part in zip(splits._fields, splits, strict=True):
            if not part:
                raise ValueError(f"{name}: empty: too few drawings ({len(drawings)}) to split")
        return splits


def read_prefix(settings: Settings, splits: data.DrawingSplits) -> data.Drawing | None:
    """Returns the drawing whose first strokes are given, if there is one."""
    if settings.prefix is None:
        return None
    for drawing in (drawing for part in splits for drawing in part):
        if settings.prefix in (drawing.key, drawing.name):
            if settings.prefix_strokes < count_strokes(drawing.points):
                return drawing
            raise UsageError(
                f"--prefix_strokes={settings.prefix_strokes}: expected fewer than the "
                f"{count_strokes(drawing.points)} strokes of --prefix={settings.prefix}"
            )
    raise UsageError(f"--prefix={settings.prefix}: expected the name of a drawing in the data, found none")


def write_sheet(run_folder: Path, settings: Settings, test: Sequence[data.Drawing], begun: data.Drawing | None) -> None:
    """Draws with the newest checkpoint of a run; with matplotlib, writes `sheet.png` and `sheet.svg`.

    Beside what the model draws are drawings of the test set, or the one that it continued.
    """
    newest = folder.newest(run_folder, "draw")
    folder.announce_damage(newest)
    x, y, unit, grid = newest.metadata["frame"]
    frame = data.StrokeFrame(np.array([x, y]), unit, grid)
    pen = make_pen(from_record(Settings, newest.metadata["settings"]), frame, newest.metadata["most_strokes"])
    classes = None if pen.model.num_classes is None else jnp.zeros(1, int)
    params = jax.eval_shape(pen.model.init, jax.random.key(0), jnp.zeros((1, 1, 4)), jnp.ones(1, int), classes)
    params = checkpoint.restore(newest, params, part=".params")

    name = Path(settings.ndjson).name if settings.ndjson else settings.dataset
    title = f"drawings by a model of {name} (bias {settings.bias:g}), beside real ones"
    real, given = "real, from the test set", None
    shown = [
        test[number] for number in np.random.default_rng(settings.seed).permutation(len(test))[: settings.drawings]
    ]
    if begun is not None:
        real, shown = "real, the one that was continued", [begun]
        given = begun.points[: np.flatnonzero(begun.points[:, 2])[settings.prefix_strokes - 1] + 1]
    elif settings.strokes is not None:
        alike = [drawing for drawing in test if count_strokes(drawing.points) == settings.strokes]
        shown = alike[: settings.drawings]
    counts = [settings.strokes or count_strokes(shown[n % len(shown)].points) for n in range(settings.drawings)]
    drawn = make_artist(pen, settings)(params, jax.random.key(settings.seed), counts, given)
    if folder.plots_are_possible():
        from seqjax.stroke_plots import drawing_sheet

        groups = {"drawn by the model": drawn, real: [drawing.points for drawing in shown]}
        figure = drawing_sheet(groups, title=title, given=0 if given is None else len(given))
        figure.savefig(run_folder / "sheet.png", dpi=150)
        figure.savefig(run_folder / "sheet.svg", metadata={"Date": None})
        print(f"{len(drawn)} drawings are in {run_folder / 'sheet.png'} and sheet.svg")


def main(settings: Settings) -> None:
    if settings.strokes is not None and settings.condition != "strokes":
        raise UsageError(f"--strokes={settings.strokes}: expected a model with --condition=strokes")
    if settings.sample_only:
        folder.newest(settings.run_folder, "draw")
    splits = read_splits(settings)
    begun = read_prefix(settings, splits)
    if settings.sample_only:
        run_folder = Path(settings.run_folder)
    else:
        run_folder = train(make_task(settings, splits), settings, "draw")
    write_sheet(run_folder, settings, splits.test, begun)


if __name__ == "__main__":
    launch(main, Settings, needs=("array_record", "sklearn"))
