"""One stream of numbers: forecasts of time series with their uncertainty, by one model for all series.

    pip install -e ".[data,plots,baselines]" && python -m experiments.forecast

The script trains a recurrent network on the monthly numbers of airline passengers until 1955, and forecasts twelve
months from each month of the last four years. It reports the error of the median (MASE, sMAPE), the score of the whole
distribution (CRPS) and how often the values are in the intervals, beside those of statistical models that are fitted
anew at each origin. It writes the forecasts beyond the end of the data to `forecasts.csv` and draws them.

    --csv=FILE              your own series, in columns unique_id, ds (time), y and covariates; Parquet too
    --dataset=series/NAME   sp500, nasdaq, vix, wti (daily prices), ecg, sunspots or co2
    --output=NAME           gaussian, negative_binomial (counts), or quantiles, which forecasts all steps at once
    --forecast_only --run_folder=FOLDER
                            only write the forecasts again, with a trained model

Rows out of order are sorted; missing times and empty values are treated as missing. A duplicate time, text or an
infinite number in y, and a series that is too short are errors.

The default run takes 0.1 minutes on two cores and reaches 0.625 MASE; the best baseline, AutoARIMA, reaches 0.676.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import datasets
from experiments.forecasting import comparison, figures
from experiments.forecasting.calendar import season_of
from experiments.forecasting.prediction import AT_ONCE, LEVELS, Predictor, fans, forecast_quantiles, influence
from experiments.forecasting.scores import COVERAGE, PERCENTILES, all_scores
from experiments.forecasting.windows import Prepared, Windows, histories, prepare, scoring_windows, training_batch
from experiments.harness import folder, recipe
from experiments.harness.errors import UsageError, blame, require
from experiments.harness.launch import launch
from experiments.harness.settings import action, from_record, option, setting
from experiments.harness.task import Batches, Objective, Task, Test, Validation
from experiments.harness.train import Run, train
from seqjax import distributions
from seqjax.data import SeriesTable, read_series, read_series_dataset
from seqjax.distributions import mean_log_likelihood
from seqjax.models.forecaster import Forecaster
from seqjax.training import LossFn, checkpoint, make_eval_step
from seqjax.training.losses import pinball

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ORIGINS = 100  # of the test part, by default
FEWEST_STEPS = 50  # of an epoch
NEEDED = {"statistical": ["statsforecast"], "autoregression": ["statsmodels"], "volatility": ["arch"]}

PRICES = {
    "season": 1, "horizon": 10, "context": 240, "epochs": 4.0, "baselines": "volatility",
}  # fmt: skip
OF_DATASET: dict[str, dict[str, Any]] = {
    "series/air_passengers": {
        "context": 84, "hidden_size": 4, "batch_size": 4, "epochs": 2.0, "weight_decay": 1.0, "refit": True,
    },
    **{f"series/{name}": PRICES for name in ("sp500", "nasdaq", "vix", "wti")},
    "series/ecg": {
        "season": 1, "difference": 0, "horizon": 36, "context": 720, "hidden_size": 96, "epochs": 8.0, "dropout": 0.0,
        "lags": "1,2,3", "test_steps": 21600, "validation_steps": 7200, "learning_rate": 3e-3,
        "baselines": "autoregression",
    },
    "series/sunspots": {
        "difference": 0, "season": 11, "horizon": 11, "context": 99, "lags": "1,2,11", "hidden_size": 16, "epochs": 1.0,
        "stride": 4,
    },
    "series/co2": {"horizon": 52, "context": 208, "epochs": 3.0, "baselines": "autoregression"},
}  # fmt: skip


@dataclass(frozen=True)
class Settings(recipe.Layers, recipe.Regularization, recipe.Optimization, Run):
    """Series and forecasts."""

    dataset: str = setting("series/air_passengers", "TFDS data set with unique_id, ds and y.")
    csv: str | None = setting(None, "Your own series, a CSV or Parquet file with the columns unique_id, ds and y.")
    horizon: int = setting(12, "Steps to forecast.", at_least=1)
    context: int = setting(120, "Steps that are read before a forecast.", at_least=1)
    season: int | None = setting(None, "Steps in a season; that of the frequency by default.", at_least=1)
    difference: int | None = setting(
        None, "Model the difference from this many steps before; a season by default, 0 for the value.", at_least=0
    )
    log: bool = setting(True, "Take the logarithm if all values are above 0.")
    lags: str = setting("1", "How many steps back the values are that a step reads, such as 1,2,12.")
    calendar: bool = setting(False, "Read the time of the year, of the week and of the day.")
    output: str = setting(
        "student_t", "Distribution of a value.", choices=["gaussian", "student_t", "negative_binomial", "quantiles"]
    )
    test_steps: int | None = setting(None, "Steps of the test part; by default a third of each series.", at_least=1)
    validation_steps: int | None = setting(None, "Steps before these for validation; a horizon by default.", at_least=1)
    refit: bool = setting(False, "Train on the validation part too, whose scores then mean nothing.")
    stride: int | None = setting(None, "Steps between two origins of the test part.", at_least=1)
    baselines: str = setting(
        "statistical", "Models to compare with.", choices=["statistical", "autoregression", "volatility"]
    )
    samples: int = option(500, "Paths drawn for a forecast.", at_least=2)
    forecast_only: bool = action(False, "Only write the forecasts, with the run in --run_folder.")
    cell: str = "gru"
    hidden_size: int = 32
    batch_size: int = 32
    epochs: float = 10.0
    learning_rate: float = 1e-2
    warmup_steps: int = 10
    dropout: float = 0.1

    def adapted_defaults(self) -> dict[str, Any]:
        """Returns the defaults for a data set."""
        return OF_DATASET.get(self.dataset, {}) if self.csv is None else {}


class Problem(NamedTuple):
    """The series to forecast, and the settings that follow from their frequency."""

    series: list[Prepared]
    frequency: str
    season: int
    stride: int


def make_problem(settings: Settings, table: SeriesTable) -> Problem:
    """Transforms and splits the series.

    Raises:
      UsageError: if a series is too short, or the values do not fit the output distribution.
    """
    counts = settings.output == "negative_binomial"
    if settings.baselines == "volatility" and settings.output in ("negative_binomial", "quantiles"):
        raise UsageError(f"--baselines=volatility: expected a density of returns, got --output={settings.output}")
    season = season_of(table.frequency) if settings.season is None else settings.season
    difference = season if settings.difference is None else settings.difference
    source = settings.csv or settings.dataset
    prepared = []
    for series in table.series:
        known = series.values[: series.known]
        test_steps = len(known) // 3 if settings.test_steps is None else settings.test_steps
        validation_steps = settings.horizon if settings.validation_steps is None else settings.validation_steps
        needed = max(test_steps, settings.horizon) + validation_steps + (0 if counts else difference) + 2
        if len(known) < needed or test_steps < settings.horizon:
            raise UsageError(
                f"--horizon={settings.horizon}: series {series.name} of {source}: expected at least "
                f"{max(needed, 3 * settings.horizon)} values up to the last one, got {len(known)}"
            )
        if counts and (known[~np.isnan(known)] < 0).any():
            raise UsageError(f"--output=negative_binomial: series {series.name} of {source}: expected counts from 0 on")
        positive = bool((known[~np.isnan(known)] > 0).all())
        if settings.baselines == "volatility" and not (positive and settings.log and difference == 1):
            raise UsageError(
                "--baselines=volatility: expected returns, which are --difference=1 of the logarithm of positive values"
            )
        prepared.append(
            prepare(
                series, table.frequency, horizon=settings.horizon, direct=settings.output == "quantiles",
                test_steps=test_steps, validation_steps=validation_steps, log=settings.log and positive and not counts,
                difference=0 if counts else difference, center=not counts, with_calendar=settings.calendar,
                refit=settings.refit,
            )
        )  # fmt: skip
    origins = sum(len(one.values) - settings.horizon - one.validation_end + 1 for one in prepared)
    stride = -(-origins // MOST_ORIGINS) if settings.stride is None else settings.stride
    return Problem(prepared, table.frequency, season, stride)


def distribution_of(settings: Settings) -> distributions.Distribution | None:
    """Returns the output distribution, None for quantiles."""
    return None if settings.output == "quantiles" else getattr(distributions, settings.output)()


def make_model(settings: Settings) -> Forecaster:
    """Makes the model that the settings describe."""
    distribution = distribution_of(settings)
    try:
        lags = tuple(int(lag) for lag in settings.lags.split(","))
    except ValueError:
        lags = ()
    if not lags or min(lags) < 1:
        raise UsageError(f"--lags={settings.lags}: expected integers from 1 on with commas between them")
    recurrent = recipe.make_recurrent(settings)
    size = settings.horizon * len(PERCENTILES) if distribution is None else distribution.num_features
    return Forecaster(size, recurrent, lags, settings.dropout)


def make_loss(model: Forecaster, settings: Settings) -> LossFn:
    """Makes the loss function: nats of each value, or the loss of its quantiles, in the units of the model."""
    distribution = distribution_of(settings)

    def loss_fn(params: Any, carry: tuple[()], batch: Windows, key: jax.Array | None) -> Any:
        rngs = None if key is None else {"dropout": key}
        features = model.apply(
            params, batch.values, batch.covariates, batch.scale, batch.lengths, deterministic=key is None, rngs=rngs
        )
        valid, scale = ~jnp.isnan(batch.targets), batch.scale[:, None]
        if distribution is None:
            quantiles = features.reshape(*batch.targets.shape, len(LEVELS))
            loss = pinball(quantiles, batch.targets / scale[..., None], jnp.asarray(LEVELS, features.dtype), valid)
            return loss, (carry, {"quantile_loss": loss})
        loss = -mean_log_likelihood(distribution, features, batch.targets[..., 0], valid[..., 0], scale)
        return loss, (carry, {"nats": loss})

    return loss_fn


def predictor_of(settings: Settings) -> Predictor:
    """Makes the predictor that the settings describe."""
    model, distribution = make_model(settings), distribution_of(settings)
    return Predictor(model, distribution, settings.horizon, settings.context, settings.samples)


def make_task(settings: Settings, problem: Problem) -> Task:
    """Makes the task of training a forecaster."""
    series, horizon = problem.series, settings.horizon
    predictor, key = predictor_of(settings), jax.random.key(settings.seed)
    loss_fn = make_loss(predictor.model, settings)
    metric = "quantile_loss" if settings.output == "quantiles" else "nats"
    longest = settings.context + horizon
    length = min(longest, max(one.train_end for one in series))
    steps_per_epoch = max(FEWEST_STEPS, round(sum(one.train_end for one in series) / length / settings.batch_size))
    steps = round(settings.epochs * steps_per_epoch)
    validation = scoring_windows(series, longest, horizon, "validation")
    origins = [
        (which, origin)
        for which, one in enumerate(series)
        for origin in range(one.validation_end, len(one.values) - horizon + 1, problem.stride)
    ]
    eval_step = make_eval_step(loss_fn)

    def mean_loss(params: Any, windows: Windows) -> float:
        total, count = 0.0, 0
        for start in range(0, len(windows.scale), AT_ONCE):
            batch = Windows(*(part[start : start + AT_ONCE] for part in windows))
            number = int((~np.isnan(batch.targets)).sum())
            total, count = total + float(eval_step(params, (), batch)[0]["loss"]) * number, count + number
        return total / max(count, 1)

    def sample(params: Any, key: jax.Array) -> str:
        one = series[0]
        [quantiles] = forecast_quantiles(predictor, params, key, series, [(0, one.validation_start)])
        rows = zip(quantiles[:12], one.values[one.validation_start :], strict=False)
        return "\n".join(
            [
                f"{one.name} after {one.times[one.validation_start - 1]}: median (90% interval), observed",
                *(f"{row[len(row) // 2]:.4g} ({row[0]:.4g} to {row[-1]:.4g}), {y:.4g}" for row, y in rows),
            ]
        )

    def draw(params: Any) -> dict[str, "Figure"]:
        starts = [(which, one.validation_start) for which, one in enumerate(series)][: figures.SHOWN]
        quantiles = list(forecast_quantiles(predictor, params, key, series, starts))
        ends = [origin for which, origin in origins if which == 0][:AT_ONCE]
        last = histories(series, [(0, end) for end in ends], min(settings.context, ends[0]), 0)
        norms = np.asarray(influence(predictor, params, last))[:-1][::-1]
        lag = series[0].transformation.difference
        unit = "steps" if problem.frequency.isdigit() else f"steps of the frequency {problem.frequency}"
        observed = f"changes from {lag} step{'s' if lag > 1 else ''} before" if lag else "values"
        return {
            "validation": figures.fan_charts(fans(series, starts, quantiles)),
            "influence": figures.influence(norms, observed, unit),
        }

    def test(params: Any) -> dict[str, float]:
        if settings.baselines == "volatility":
            in_percent = float(np.log(100))  # a density of returns in percent is smaller by this factor
            return {
                "nats per return": mean_loss(params, scoring_windows(series, longest, horizon, "test")) + in_percent
            }
        quantiles = forecast_quantiles(predictor, params, key, series, origins)
        table = comparison.forecast_table("seqjax", quantiles, series, origins)
        return all_scores(table, comparison.history_table(series), ["seqjax"], problem.season)["seqjax"]

    def baselines() -> dict[str, float]:
        if settings.baselines == "volatility":
            return comparison.volatilities(series)
        if settings.baselines == "autoregression":
            table = comparison.autoregressive(series, origins, horizon)
        else:
            table = comparison.statistical(series, origins, problem.frequency, horizon, problem.season)
        models = [column.removesuffix("-q50") for column in table if column.endswith("-q50")]
        found = all_scores(table, comparison.history_table(series), models, problem.season)
        return {f"{measure}, {model}": value for model in models for measure, value in found[model].items()}

    source = settings.dataset if settings.csv is None else Path(settings.csv).name
    return Task(
        title=f"forecast, {source}, {horizon} steps",
        objective=Objective(
            lambda key: (jax.jit(predictor.model.init)(key, *(jnp.asarray(part[:1]) for part in validation[:3])), ()),
            loss_fn,
            recipe.make_optimizer(settings, steps),
            settings.max_grad_norm,
        ),
        batches=Batches(
            partial(training_batch, series, length, settings.batch_size, settings.seed),
            steps,
            steps_per_epoch,
            units_per_step=settings.batch_size,
            unit="window",
        ),
        validation=Validation(metric, lambda params: {metric: mean_loss(params, validation)}, sample, draw),
        test=Test(test, baselines, ideal=COVERAGE),
        symbols={"series": [one.name for one in series], "frequency": problem.frequency},
    )


def write_forecasts(run_folder: Path, settings: Settings, problem: Problem) -> None:
    """Forecasts what follows each series; writes `forecasts.csv` and, with matplotlib, `forecasts.png`."""
    newest = folder.newest(run_folder, "forecast")
    predictor = predictor_of(from_record(Settings, newest.metadata["settings"]))
    first = histories(problem.series, [(0, len(problem.series[0].values))], settings.context, 0)
    params = jax.eval_shape(predictor.model.init, jax.random.key(0), *(jnp.asarray(part) for part in first[:3]))
    params = checkpoint.restore(newest, params, part=".params")
    ends = [(which, len(one.values)) for which, one in enumerate(problem.series)]
    quantiles = list(forecast_quantiles(predictor, params, jax.random.key(settings.seed), problem.series, ends))
    table = comparison.forecast_table("seqjax", quantiles, problem.series, ends).drop(columns=["cutoff", "y"])
    folder.write(run_folder / "forecasts.csv", table.to_csv(index=False, float_format="%.6g"))
    print(f"The next {settings.horizon} steps are in {run_folder / 'forecasts.csv'}")
    if folder.plots_are_possible():
        figures.fan_charts(fans(problem.series, ends, quantiles)).savefig(run_folder / "forecasts.png", dpi=150)


def read_table(settings: Settings) -> SeriesTable:
    """Reads the series that the settings select, and reports what was found and repaired."""
    if settings.csv is not None:
        if settings.csv.endswith(".parquet"):
            require("pyarrow", extra="data,parquet")
        with blame("csv", settings.csv):
            table = read_series(settings.csv)
    else:
        with blame("dataset", settings.dataset):
            table = read_series_dataset(datasets.prepared(settings.dataset))
    lengths = sorted(series.known for series in table.series)
    print(f"Series: {len(lengths)}, of {lengths[0]} to {lengths[-1]} steps; frequency: {table.frequency}.")
    for repair in table.repairs:
        print(f"Repaired: {repair}.")
    return table


def main(settings: Settings) -> None:
    if settings.forecast_only:
        folder.newest(settings.run_folder, "forecast")
        run_folder, problem = Path(settings.run_folder), make_problem(settings, read_table(settings))
    else:
        require(*NEEDED[settings.baselines], extra="data,baselines")
        problem = make_problem(settings, read_table(settings))
        run_folder = train(make_task(settings, problem), settings, "forecast")
    write_forecasts(run_folder, settings, problem)


if __name__ == "__main__":
    launch(main, Settings, needs=("array_record", "pandas", "scoringrules", "utilsforecast"))
