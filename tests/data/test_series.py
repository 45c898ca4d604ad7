"""Series in the long form: frequencies, repairs, and errors that name file, line and series."""

import gzip
import lzma

import numpy as np
import pandas as pd
import pytest

from seqjax.data.series import make_table, read_series, times_after

FREQUENCIES = ["MS", "ME", "QS-APR", "YE-DEC", "W-SUN", "B", "D", "2D", "h", "15min", "7s"]


def file(tmp_path, text, name="shop.csv"):
    path = tmp_path / name
    path.write_bytes({".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)(text.encode()))
    return path


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_the_frequency_is_found_though_times_are_missing(frequency):
    times = pd.date_range("2020-01-05", periods=40, freq=frequency)
    kept = np.delete(np.arange(40), [3, 4, 20])
    frame = pd.DataFrame({"ds": times[kept].astype(str), "y": np.arange(40.0)[kept]})
    table = make_table(frame, "shop.csv")
    assert table.frequency == frequency
    [series] = table.series
    assert (series.times == times.to_numpy()).all()
    assert np.isnan(series.values).nonzero()[0].tolist() == [3, 4, 20]
    assert table.repairs == ("3 missing time(s) were filled in with missing values",)
    assert (times_after(series, frequency, 3) == pd.date_range(times[-1], periods=4, freq=frequency)[1:]).all()


def test_many_series_of_unequal_length_and_their_covariates(tmp_path):
    path = file(
        tmp_path,
        "unique_id,ds,y,price\nb,3,1,9\na,1,5,2\na,2,6,3\nb,5,,8\nb,4,2,7\na,3,,4\n",
    )
    table = read_series(path)
    assert (table.frequency, table.covariates) == ("1", ("price",))
    assert table.repairs == ("1 row(s) out of order were sorted",)
    b, a = table.series
    assert (b.name, a.name) == ("b", "a")
    np.testing.assert_array_equal(b.values, [1, 2, np.nan])
    np.testing.assert_array_equal(b.covariates[:, 0], [9, 7, 8])
    assert (a.known, a.times.tolist()) == (2, [1, 2, 3])
    assert times_after(a, table.frequency, 2).tolist() == [3, 4]


@pytest.mark.parametrize("name", ["shop.csv.gz", "shop.csv.xz"])
def test_compressed_files_are_read_as_they_are(tmp_path, name):
    [series] = read_series(file(tmp_path, "ds,y\n2020-01-01,1\n2020-01-02,2\n", name)).series
    assert (series.name, series.values.tolist()) == ("shop", [1, 2])


def test_parquet_is_read(tmp_path):
    times = pd.date_range("2020-01-01", periods=9, freq="D", tz="UTC")
    pd.DataFrame({"unique_id": "a", "ds": times, "y": [1.5, np.nan, *range(7)]}).to_parquet(tmp_path / "shop.parquet")
    table = read_series(tmp_path / "shop.parquet")
    assert table.frequency == "D"
    np.testing.assert_array_equal(table.series[0].values, [1.5, np.nan, *range(7)])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("ds,value\n1,2\n", "expected the columns ds, y and, for many series, unique_id, got ds, value"),
        ("ds,y\n", "expected at least one row, got none"),
        ("ds,y\n1,2\n", "ds: expected at least two times of one series"),
        ("ds,y\n2020-01-01,2\n2020-01-02,two\n", "line 3: series shop: y: expected a finite number, got two"),
        ("ds,y\n1,2\n2,inf\n", "line 3: series shop: y: expected a finite number, got inf"),
        ("ds,y\n1,\n2,\n", "line 2: series shop: y: expected at least one value, got none in the whole series"),
        ("ds,y\nyesterday,2\n2,3\n", "line 2: series shop: ds: expected a time in ISO 8601, such as 2024-01-31, or an "
         "integer, got yesterday"),
        ("ds,y\n2020-01-01,2\n,3\n", "line 3: series shop: ds: expected a time .*, got nothing"),
        ("unique_id,ds,y\na,1,2\nb,1,2\na,2,2\na,1,3\n", "line 5: series a: ds: expected each time once, got 1, as in "
         "line 2"),
        ("ds,y,price\n1,2,3\n2,3,\n", "line 3: series shop: price: expected a finite number, got nothing"),
        ("ds,y\n2020-01-31,2\n2020-02-29,3\n2020-03-31,x\n", "line 4: .* got x"),
    ],
)  # fmt: skip
def test_bad_rows_are_named(tmp_path, rows, message):
    path = file(tmp_path, rows)
    with pytest.raises(ValueError, match=f"^{path}[,:] {message}$"):
        read_series(path)


def test_a_file_that_is_no_table_is_named(tmp_path):
    path = file(tmp_path, 'ds,y\n1,2,3,"4\n')
    with pytest.raises(ValueError, match=f"^{path}: "):
        read_series(path)
