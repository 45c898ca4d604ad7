"""The series that come with the experiments: their lengths, frequencies and known values."""

import lzma

import numpy as np
import pytest

from experiments import datasets
from experiments.datasets.series import series
from seqjax.data.series import read_series_dataset

KNOWN = {  # frequency, number of steps, missing values, first and last value
    "air_passengers": ("MS", 144, 0, 112, 432),
    "sp500": ("B", 5216, 185, 1228.10, 2506.85),
    "vix": ("B", 1305, 46, 13.76, 25.45),
    "co2": ("W-SAT", 2284, 59, 316.1, 371.5),
    "sunspots": ("1", 309, 0, 5, 2.9),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_series_is_read_whole(name, tmp_path):
    table = read_series_dataset(datasets.builder(f"series/{name}", tmp_path))
    [one] = table.series
    values = one.values[~np.isnan(one.values)]
    found = table.frequency, len(one.times), len(one.values) - len(values), values[0], values[-1]
    assert found == (*KNOWN[name][:3], *(pytest.approx(value) for value in KNOWN[name][3:]))


def test_the_electrocardiogram_lasts_five_minutes():
    rows = list(series.read_rows("ecg"))
    assert len(rows) == 5 * 60 * 360
    assert -3.5 < min(value for _, value in rows) and max(value for _, value in rows) < 3.7  # millivolt


def test_a_damaged_row_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(series, "FOLDER", tmp_path)
    (tmp_path / "vix.csv.xz").write_bytes(lzma.compress(b"2014-01-03,13.76\n2014-01-06;13.55\n"))
    with pytest.raises(ValueError, match=r"vix.csv.xz: row 2: expected a time and a number, got '2014-01-06;13.55'"):
        list(series.read_rows("vix"))
