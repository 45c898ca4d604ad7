"""Windows of series as the model reads them: batches for training, and histories at which forecasts begin."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32

from experiments.forecasting.calendar import calendar
from experiments.forecasting.transformation import Transformation, fitted
from seqjax.data.series import Series, times_after


class Prepared(NamedTuple):
    """A series in the units of the model: `T` known steps, and covariates of `H` more."""

    name: str
    times: np.ndarray  # [T + H]
    values: Float[np.ndarray, " T"]  # y, NaN where missing
    covariates: Float[np.ndarray, "T+H C"]
    transformation: Transformation
    scale: float
    ahead: Float[np.ndarray, "T A"]  # x of the step itself or, for direct forecasts, of it and the steps that follow
    train_end: int  # the steps before it are trained on
    validation_start: int
    validation_end: int  # the test part begins


class Windows(NamedTuple):
    """A batch of `B` windows of `T` steps, padded at the end."""

    values: Float[np.ndarray, "B T"]  # x, NaN where missing
    covariates: Float[np.ndarray, "B T C"]
    scale: Float[np.ndarray, " B"]
    lengths: Int32[np.ndarray, " B"]
    targets: Float[np.ndarray, "B T A"]  # NaN where they do not count


def prepare(
    series: Series,
    frequency: str,
    *,
    horizon: int,
    direct: bool,
    test_steps: int,
    validation_steps: int,
    log: bool,
    difference: int,
    center: bool,
    with_calendar: bool,
    refit: bool,
) -> Prepared:
    """Transforms a series, and cuts the test part and, before it, the validation part from its end.

    If `refit`, the validation part is trained on as well. Location and scale of values and covariates are those of the
    training part. Covariates of times after the last row are those of the last row.
    """
    known = series.known
    values, validation_start = series.values[:known], known - test_steps - validation_steps
    train_end = known - test_steps if refit else validation_start
    transformation, scale = fitted(values[:train_end], log, difference, center)
    times = np.concatenate([series.times[:known], times_after(series, frequency, horizon)])
    own = series.covariates[: known + horizon]
    own = np.concatenate([own, np.repeat(own[-1:], known + horizon - len(own), axis=0)])
    mean, spread = np.nanmean(own[:train_end], axis=0), np.nanstd(own[:train_end], axis=0)
    own = np.nan_to_num((own - mean) / np.where(spread > 0, spread, 1))
    covariates = np.concatenate([own, calendar(times)], axis=1) if with_calendar else own
    ahead = [transformation.forward(values, step + 1)[step:] for step in range(horizon if direct else 1)]
    padded = [np.concatenate([x, np.full(known - len(x), np.nan)]) for x in ahead]
    return Prepared(
        series.name, times, values, covariates.astype(np.float32), transformation, scale,
        np.stack(padded, axis=1), train_end, validation_start, known - test_steps,
    )  # fmt: skip


def cut(series: Prepared, start: int, end: int, steps: int, count_from: int, count_to: int) -> Windows:
    """Cuts one window of the steps from `start` to `end`, padded to `steps`.

    Targets count from the step `count_from` on if all that they comprise is before `count_to`.
    """
    start = max(start, 0)
    length = end - start
    values, targets = np.full(steps, np.nan), np.full((steps, series.ahead.shape[1]), np.nan)
    covariates = np.zeros((steps, series.covariates.shape[1]), np.float32)
    values[:length], covariates[:length] = series.ahead[start:end, 0], series.covariates[start:end]
    counts = slice(max(count_from - start, 0), length)
    targets[counts] = series.ahead[start:end][counts]
    last = np.arange(start, start + steps)[:, None] + np.arange(series.ahead.shape[1])
    targets[last >= count_to] = np.nan
    return Windows(
        values.astype(np.float32), covariates, np.float32(series.scale), np.int32(length), targets.astype(np.float32)
    )


def together(windows: Sequence[Windows]) -> Windows:
    """Stacks windows to a batch."""
    return Windows(*(np.stack(parts) for parts in zip(*windows, strict=True)))


def training_batch(series: Sequence[Prepared], steps: int, batch_size: int, seed: int, position: int) -> Windows:
    """Draws windows of the training parts; the batch of a position is the same whatever was drawn before."""
    rng = np.random.default_rng([seed, position])
    ends = np.cumsum([one.train_end for one in series])
    drawn = []
    for place in rng.integers(0, ends[-1], batch_size):
        one = series[int(np.searchsorted(ends, place, side="right"))]
        end = int(rng.integers(min(steps, one.train_end), one.train_end + 1))
        drawn.append(cut(one, end - steps, end, steps, 0, one.train_end))
    return together(drawn)


def scoring_windows(series: Sequence[Prepared], steps: int, horizon: int, part: str) -> Windows:
    """Cuts windows in which each step of the validation or the test part counts once."""
    windows = []
    for one in series:
        first, last = {
            "validation": (one.validation_start, one.validation_end),
            "test": (one.validation_end, len(one.values)),
        }[part]
        for start in range(first, last, horizon):
            end = min(start + horizon, last)
            windows.append(cut(one, end - steps, end, steps, start, last))
    return together(windows)


def histories(series: Sequence[Prepared], origins: Sequence[tuple[int, int]], steps: int, horizon: int) -> Windows:
    """Cuts the steps before each origin, a pair of series and step; the covariates comprise the `horizon` after it."""
    windows = []
    for which, origin in origins:
        one = series[which]
        window = cut(one, origin - steps, origin, steps, origin, origin)
        start = max(origin - steps, 0)
        covariates = np.zeros((steps + horizon, one.covariates.shape[1]), np.float32)
        covariates[: origin + horizon - start] = one.covariates[start : origin + horizon]
        windows.append(window._replace(covariates=covariates))
    return together(windows)
