"""Forecasting baselines: a linear autoregression (Yule 1927) with Gaussian noise, fitted once, and the last value."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from experiments.forecasting.scores import PERCENTILES

if TYPE_CHECKING:
    from statsmodels.tsa.ar_model import AutoRegResultsWrapper


def fit(values: Float[np.ndarray, " T"], order: int) -> "AutoRegResultsWrapper":
    """Fits an autoregression of an order to a series without missing values."""
    from statsmodels.tools.sm_exceptions import SingularMatrixWarning
    from statsmodels.tsa.ar_model import AutoReg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularMatrixWarning)  # a constant series has many equal solutions
        return AutoReg(values, order).fit()


def quantiles(
    fitted: "AutoRegResultsWrapper", history: Float[np.ndarray, " T"], horizon: int
) -> Float[np.ndarray, "H Q"]:
    """Returns the quantiles `PERCENTILES` of each of the `horizon` steps after a history."""
    from scipy.stats import norm
    from statsmodels.tsa.arima_process import arma2ma

    order = len(fitted.model.ar_lags)
    mean = fitted.apply(history[-2 * order - 2 :]).forecast(horizon)  # the parameters stay as they are
    response = arma2ma(np.append(1, -fitted.params[1:]), [1], lags=horizon)
    spread = np.sqrt(fitted.sigma2 * np.cumsum(response**2))
    return mean[:, None] + spread[:, None] * norm.ppf(np.array(PERCENTILES) / 100)


def changes(values: Float[np.ndarray, " T"], horizon: int) -> Float[np.ndarray, "H Q"]:
    """Returns the quantiles `PERCENTILES` of the change of a series over 1 to `horizon` steps, with the median 0."""
    of_steps = [
        np.quantile(values[step:] - values[:-step], np.array(PERCENTILES) / 100) for step in range(1, horizon + 1)
    ]
    return np.stack(of_steps) - np.stack(of_steps)[:, [len(PERCENTILES) // 2]]
