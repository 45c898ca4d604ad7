"""Forecasting baselines: statistical models of each series, by statsforecast, fitted anew at each origin.

Seasonal naive; AutoETS (Hyndman et al. 2002); AutoARIMA (Hyndman and Khandakar 2008); Theta (Assimakopoulos and
Nikolopoulos 2000).
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.forecasting.scores import PERCENTILES, columns

if TYPE_CHECKING:
    import pandas as pd

MODELS = ("seasonal naive", "AutoETS", "AutoARIMA", "Theta")
LONGEST = 1000  # steps of history


def forecasts(
    history: "pd.DataFrame", cutoffs: Sequence[object], frequency: str, horizon: int, season: int
) -> "pd.DataFrame":
    """Forecasts from each origin; returns `unique_id`, `ds`, `cutoff` and the quantiles of each model.

    Missing values are interpolated, because the models take none, and of a long history the last `LONGEST` steps count.

    Args:
      history: all values of the series, with the columns unique_id, ds and y.
      cutoffs: the last known time of each origin.
      frequency: frequency of the times, see `seqjax.data.series.SeriesTable`.
      horizon: number of steps to forecast.
      season: number of steps in a season.
    """
    import pandas as pd
    from statsforecast import StatsForecast
    from statsforecast.models import AutoARIMA, AutoETS, AutoTheta, SeasonalNaive

    makers = dict(zip(MODELS, (SeasonalNaive, AutoETS, AutoARIMA, AutoTheta), strict=True))
    made = [make(season_length=season, alias=model) for model, make in makers.items()]
    levels = sorted({abs(100 - 2 * percentile) for percentile in PERCENTILES if percentile != 50})
    filled = history.assign(y=history.groupby("unique_id")["y"].transform(lambda y: y.interpolate().bfill()))
    found = []
    for cutoff in cutoffs:
        known = filled[filled["ds"] <= cutoff].groupby("unique_id").tail(LONGEST)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = StatsForecast(models=made, freq=int(frequency) if frequency.isdigit() else frequency).forecast(
                df=known, h=horizon, level=levels
            )
        quantiles = {
            column: frame[_column(model, percentile)]
            for model in MODELS
            for percentile, column in zip(PERCENTILES, columns(model), strict=True)
        }
        found.append(frame[["unique_id", "ds"]].assign(cutoff=cutoff, **quantiles))
    return pd.concat(found, ignore_index=True)


def _column(model: str, percentile: int) -> str:
    """Returns the name that statsforecast gives to a quantile."""
    if percentile == 50:
        return model
    return f"{model}-{'lo' if percentile < 50 else 'hi'}-{abs(100 - 2 * percentile)}"
