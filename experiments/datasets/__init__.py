"""The data sets of the experiments: one folder each for those in this repository, and all of TFDS."""

import contextlib
import hashlib
import importlib
import io
import lzma
import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.harness.errors import UsageError, blame

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def builder(name: str, data_dir: str | os.PathLike[str] | None = None) -> "tfds.core.DatasetBuilder":
    """Returns the TFDS builder of a data set: `brown/press`, `cmudict`, or any TFDS name.

    Args:
      name: `name`, `name/config` or `name/config:version`.
      data_dir: folder of the prepared data sets; by default `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.

    Raises:
      ValueError: neither this folder nor TFDS has a data set of this name.
    """
    import tensorflow_datasets as tfds

    own = sorted(path.parent.name for path in Path(__file__).parent.glob("*/*.py") if path.stem == path.parent.name)
    folder, config = re.match("([^/:]*)/?([^:]*)", name).groups()
    if folder in own:
        importlib.import_module(f"{__name__}.{folder}.{folder}")  # registers itself
        known = [of_set.name for of_set in tfds.builder_cls(folder).BUILDER_CONFIGS]
        if config and config not in known:
            raise ValueError(f"{name}: expected one of {known} after {folder}/, got {config!r}")
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        near = get_close_matches(folder, [*own, *tfds.list_builders(with_community_datasets=False)], n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{name}: expected a TFDS data set or one of {', '.join(own)}{meant}") from None


def prepared(name: str) -> "tfds.core.DatasetBuilder":
    """Returns the builder of the data set of `--dataset`, prepared to be read as `array_record`.

    Raises:
      UsageError: if the data set does not exist or cannot be prepared.
    """
    with blame("dataset", name):
        found = builder(name)
        if not found.is_prepared():
            print(f"Preparing {name} in {found.data_dir} (only once).")
        brings_its_data = type(found).__module__.startswith(__name__)  # so TFDS has nothing to download
        try:
            with contextlib.redirect_stdout(io.StringIO()) if brings_its_data else contextlib.nullcontext():
                found.download_and_prepare(file_format="array_record")
        except ImportError as error:
            raise UsageError(f"--dataset={name}: {error}") from error
        return found


def part_of(name: str, *, validation: int, test: int) -> str:
    """Assigns an example to a part by a hash of its name, whatever else the data set holds.

    Args:
      name: shared by the examples that must be in the same part.
      validation: percentage of the names in the validation set.
      test: percentage of the names in the test set.

    >>> [part_of(name, validation=10, test=20) for name in ("do", "re", "yes")]
    ['train', 'validation', 'test']
    """
    percentile = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % 100
    return "train" if percentile < 100 - validation - test else "validation" if percentile < 100 - test else "test"


def read_lines(path: Path) -> list[str]:
    """Reads the lines of an xz file; only a line feed ends a line.

    Raises:
      ValueError: the file is damaged.
    """
    try:
        return lzma.decompress(path.read_bytes()).decode().removesuffix("\n").split("\n")
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: damaged: {error}") from error
