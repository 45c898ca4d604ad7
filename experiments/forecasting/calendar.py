"""Covariates of the calendar: where a time is in the year, in the week and in the day."""

import numpy as np
from jaxtyping import Float

PERIODS = {"year": 365.2425, "week": 7.0, "day": 1.0}  # in days
SEASONS = {"Y": 1, "Q": 4, "M": 12, "W": 52, "B": 5, "D": 7, "h": 24, "min": 1440}  # usual season of a frequency


def season_of(frequency: str) -> int:
    """Returns the usual number of steps in a season, 1 if there is none.

    >>> season_of("MS"), season_of("W-SUN"), season_of("15min"), season_of("1")
    (12, 52, 96, 1)
    """
    import pandas as pd

    if frequency.isdigit():
        return 1
    offset = pd.tseries.frequencies.to_offset(frequency)
    name = offset.rule_code.split("-")[0]
    unit = name if name in SEASONS else name.rstrip("SE")
    return max(SEASONS.get(unit, 1) // offset.n, 1)


def calendar(times: np.ndarray) -> Float[np.ndarray, "T C"]:
    """Returns sine and cosine of the phase in each period that is longer than a step; nothing for integer times.

    >>> calendar(np.array(["2024-01-01", "2024-04-01"], "datetime64[s]")).round(1)
    array([[0., 1.],
           [1., 0.]])
    """
    if np.issubdtype(times.dtype, np.integer):
        return np.zeros((len(times), 0))
    days = times.astype("datetime64[s]").astype(float) / 86400
    step = np.median(np.diff(days))
    since = {"year": days - times.astype("datetime64[Y]").astype("datetime64[s]").astype(float) / 86400}
    phases = [2 * np.pi * since.get(name, days) / period for name, period in PERIODS.items() if period > 1.5 * step]
    waves = [wave(phase) for phase in phases for wave in (np.sin, np.cos)]
    return np.stack(waves, axis=-1) if waves else np.zeros((len(times), 0))
