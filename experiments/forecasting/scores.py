"""Scores of forecasts from rolling origins: MASE and sMAPE of the median, CRPS, coverage of intervals.

A table of forecasts has a row for each series, origin and step ahead. Its columns are `unique_id`, `ds`, `cutoff` (the
last known time), `y`, and for each model its quantiles `MODEL-q5` to `MODEL-q95`. All models are scored on the rows in
which y is known.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

PERCENTILES = tuple(range(5, 100, 5))
INTERVALS = {50: (25, 75), 90: (5, 95)}  # level -> percentiles of its ends
COVERAGE = {f"% in the {level}% interval": float(level) for level in INTERVALS}  # measures, with their ideal values


def columns(model: str) -> list[str]:
    """Lists the columns of the quantiles of a model."""
    return [f"{model}-q{percentile}" for percentile in PERCENTILES]


def all_scores(
    forecasts: "pd.DataFrame", history: "pd.DataFrame", models: Sequence[str], season: int
) -> dict[str, dict[str, float]]:
    """Computes the scores of each model, the mean over all series and origins.

    MASE (Hyndman and Koehler 2006) divides the absolute error by that of the seasonal naive forecast in the history of
    the series before the origin; series for which this is 0 are left out of it. The continuous ranked probability score
    (Gneiting and Raftery 2007) is that of the quantiles, in the unit of y.

    Args:
      forecasts: the table of forecasts.
      history: all known values, with the columns unique_id, ds and y.
      models: names of the models.
      season: number of steps of the seasonal naive forecast.

    Returns:
      For each model, the scores by the name of the measure.
    """
    import scoringrules
    from utilsforecast.losses import mase, smape

    known = forecasts[forecasts["y"].notna()].reset_index(drop=True)
    points = known[["unique_id", "ds", "cutoff", "y"]].assign(**{model: known[f"{model}-q50"] for model in models})
    errors, percent = [], []
    for cutoff, of_origin in points.groupby("cutoff"):
        before = history[(history["ds"] <= cutoff) & history["y"].notna()]
        errors.append(mase(of_origin, list(models), season, before)[list(models)])
        percent.append(smape(of_origin, list(models))[list(models)])
    y = known["y"].to_numpy()
    found = {}
    for model in models:
        scaled = np.concatenate([frame[model].to_numpy() for frame in errors])
        scores = {
            "MASE": float(scaled[np.isfinite(scaled)].mean()) if np.isfinite(scaled).any() else np.nan,
            "% sMAPE": 200 * float(np.concatenate([frame[model].to_numpy() for frame in percent]).mean()),
            "CRPS": float(
                scoringrules.crps_quantile(y, known[columns(model)].to_numpy(), np.array(PERCENTILES) / 100).mean()
            ),
        }
        for measure, ends in zip(COVERAGE, INTERVALS.values(), strict=True):
            low, high = (known[f"{model}-q{percentile}"].to_numpy() for percentile in ends)
            scores[measure] = 100 * float(np.mean((y >= low) & (y <= high)))
        found[model] = {name: value for name, value in scores.items() if np.isfinite(value)}
    return found
