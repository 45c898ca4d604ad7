"""Tables of forecasts: those of a trained model, and those of the baselines from the same origins."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from experiments.baselines import autoregression, statistical_forecasts, volatility
from experiments.forecasting.scores import columns
from experiments.forecasting.windows import Prepared

if TYPE_CHECKING:
    import pandas as pd

ORDER = 30  # of the autoregression of a long series

Origins = Sequence[tuple[int, int]]  # number of a series, and the step at which its forecast begins


def observed_table(series: Sequence[Prepared], origins: Origins, horizon: int) -> "pd.DataFrame":
    """Makes the table of what followed each origin, with y NaN where it is unknown."""
    import pandas as pd

    rows = []
    for which, origin in origins:
        one, ahead = series[which], slice(origin, origin + horizon)
        y = np.concatenate([one.values, np.full(horizon, np.nan)])[ahead]
        followed = {"unique_id": one.name, "ds": one.times[ahead], "cutoff": one.times[origin - 1], "y": y}
        rows.append(pd.DataFrame(followed))
    return pd.concat(rows, ignore_index=True)


def forecast_table(
    model: str, quantiles: Iterable[Float[np.ndarray, "H Q"]], series: Sequence[Prepared], origins: Origins
) -> "pd.DataFrame":
    """Makes the table of one model's forecasts, see `experiments.forecasting.scores`."""
    of_steps = list(quantiles)
    table = observed_table(series, origins, len(of_steps[0]))
    return table.assign(**dict(zip(columns(model), np.concatenate(of_steps).T, strict=True)))


def history_table(series: Sequence[Prepared]) -> "pd.DataFrame":
    """Makes the table of all known values."""
    import pandas as pd

    values = [{"unique_id": one.name, "ds": one.times[: len(one.values)], "y": one.values} for one in series]
    return pd.concat([pd.DataFrame(of_one) for of_one in values], ignore_index=True)


def statistical(
    series: Sequence[Prepared], origins: Origins, frequency: str, horizon: int, season: int
) -> "pd.DataFrame":
    """Forecasts with the models of `experiments.baselines.statistical_forecasts`."""
    history = history_table(series)
    observed = observed_table(series, origins, horizon)
    found = statistical_forecasts.forecasts(history, sorted(observed["cutoff"].unique()), frequency, horizon, season)
    return observed.merge(found, on=["unique_id", "ds", "cutoff"])


def autoregressive(series: Sequence[Prepared], origins: Origins, horizon: int) -> "pd.DataFrame":
    """Forecasts with an autoregression of order `ORDER`, or a quarter of a short series, and with the last value."""
    import pandas as pd

    known = [pd.Series(one.values).interpolate().bfill().to_numpy() for one in series]
    order = min(ORDER, *(one.validation_end // 4 for one in series))
    fitted = [autoregression.fit(y[: one.validation_end], order) for y, one in zip(known, series, strict=True)]
    changes = [autoregression.changes(y[: one.validation_end], horizon) for y, one in zip(known, series, strict=True)]
    linear = (autoregression.quantiles(fitted[which], known[which][:origin], horizon) for which, origin in origins)
    naive = (known[which][origin - 1] + changes[which] for which, origin in origins)
    table = forecast_table(f"autoregression of order {order}", linear, series, origins)
    return table.merge(forecast_table("last value", naive, series, origins), on=["unique_id", "ds", "cutoff", "y"])


def volatilities(series: Sequence[Prepared]) -> dict[str, float]:
    """Returns the nats of each return in percent by the models of `experiments.baselines.volatility`."""
    nats: dict[str, list[float]] = {}
    for one in series:
        returns = 100 * (one.ahead[:, 0] + one.transformation.location)
        known = int((~np.isnan(returns[: one.validation_end])).sum())
        for model, log_densities in volatility.log_densities(returns[~np.isnan(returns)], known).items():
            nats.setdefault(model, []).extend(-log_densities)
    return {f"nats per return, {model}": float(np.mean(values)) for model, values in nats.items()}
