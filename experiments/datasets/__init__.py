"""The data sets that come with the experiments, a folder each, beside all that TFDS itself knows."""

import importlib
import importlib.util
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def builder(name: str, data_dir: str | os.PathLike[str] | None = None) -> "tfds.core.DatasetBuilder":
    """Builder of a data set by its name: `brown/press`, `cmudict`, or any name of TFDS.

    Args:
      name: `name`, `name/config` or `name/config:version`.
      data_dir: where prepared data sets lie; by default `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.

    Raises:
      tfds.core.DatasetNotFoundError: neither this folder nor TFDS knows the name.
    """
    import tensorflow_datasets as tfds

    own, *_ = re.split("[/:]", name)
    if importlib.util.find_spec(f"{__name__}.{own}") is not None:
        importlib.import_module(f"{__name__}.{own}.{own}")  # registers itself
    return tfds.builder(name, data_dir=data_dir)
