"""Time series in the long form of the field: one row for each series and time, in a CSV or Parquet file.

    unique_id,ds,y,price
    bread,2024-01-01,12,2.5
    bread,2024-01-02,,2.5

`ds` is a date or time in ISO 8601, or an integer. An empty `y` is a missing value. Further columns are covariates,
which must be numbers; rows after the last `y` of a series hold its future covariates. Without a column `unique_id`, the
file is one series. Compressed CSV files (gz, xz) are read as they are.

Repaired, and reported in `SeriesTable.repairs`: rows out of order are sorted, and missing times become missing values.
Refused, with file, line and series: a duplicate time, a `y` that is not a finite number, a covariate that is missing or
not a finite number, and times that do not fit on one regular grid.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from seqjax.data.splits import read_splits

if TYPE_CHECKING:
    import pandas as pd

MONTHS = {1: "M", 3: "Q", 12: "Y"}


class Series(NamedTuple):
    """One series on a regular grid of `T` times, with `C` covariates."""

    name: str
    times: np.ndarray  # datetime64 or int64, [T]
    values: Float[np.ndarray, " T"]  # NaN where missing
    covariates: Float[np.ndarray, "T C"]  # NaN where a time is missing

    @property
    def known(self) -> int:
        """The number of steps up to the last value; only covariates follow."""
        return int(np.flatnonzero(~np.isnan(self.values))[-1]) + 1


class SeriesTable(NamedTuple):
    """The series of a file, on grids of one frequency."""

    series: tuple[Series, ...]
    covariates: tuple[str, ...]  # names
    frequency: str  # as pandas names it, such as MS (start of each month), D or 15min; the step of integers, such as 1
    repairs: tuple[str, ...]  # what was repaired, a sentence each


def read_series(path: str | os.PathLike[str]) -> SeriesTable:
    r"""Reads the series of a file.

    Raises:
      ValueError: if the file has not the form of the module's docstring; the message names file, line and series.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     _ = file.write("ds,y\n2024-01-01,1\n2024-03-01,3\n2024-02-01,\n")
    ...     file.flush()
    ...     table = read_series(file.name)
    >>> table.frequency, table.series[0].values, table.repairs
    ('MS', array([ 1., nan,  3.]), ('1 row(s) out of order were sorted',))
    """
    import pandas as pd

    path = Path(path)
    parquet = path.suffix == ".parquet"
    try:
        frame = pd.read_parquet(path) if parquet else pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError, EOFError) as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    return make_table(frame, str(path), first_line=1 if parquet else 2)


def read_series_dataset(builder: Any) -> SeriesTable:
    """Reads the series of a `tfds.core.DatasetBuilder`, preparing the data set first if necessary.

    An example is one row of the long form, with the features `unique_id`, `ds` and `y`, and covariates.

    Raises:
      ValueError: if a feature is missing, or as `read_series`.
    """
    import pandas as pd

    features = builder.info.features
    if not {"unique_id", "ds", "y"} <= set(features):
        raise ValueError(f"{builder.info.full_name}: expected the features unique_id, ds and y, got {sorted(features)}")
    examples = [example for part in read_splits(builder).values() for example in part]
    columns = {name: [example[name] for example in examples] for name in ("unique_id", "ds", "y", *features)}
    texts = {
        name: [value.decode() if isinstance(value, bytes) else value for value in values]
        for name, values in columns.items()
    }
    return make_table(pd.DataFrame(texts), builder.info.full_name)


def make_table(frame: "pd.DataFrame", source: str, first_line: int = 1) -> SeriesTable:
    """Makes a table of series from rows in the long form.

    Args:
      frame: the rows, with text or numbers in their columns.
      source: what messages call the data, such as the name of the file.
      first_line: the number of the first row in messages.

    Raises:
      ValueError: as `read_series`.
    """
    rows = _Rows(frame, source, first_line)
    times = rows.times()
    order = {name: _in_order(rows, times, places) for name, places in rows.of_series().items()}
    frequency = _frequency([times[places] for places in order.values()], source)
    values, names = rows.numbers("y", may_be_empty=True), rows.covariates()
    covariates = np.stack([values, *(rows.numbers(name) for name in names)], axis=1)[:, 1:]

    series = []
    for name, places in order.items():
        grid = _grid(times[places[0]], times[places[-1]], frequency)
        steps = np.searchsorted(grid, times[places])
        off = places[grid[np.minimum(steps, len(grid) - 1)] != times[places]]
        if len(off):
            raise rows.error(off[0], "ds", f"times of the frequency {frequency}", _text(times[off[0]]))
        if np.isnan(values[places]).all():
            raise rows.error(places[0], "y", "at least one value", "none in the whole series")
        made = Series(name, grid, np.full(len(grid), np.nan), np.full((len(grid), len(names)), np.nan))
        made.values[steps], made.covariates[steps] = values[places], covariates[places]
        series.append(made)
    repairs = {
        "row(s) out of order were sorted": sum(int((np.diff(places) < 0).sum()) for places in order.values()),
        "missing time(s) were filled in with missing values": sum(len(one.times) for one in series) - len(frame),
    }
    return SeriesTable(
        tuple(series), names, frequency, tuple(f"{count} {text}" for text, count in repairs.items() if count)
    )


class _Rows(NamedTuple):
    """The rows of a table, with what messages call them."""

    frame: "pd.DataFrame"
    source: str
    first_line: int

    def names(self) -> "pd.Series":
        import pandas as pd

        if "unique_id" in self.frame:
            return self.frame["unique_id"].astype(str)
        return pd.Series(Path(self.source).name.partition(".")[0], self.frame.index)

    def of_series(self) -> dict[str, np.ndarray]:
        """Lists the rows of each series."""
        names = self.names()
        return {str(name): np.sort(rows) for name, rows in names.groupby(names, sort=False).indices.items()}

    def covariates(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self.frame.columns if name not in ("unique_id", "ds", "y"))

    def numbers(self, column: str, may_be_empty: bool = False) -> np.ndarray:
        """Reads the numbers of a column, NaN where a row is empty."""
        import pandas as pd

        texts = self.frame[column]
        empty = (texts.isna() | (texts.astype(str).str.strip() == "")).to_numpy()
        read = pd.to_numeric(texts.where(~empty), errors="coerce").to_numpy(np.float64)
        wrong = np.flatnonzero(~np.isfinite(read) & ~(empty & may_be_empty))
        if len(wrong):
            raise self.error(
                wrong[0], column, "a finite number", "nothing" if empty[wrong[0]] else texts.iloc[wrong[0]]
            )
        return read

    def times(self) -> np.ndarray:
        """Reads the times as int64 if all are integers, else as datetime64."""
        import pandas as pd

        if "ds" not in self.frame or "y" not in self.frame:
            columns = ", ".join(map(str, self.frame.columns))
            raise ValueError(
                f"{self.source}: expected the columns ds, y and, for many series, unique_id, got {columns}"
            )
        if self.frame.empty:
            raise ValueError(f"{self.source}: expected at least one row, got none")
        texts = self.frame["ds"]
        if pd.api.types.is_datetime64_any_dtype(texts):
            times = texts
        elif texts.astype(str).str.fullmatch(r"\s*-?\d+\s*").all():
            return texts.astype(np.int64).to_numpy()
        else:
            times = pd.to_datetime(texts, errors="coerce", format="ISO8601", utc=True)
        wrong = np.flatnonzero(times.isna())
        if len(wrong):
            expected = "a time in ISO 8601, such as 2024-01-31, or an integer"
            raise self.error(wrong[0], "ds", expected, texts.iloc[wrong[0]] or "nothing")
        return (times if times.dt.tz is None else times.dt.tz_convert(None)).to_numpy("datetime64[s]")

    def error(self, row: int | np.integer, column: str, expected: str, got: Any) -> ValueError:
        series = f"line {row + self.first_line}: series {self.names().iloc[row]}"
        return ValueError(f"{self.source}, {series}: {column}: expected {expected}, got {got}")


def _in_order(rows: _Rows, times: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Sorts the rows of one series by time."""
    places = places[np.argsort(times[places], kind="stable")]
    twice = np.flatnonzero(times[places][1:] == times[places][:-1])
    if len(twice):
        first, second = places[twice[0] : twice[0] + 2]
        again = f"{_text(times[second])}, as in line {first + rows.first_line}"
        raise rows.error(second, "ds", "each time once", again)
    return places


