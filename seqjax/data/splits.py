"""Training, validation and test parts of any data set: read through TFDS, and cut where a part is missing."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

Part = TypeVar("Part", bound=Sequence)

SPLITS = ("train", "validation", "test")

READ_AT_ONCE = 1000  # examples; to read them one by one takes more than twice the time


def cut_missing_parts(train: Part, validation: Part | None = None, test: Part | None = None) -> tuple[Part, Part, Part]:
    """Cuts each part that is missing, 5% of the items, from the end of the training part.

    With both missing: the first 90%, the next 5% and the last 5%, which joined are the whole again.

    Raises:
      ValueError: a part is empty.

    >>> cut_missing_parts("all work and no play", test="makes")
    ('all work and no pla', 'y', 'makes')
    """
    missing = sum(part is None for part in (validation, test))
    cuts = [len(train) * (100 - 5 * k) // 100 for k in range(missing, -1, -1)]
    cut_off = (train[start:end] for start, end in pairwise(cuts))
    parts = (
        train[: cuts[0]],
        next(cut_off) if validation is None else validation,
        next(cut_off) if test is None else test,
    )
    for name, part in zip(SPLITS, parts, strict=True):
        if not part:
            unit = "characters" if isinstance(train, str) else "examples"
            raise ValueError(f"{name}: empty: the data are too short ({len(train)} {unit}) to be cut into parts")
    return parts  # type: ignore[return-value]  # a slice is of the kind that is cut, which Sequence does not tell


def read_splits(builder: Any) -> dict[str, Iterator[dict[str, Any]]]:
    """Gives the examples of each of `SPLITS` that a `tfds.core.DatasetBuilder` has, in their order.

    Prepares the data set first where that has not been done. Prepared and read as `array_record`, which needs no
    TensorFlow.

    Raises:
      ValueError: there is no split `train`, or a prepared file is damaged.
    """
    builder.download_and_prepare(file_format="array_record")
    if "train" not in builder.info.splits:
        name, splits = builder.info.full_name, sorted(builder.info.splits)
        raise ValueError(f"{name}: expected a split 'train', got {splits}")
    return {split: _read(builder, split) for split in SPLITS if split in builder.info.splits}


def _read(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    try:
        examples = builder.as_data_source(split)
        for start in range(0, len(examples), READ_AT_ONCE):
            yield from examples.__getitems__(range(start, min(start + READ_AT_ONCE, len(examples))))
    except RuntimeError as error:
        where = builder.get_file_spec(split)
        raise ValueError(f"{where}: damaged ({error}); delete {builder.data_path} to prepare it anew") from error
