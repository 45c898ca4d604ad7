"""The data sets that come with the experiments, a folder each, beside all that TFDS itself knows."""

import hashlib
import importlib
import lzma
import os
import pkgutil
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def builder(name: str, data_dir: str | os.PathLike[str] | None = None) -> "tfds.core.DatasetBuilder":
    """Builder of a data set by its name: `brown/press`, `cmudict`, or any name of TFDS.

    Args:
      name: `name`, `name/config` or `name/config:version`.
      data_dir: where prepared data sets lie; by default `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.

    Raises:
      ValueError: neither this folder nor TFDS knows the name.
    """
    import tensorflow_datasets as tfds

    own = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
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
        raise ValueError(f"{name}: no data set of TFDS and none of ours, {', '.join(own)}{meant}") from None


def part_of(name: str, *, validation: int, test: int) -> str:
    """Assigns an example to the part it is in whatever else the data hold.

    Args:
      name: what the examples that belong together have in common.
      validation: percent of the names for this part.
      test: likewise.

    >>> [part_of(name, validation=10, test=20) for name in ("do", "re", "yes")]
    ['train', 'validation', 'test']
    """
    percentile = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % 100
    return "train" if percentile < 100 - validation - test else "validation" if percentile < 100 - test else "test"


def read_lines(path: Path) -> list[str]:
    """Reads the lines of an xz file, which line feeds end and nothing else.

    Raises:
      ValueError: the file is damaged.
    """
    try:
        return lzma.decompress(path.read_bytes()).decode().removesuffix("\n").split("\n")
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: damaged: {error}") from error
