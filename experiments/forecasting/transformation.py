"""Between the values of a series and what the model reads and predicts: logarithm, difference, location.

With `z = y` or `z = log y`, and `b_t` the last known of `z_(t-d), z_(t-2d), ...`, the model predicts

    x_t = z_t - b_t - location

or with `d = 0`, where `b = 0`, the value itself. The difference of a season, `d = 12` for months, is that of seasonal
ARIMA (Box and Jenkins 1970).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Transformation(NamedTuple):
    """How values are transformed."""

    log: bool  # all values are above 0
    difference: int  # d
    location: float = 0.0

    def level(self, values: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """Returns z."""
        return np.log(values) if self.log else values

    def of_level(self, z: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
        """Returns the values for z."""
        return np.exp(z) if self.log else z

    def base(self, z: Float[np.ndarray, " T"], ahead: int = 1) -> Float[np.ndarray, " T"]:
        """Returns b as it is known `ahead` steps before, NaN where nothing is known.

        >>> Transformation(log=False, difference=1).base(np.array([3.0, 5.0, np.nan, 6.0]))
        array([nan,  3.,  5.,  5.])
        """
        if self.difference == 0:
            return np.zeros_like(z)
        lag = self.difference * -(-ahead // self.difference)
        base = np.full_like(z, np.nan)
        for t in range(lag, len(z)):
            earlier = z[t - lag :: -self.difference]
            known = np.flatnonzero(~np.isnan(earlier))
            base[t] = earlier[known[0]] if len(known) else np.nan
        return base

    def forward(self, values: Float[np.ndarray, " T"], ahead: int = 1) -> Float[np.ndarray, " T"]:
        """Returns x, with the base that is known `ahead` steps before; NaN where a value or the base is missing."""
        z = self.level(values)
        return z - self.base(z, ahead) - self.location

    def continued(self, history: Float[np.ndarray, " T"], paths: Float[np.ndarray, "S H"]) -> Float[np.ndarray, "S H"]:
        """Returns the values of `S` paths of x that follow a history of values.

        >>> Transformation(log=False, difference=1).continued(np.array([3.0, 5.0]), np.array([[1.0, 1.0]]))
        array([[6., 7.]])
        """
        z = np.broadcast_to(self.level(history), (len(paths), len(history)))
        last = self.base(np.append(z[0], np.zeros(self.difference)))[len(history) :]  # of the first d steps
        levels = np.zeros_like(paths)
        for step in range(paths.shape[1]):
            before = step - self.difference
            base = 0.0 if self.difference == 0 else last[step] if before < 0 else levels[:, before]
            levels[:, step] = paths[:, step] + self.location + base
        return self.of_level(levels)

    def directly(
        self, history: Float[np.ndarray, " T"], quantiles: Float[np.ndarray, "Q H"]
    ) -> Float[np.ndarray, "Q H"]:
        """Returns the values for quantiles of x of the steps after a history, each with the base known at its end.

        >>> Transformation(log=False, difference=1).directly(np.array([3.0, 5.0]), np.array([[1.0, 1.0]]))
        array([[6., 6.]])
        """
        horizon = quantiles.shape[1]
        z = np.append(self.level(history), np.full(horizon, np.nan))
        base = [self.base(z, ahead + 1)[len(history) + ahead] for ahead in range(horizon)]
        return self.of_level(quantiles + self.location + np.array(base))


def fitted(values: Float[np.ndarray, " T"], log: bool, difference: int, center: bool) -> tuple[Transformation, float]:
    """Returns the transformation of a series, with its mean as the location if `center`, and the scale of x.

    The scale is the mean absolute value, 1 if that is 0, as for a constant series.
    """
    transformation = Transformation(log, difference)
    x = transformation.forward(values)
    known = x[~np.isnan(x)]
    if center and len(known):
        transformation = transformation._replace(location=float(known.mean()))
        known = known - transformation.location
    return transformation, float(np.abs(known).mean()) if len(known) and np.abs(known).mean() > 0 else 1.0