def _frequency(times: list[np.ndarray], source: str) -> str:
    """Finds the frequency of the grid on which all times lie."""
    import pandas as pd

    together = np.concatenate(times)
    gaps = np.concatenate([np.diff(of_one) for of_one in times])
    if not len(gaps):
        raise ValueError(f"{source}: ds: expected at least two times of one series")
    if np.issubdtype(together.dtype, np.integer):
        return str(np.gcd.reduce(gaps))
    days, months = together.astype("datetime64[D]"), together.astype("datetime64[M]")
    if (days == together).all():
        next_day = days + np.timedelta64(1, "D")
        at_start, at_end = (days == months).all(), (next_day == next_day.astype("datetime64[M]")).all()
        if at_start or at_end:
            steps = np.gcd.reduce(
                np.concatenate([np.diff(of_one.astype("datetime64[M]")) for of_one in times]).astype(int)
            )
            unit = max(size for size in MONTHS if steps % size == 0)
            letter, count = MONTHS[unit], "" if steps == unit else str(steps // unit)
            anchor = "" if letter == "M" else "-" + pd.Timestamp(days[0]).strftime("%b").upper()
            return f"{count}{letter}{'S' if at_start else 'E'}{anchor}"
        step = int(np.gcd.reduce(gaps.astype("timedelta64[D]").astype(int)))
        if step == 1 and np.is_busday(days).all():
            return "B"
        if step % 7 == 0:
            return f"{'' if step == 7 else step // 7}W-{pd.Timestamp(days[0]).strftime('%a').upper()}"
    return pd.tseries.frequencies.to_offset(pd.Timedelta(int(np.gcd.reduce(gaps.astype(int))), "s")).freqstr


def _grid(first: Any, last: Any, frequency: str) -> np.ndarray:
    """Lists the times of a frequency from the first to the last."""
    import pandas as pd

    if np.issubdtype(type(first), np.integer):
        return np.arange(first, last + 1, int(frequency))
    return pd.date_range(first, last, freq=frequency).to_numpy("datetime64[s]")


def times_after(series: Series, frequency: str, steps: int) -> np.ndarray:
    """Lists the times of the steps that follow the last value of a series.

    >>> series = Series("a", np.array([3, 5]), np.array([1.0, np.nan]), np.zeros((2, 0)))
    >>> times_after(series, "2", 3)
    array([5, 7, 9])
    """
    import pandas as pd

    last = series.times[series.known - 1]
    if np.issubdtype(series.times.dtype, np.integer):
        return last + int(frequency) * np.arange(1, steps + 1)
    return pd.date_range(last, periods=steps + 1, freq=frequency).to_numpy("datetime64[s]")[1:]


def _text(time: Any) -> str:
    return str(time).removesuffix("T00:00:00")
