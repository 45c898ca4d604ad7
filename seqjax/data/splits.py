"""Training, validation and test parts of a data set: reading them with TFDS and creating the missing ones."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

Part = TypeVar("Part", bound=Sequence)

SPLITS = ("train", "validation", "test")

READ_AT_ONCE = 1000  # examples; reading them one by one is slower


def cut_missing_parts(train: Part, validation: Part | None = None, test: Part | None = None) -> tuple[Part, Part, Part]:
    """Cuts each missing part, 5% of the items, from the end of the training part.

    If both are missing, the parts are the first 90%, the next 5% and the last 5%; joined, they are the whole again.

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
            raise ValueError(f"{name}: empty: the data are too short ({len(train)} {unit}) to split")
    return parts  # type: ignore[return-value]  # a slice has the type of the whole, which Sequence does not express


def read_splits(builder: Any) -> dict[str, Iterator[dict[str, Any]]]:
    """Returns the examples, in order, of each of `SPLITS` that a `tfds.core.DatasetBuilder` has.

    Prepares the data set first if necessary. It is prepared and read as `array_record`, which does not need TensorFlow.

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
        raise ValueError(f"{where}: damaged ({error}); delete {builder.data_path} to prepare it again") from error
