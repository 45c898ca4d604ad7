"""Time series in the long form as TFDS data sets, one row for each time; `y` is NaN where a value is missing.

    air_passengers    thousands of international airline passengers, monthly, 1949 to 1960 (Box and Jenkins 1970)
    sp500, nasdaq     closing values of the stock indices, trading days, 1999 to 2018
    vix               the volatility index of the S&P 500, trading days, 2014 to 2019
    wti               price of a barrel of oil (West Texas Intermediate) in US dollars, trading days, 1986 to 2019
    ecg               five minutes of an electrocardiogram in millivolt, 360 values a second, with many ventricular
                      beats (record 208 of the MIT-BIH Arrhythmia Database; Moody and Mark 2001)
    sunspots          mean number of sunspots, yearly, 1700 to 2008
    co2               carbon dioxide on Mauna Loa in parts per million, weekly, 1958 to 2001 (Keeling and Whorf 2004)

The files `NAME.csv.xz` hold `ds,y` in each line. The last two are read from the installed package `statsmodels`.
"""

import csv
import math
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from experiments.datasets import read_lines

FOLDER = Path(__file__).parent
OWN = ("air_passengers", "ecg", "nasdaq", "sp500", "vix", "wti")
OF_STATSMODELS = ("co2", "sunspots")


def read_rows(name: str) -> Iterator[tuple[str, float]]:
    """Reads the time and the value of each row of a series.

    Raises:
      ModuleNotFoundError: `statsmodels` is not installed.
      ValueError: the file is damaged.
    """
    if name in OWN:
        path = FOLDER / f"{name}.csv.xz"
        lines = read_lines(path)
    else:
        try:
            package = metadata.distribution("statsmodels")
        except metadata.PackageNotFoundError:
            raise ModuleNotFoundError(
                f"the data set series/{name} needs its file: pip install statsmodels", name="statsmodels"
            ) from None
        path = Path(str(package.locate_file(f"statsmodels/datasets/{name}/{name}.csv")))
        lines = path.read_text("utf-8").splitlines()[1:]  # without the names of the columns
    for number, row in enumerate(csv.reader(lines), 1):
        try:
            time, value = row
            if name == "co2":
                time = f"{time[:4]}-{time[4:6]}-{time[6:]}"
            yield time, float(value) if value else math.nan
        except ValueError:
            raise ValueError(f"{path}: row {number}: expected a time and a number, got {','.join(row)!r}") from None


class Series(tfds.core.GeneratorBasedBuilder):
    """Time series, one row for each time."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in sorted([*OWN, *OF_STATSMODELS])]

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "unique_id": tfds.features.Text(),
            "ds": tfds.features.Text(),
            "y": tfds.features.Scalar(np.float32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Time series in the long form.",
            features=tfds.features.FeaturesDict(features),
            license="see the file LICENSE in experiments/datasets/series",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download
        return {"train": self._generate_examples(self.builder_config.name)}

    def _generate_examples(self, name: str) -> Iterator[tuple[int, dict[str, object]]]:
        for number, (time, value) in enumerate(read_rows(name)):
            yield number, {"unique_id": name, "ds": time, "y": value}
