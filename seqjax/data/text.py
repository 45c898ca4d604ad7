"""Training, validation and test text, from a UTF-8 file or from any TFDS data set with a text feature."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.data.splits import cut_missing_parts, read_splits

DOCUMENT_BREAK = "\n\n"
"""Separates the examples of a data set in the running text."""


class TextSplits(NamedTuple):
    """The texts of the training, validation and test sets."""

    train: str
    validation: str
    test: str


def split_text(train: str, validation: str | None = None, test: str | None = None) -> TextSplits:
    """Cuts each missing part, 5% of the characters, from the end of the training text.

    If both are missing, the parts are the first 90%, the next 5% and the last 5%; joined, they are the text again.

    Raises:
      ValueError: a part is empty.

    >>> [len(part) for part in split_text("all work and no play " * 100)]
    [1890, 105, 105]
    """
    return TextSplits(*cut_missing_parts(train, validation, test))


def read_utf8(path: str | os.PathLike[str]) -> str:
    """Reads a UTF-8 file, without the byte order mark that some editors put at its start.

    Raises:
      OSError: the file cannot be read.
      ValueError: the file is not UTF-8; the message names the file, line and byte.
    """
    data = Path(path).read_bytes()
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ValueError(f"{path}: line {line}, byte {column}: not UTF-8 (0x{data[error.start]:02x})") from None


def read_text_file(path: str | os.PathLike[str]) -> TextSplits:
    """Reads a UTF-8 file and splits it into the first 90%, the next 5% and the last 5% of its characters.

    Raises:
      OSError: the file cannot be read.
      ValueError: the file is empty, too short to split, or not UTF-8; the message names the file and, if it is not
        UTF-8, the line and byte.
    """
    text = read_utf8(path)
    try:
        return split_text(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_text_dataset(builder: Any) -> TextSplits:
    """Reads the text of a `tfds.core.DatasetBuilder`, preparing the data set first if necessary.

    The examples of a split are its documents, joined in order with an empty line between them. The data set is prepared
    and read as `array_record`, which does not need TensorFlow. Each missing part is cut from the end of the training
    text.

    Args:
      builder: a builder with a text feature named `text`, or with exactly one text feature.

    Raises:
      ValueError: there is no such feature or no split `train`, a part is empty, or a prepared file is damaged.
    """
    import tensorflow_datasets as tfds

    name = builder.info.full_name
    texts = [key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.Text)]
    if "text" not in texts and len(texts) != 1:
        raise ValueError(f"{name}: expected a feature 'text' or one text feature, got {builder.info.features}")
    feature = "text" if "text" in texts else texts[0]
    parts = {
        split: DOCUMENT_BREAK.join(example[feature].decode() for example in examples)
        for split, examples in read_splits(builder).items()
    }
    return split_text(**parts)
