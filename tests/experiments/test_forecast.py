"""Forecasts: transformations that invert, windows that do not look ahead, scores by hand, a run as a user sees it."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from experiments import forecast
from experiments.forecasting import figures, scores, windows
from experiments.forecasting.calendar import calendar, season_of
from experiments.forecasting.transformation import Transformation, fitted
from experiments.harness.errors import UsageError
from experiments.harness.settings import parse
from seqjax.data.series import Series, make_table
from seqjax.training.losses import pinball


def a_series(values, name="a", covariates=None):
    values = np.asarray(values, float)
    covariates = np.zeros((len(values), 0)) if covariates is None else covariates
    return Series(name, np.arange(len(values)), values, covariates)


def prepared(values, **changed):
    settings = {
        "horizon": 3, "direct": False, "test_steps": 6, "validation_steps": 3, "log": False, "difference": 0,
        "center": True, "with_calendar": False, "refit": False,
    }  # fmt: skip
    series = values if isinstance(values, Series) else a_series(values)
    return windows.prepare(series, "1", **{**settings, **changed})


@given(
    seed=st.integers(0, 99), log=st.booleans(), difference=st.integers(0, 5), missing=st.lists(st.integers(0, 19)),
    horizon=st.integers(1, 9),
)  # fmt: skip
def test_paths_of_the_true_x_are_the_true_values(seed, log, difference, missing, horizon):
    values = np.random.default_rng(seed).uniform(1, 9, 20 + horizon)
    values[[place for place in missing if place >= difference]] = np.nan
    transformation, _ = fitted(values[:20], log, difference, center=True)
    x = transformation.forward(values)[20:]
    known = values[:20]
    got = transformation.continued(known, x[None])[0]
    np.testing.assert_allclose(got, values[20:], rtol=1e-6)
    direct = [transformation.forward(values, ahead + 1)[20 + ahead] for ahead in range(horizon)]
    np.testing.assert_allclose(transformation.directly(known, np.array([direct]))[0], values[20:], rtol=1e-6)


def test_location_and_scale_are_those_of_the_differences():
    values = np.array([1.0, 2.0, 4.0, 7.0, 11.0])
    transformation, scale = fitted(values, log=False, difference=1, center=True)
    assert transformation == Transformation(False, 1, 2.5) and scale == 1.0
    assert fitted(np.full(5, 3.0), log=True, difference=1, center=True)[1] == 1.0


def test_season_and_calendar():
    seasons = {"MS": 12, "ME": 12, "QS-JAN": 4, "YS-JAN": 1, "W-SUN": 52, "D": 7, "B": 5, "h": 24, "15min": 96, "2": 1}
    assert {frequency: season_of(frequency) for frequency in seasons} == seasons
    hours = calendar(pd.date_range("2024-01-01", periods=48, freq="h").to_numpy("datetime64[s]"))
    assert hours.shape == (48, 6)  # of the year, the week and the day
    np.testing.assert_allclose(hours[:24, 4:], hours[24:, 4:], atol=1e-6)
    assert calendar(np.arange(5)).shape == (5, 0)


def test_each_step_of_a_part_counts_once_and_no_other():
    one = prepared(np.arange(30.0), center=False)
    for part, steps in (("validation", range(21, 24)), ("test", range(24, 30))):
        batch = windows.scoring_windows([one], 10, 3, part)
        counted = batch.targets[~np.isnan(batch.targets)]
        assert sorted(counted.tolist()) == list(steps)
        for values, targets in zip(batch.values, batch.targets[..., 0], strict=True):
            np.testing.assert_array_equal(values[~np.isnan(targets)], targets[~np.isnan(targets)])


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("refit", [False, True])
def test_training_sees_no_later_part_and_is_a_function_of_the_position(direct, refit):
    several = [
        prepared(np.arange(30.0) + 100, center=False, direct=direct, refit=refit),
        prepared(np.arange(15.0), center=False, direct=direct, refit=refit),
    ]
    batches = [windows.training_batch(several, 8, 16, seed=1, position=position) for position in range(20)]
    ends = (124 if refit else 121), (9 if refit else 6)
    seen = np.concatenate([np.concatenate([batch.values.ravel(), batch.targets.ravel()]) for batch in batches])
    seen = seen[~np.isnan(seen)]
    assert seen[seen >= 100].max() == ends[0] - 1 and seen[seen < 100].max() == ends[1] - 1
    assert batches[0].targets.shape == (16, 8, 3 if direct else 1)
    again = windows.training_batch(several, 8, 16, seed=1, position=7)
    for one, other in zip(again, batches[7], strict=True):
        np.testing.assert_array_equal(one, other)


def test_histories_end_at_their_origin_and_know_only_future_covariates():
    covariates = np.arange(32.0)[:, None]
    series = a_series([*range(30), np.nan, np.nan], covariates=covariates)
    one = prepared(series, center=False)
    batch = windows.histories([one], [(0, 27), (0, 2), (0, 30)], 5, 3)
    np.testing.assert_array_equal(batch.values[0], [22, 23, 24, 25, 26])
    np.testing.assert_array_equal(batch.lengths, [5, 2, 5])
    own = one.covariates[:, 0]
    np.testing.assert_array_equal(batch.covariates[0, :, 0], own[22:30])
    np.testing.assert_array_equal(batch.covariates[1, :5, 0], own[:5])
    np.testing.assert_array_equal(batch.covariates[2, -3:, 0], [own[30], own[31], own[31]])  # the last one is repeated


def quantile_columns(model, values):
    return dict(zip(scores.columns(model), np.asarray(values, float).T, strict=True))


def test_scores_by_hand():
    history = pd.DataFrame({"unique_id": "a", "ds": range(8), "y": [1.0, 3, 2, 5, 4, 6, 9, 7]})
    table = pd.DataFrame({"unique_id": "a", "ds": [6, 7, 7, 8], "cutoff": [5, 5, 6, 6], "y": [9.0, 7.0, 7.0, np.nan]})
    middle = np.array([8.0, 8.0, 4.0, 1.0])
    quantiles = middle[:, None] + np.linspace(-1.8, 1.8, 19)
    table = table.assign(**quantile_columns("m", quantiles))
    found = scores.all_scores(table, history, ["m"], season=2)["m"]
    naive = np.abs(np.array([1, 2, 2, 1.0])).mean(), np.abs(np.array([1, 2, 2, 1, 5.0])).mean()
    assert found["MASE"] == pytest.approx(np.mean([1 / naive[0], 3 / naive[1]]))
    y, q = np.array([9.0, 7.0, 7.0]), quantiles[:3]
    assert found["% sMAPE"] == pytest.approx(100 * np.mean([(1 / 17 + 1 / 15), 2 * 3 / 11]), rel=1e-6)
    p = np.array(scores.PERCENTILES) / 100
    losses = np.maximum(p * (y[:, None] - q), (p - 1) * (y[:, None] - q))
    assert found["CRPS"] == pytest.approx(2 * losses.mean())
    assert found["% in the 50% interval"] == pytest.approx(200 / 3)  # between -1 and 1 of the median
    assert found["% in the 90% interval"] == pytest.approx(200 / 3)


def test_pinball_is_that_of_sklearn_and_ignores_the_padding():
    rng = np.random.default_rng(0)
    targets, quantiles, p = rng.normal(size=20), rng.normal(size=(20, 3)), np.array([0.1, 0.5, 0.8])
    expected = np.mean([
        sklearn.metrics.mean_pinball_loss(targets, quantiles[:, q], alpha=p[q]) for q in range(3)
    ])  # fmt: skip
    import jax.numpy as jnp

    assert pinball(jnp.asarray(quantiles), jnp.asarray(targets), jnp.asarray(p)) == pytest.approx(expected, rel=1e-5)
    padded = jnp.asarray(np.append(targets, np.nan)), jnp.asarray(np.vstack([quantiles, [np.inf] * 3]))
    got = pinball(padded[1], padded[0], jnp.asarray(p), jnp.arange(21) < 20)
    assert got == pytest.approx(expected, rel=1e-5)


def test_statistical_models_forecast_from_each_origin():
    from experiments.baselines import statistical_forecasts

    times = pd.date_range("2015-01-01", periods=60, freq="MS")
    y = 50 + 0.5 * np.arange(60) + 9 * np.sin(np.arange(60) * np.pi / 6) + np.random.default_rng(0).normal(size=60)
    history = pd.DataFrame({"unique_id": "a", "ds": times, "y": y})
    history.loc[3, "y"] = np.nan
    found = statistical_forecasts.forecasts(history, list(times[[47, 50]]), "MS", horizon=3, season=12)
    assert found["ds"].tolist() == [*times[48:51], *times[51:54]]
    assert found["cutoff"].tolist() == [times[47]] * 3 + [times[50]] * 3
    np.testing.assert_allclose(found["seasonal naive-q50"], [*y[36:39], *y[39:42]])
    for model in statistical_forecasts.MODELS:
        quantiles = found[scores.columns(model)].to_numpy()
        assert (np.diff(quantiles, axis=1) > 0).all()
        assert np.abs(quantiles[:, 9] - y[48:54]).max() < 12


def test_autoregression_knows_an_autoregression():
    from experiments.baselines import autoregression

    rng, y = np.random.default_rng(0), [0.0, 0.0]
    for _ in range(4000):
        y.append(0.6 * y[-1] - 0.3 * y[-2] + rng.normal())
    y = np.array(y)
    found = autoregression.quantiles(autoregression.fit(y[:3000], 2), y[:3500], 2)
    mean = 0.6 * y[3499] - 0.3 * y[3498]
    second = 0.6 * mean - 0.3 * y[3499]
    np.testing.assert_allclose(found[:, 9], [mean, second], atol=0.15)
    spread = (found[:, -1] - found[:, 0]) / (2 * scipy.stats.norm.ppf(0.95))
    np.testing.assert_allclose(spread, [1, np.sqrt(1.36)], rtol=0.05)


def test_garch_scores_returns_by_its_recursion():
    from arch import arch_model

    from experiments.baselines import volatility

    rng, returns, variance = np.random.default_rng(0), [], 1.0
    for _ in range(1500):
        returns.append(np.sqrt(variance) * rng.normal())
        variance = 0.1 + 0.2 * returns[-1] ** 2 + 0.7 * variance
    returns = np.array(returns)
    found = {name: values.mean() for name, values in volatility.log_densities(returns, 1000).items()}
    mu, omega, alpha, beta = arch_model(returns[:1000], mean="Constant", vol="GARCH").fit(disp="off").params
    h, nats = np.var(returns[:1000]), []
    for r in returns:
        nats.append(scipy.stats.norm(mu, np.sqrt(h)).logpdf(r))
        h = omega + alpha * (r - mu) ** 2 + beta * h
    assert found["GARCH(1,1)"] == pytest.approx(np.mean(nats[1000:]), abs=1e-3)
    assert found["GARCH(1,1)"] > found["constant Gaussian"] + 0.02


def test_fan_chart_shows_what_is_known_and_what_is_forecast():
    quantiles = np.arange(3.0)[:, None] + np.linspace(-2, 2, 19)
    [axes] = figures.fan_charts([figures.Fan("title", np.arange(8), np.arange(8.0), quantiles)]).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines["median forecast"].get_xdata().tolist() == [5, 6, 7]
    np.testing.assert_allclose(lines["median forecast"].get_ydata(), [0, 1, 2])
    extents = [area.get_paths()[0].get_extents() for area in axes.collections]
    np.testing.assert_allclose([(area.y0, area.y1) for area in extents], [(-2, 4), (-10 / 9, 2 + 10 / 9)])


TINY = ["--hidden_size=3", "--epochs=0.2", "--context=24", "--horizon=6", "--samples=20", "--stride=10", "--devices=1"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Two months-long series of unequal length with a covariate, known in advance for half a year."""
    path, rng, lines = tmp_path_factory.mktemp("shop") / "shop.csv", np.random.default_rng(0), ["unique_id,ds,y,price"]
    for name, length in (("bread", 72), ("milk", 60)):
        for step, time in enumerate(pd.date_range("2015-01-01", periods=length + 6, freq="MS")):
            y = 20 + step + 5 * np.sin(step * np.pi / 6) + rng.normal()
            lines.append(f"{name},{time.date()},{'' if step >= length or step == 7 else f'{y:.2f}'},{step % 5}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("output", ["student_t", "quantiles"])
def test_a_run_forecasts_each_series_and_can_do_it_again(shop, tmp_path, run_experiment, output, capsys):
    folder = tmp_path / "run"
    run = [f"--csv={shop}", f"--run_folder={folder}", f"--output={output}", "--baselines=autoregression", *TINY]
    run_experiment(forecast, *run, "--calendar")
    assert "Series: 2, of 60 to 72 steps; frequency: MS." in capsys.readouterr().out
    result = json.loads((folder / "result.json").read_text())
    measures = {"MASE", "% sMAPE", "CRPS", "% in the 50% interval", "% in the 90% interval"}
    assert set(result["scores"]) == measures and result["ideal"]["% in the 90% interval"] == 90
    assert result["baselines"].keys() == {
        f"{measure}, {model}" for measure in measures for model in ("autoregression of order 10", "last value")
    }
    table = pd.read_csv(folder / "forecasts.csv")
    assert table.groupby("unique_id", sort=False)["ds"].first().to_dict() == {
        "bread": "2021-01-01",
        "milk": "2020-01-01",
    }
    quantiles = table[scores.columns("seqjax")].to_numpy()
    assert len(table) == 12 and (np.diff(quantiles, axis=1) >= 0).all() and (quantiles > 0).all()
    for name in ("forecasts", "validation", "influence"):
        from matplotlib.image import imread

        assert imread(folder / f"{name}.png").std() > 0.01
    run_experiment(forecast, f"--run_folder={folder}", "--forecast_only")
    pd.testing.assert_frame_equal(pd.read_csv(folder / "forecasts.csv"), table)


@pytest.mark.parametrize(
    ("rows", "flags", "message"),
    [
        (10, [], r"--horizon=6: series a of .*: expected at least \d+ values up to the last one, got 10"),
        (60, ["--lags=1,x"], "--lags=1,x: expected integers from 1 on with commas between them"),
        (60, ["--lags=0"], "--lags=0: expected integers from 1 on"),
        (60, ["--baselines=volatility"], "--baselines=volatility: expected returns, which are --difference=1"),
        (60, ["--baselines=volatility", "--output=quantiles"], "--baselines=volatility: expected a density of returns"),
        (60, ["--output=negative_binomial"], "--output=negative_binomial: series a of .*: expected counts from 0 on"),
    ],
)
def test_what_cannot_be_forecast_is_refused(rows, flags, message):
    table = make_table(pd.DataFrame({"unique_id": "a", "ds": range(rows), "y": np.arange(rows) - 3.0}), "shop.csv")
    settings = parse(forecast.Settings, ["--csv=shop.csv", "--horizon=6", *flags], script="forecast")
    with pytest.raises(UsageError, match=f"^{message}"):
        forecast.make_task(settings, forecast.make_problem(settings, table))


@pytest.mark.parametrize(("value", "output"), [(0.0, "negative_binomial"), (7.0, "gaussian")])
def test_a_constant_series_is_forecast(value, output, tmp_path, run_experiment):
    path = tmp_path / "constant.csv"
    pd.DataFrame({"ds": range(60), "y": value}).to_csv(path, index=False)
    flags = [f"--csv={path}", f"--output={output}", f"--run_folder={tmp_path / 'run'}", "--baselines=autoregression"]
    run_experiment(forecast, *flags, *TINY)
    table = pd.read_csv(tmp_path / "run" / "forecasts.csv")
    assert np.isfinite(table[scores.columns("seqjax")].to_numpy()).all()
    assert "MASE" not in json.loads((tmp_path / "run" / "result.json").read_text())["scores"]  # nothing to divide by
