"""Training, validation and test texts with a label each: of a folder, or of any TFDS data set that has both."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.data.splits import read_splits
from seqjax.data.text import read_utf8

Labelled = tuple[str, int]  # a text and the number of its class


class LabelledSplits(NamedTuple):
    """The texts with their labels to train on, those to choose by, and those to report."""

    train: list[Labelled]
    validation: list[Labelled]
    test: list[Labelled]


def split_labelled(
    train: Iterable[Labelled],
    validation: Iterable[Labelled] | None = None,
    test: Iterable[Labelled] | None = None,
) -> LabelledSplits:
    """Cuts each part that is missing, a tenth of the texts of each class, from the training texts.

    With both missing: of ten texts of a class, in their order, the ninth is for validation and the tenth for the test.

    Raises:
      ValueError: there are fewer than two classes to train on, or a part is empty.

    >>> [len(part) for part in split_labelled([(f"text {k}", k % 2) for k in range(40)])]
    [32, 4, 4]
    """
    parts: dict[str, list[Labelled]] = {"train": [], "validation": list(validation or ()), "test": list(test or ())}
    cut_off = {8: "validation"} if validation is None else {}
    cut_off |= {9: "test"} if test is None else {}
    seen: defaultdict[int, int] = defaultdict(int)
    for text, label in train:
        parts[cut_off.get(seen[label] % 10, "train")].append((text, label))
        seen[label] += 1
    if len(seen) < 2:
        raise ValueError(f"train: expected texts of two classes or more, got {len(seen)}")
    for name, part in parts.items():
        if not part:
            raise ValueError(f"{name}: empty: no class has enough texts to be cut into parts ({max(seen.values())})")
    return LabelledSplits(**parts)


def read_labelled_folder(path: str | os.PathLike[str]) -> tuple[LabelledSplits, list[str]]:
    """Reads the texts of a folder, each a UTF-8 file `<class>/<name>.txt`, and cuts them into parts.

    Of equal texts the first counts. Of ten texts of a class, by the names of their files, the ninth is for validation
    and the tenth for the test.

    Returns:
      The parts, and the name of each class, in alphabetical order.

    Raises:
      OSError: there is no such folder, or a file cannot be read.
      ValueError: there are fewer than two classes, one without texts, too few to be cut, equal ones of two classes, or
        one that is empty or not UTF-8.
    """
    if not Path(path).is_dir():
        raise NotADirectoryError(f"{path}: expected a folder, found {'a file' if Path(path).exists() else 'nothing'}")
    files = sorted(Path(path).glob("*/*.txt"))
    if not files:
        raise ValueError(f"{path}: expected a folder of files <class>/<name>.txt, got none")
    classes = sorted(folder.name for folder in Path(path).glob("[!.]*") if folder.is_dir())
    without_texts = set(classes) - {file.parent.name for file in files}
    if without_texts:
        raise ValueError(f"{path}: expected files <name>.txt in the folder of each class, got none in {without_texts}")
    first: dict[str, Path] = {}
    for file in files:
        text = read_utf8(file).strip()
        if not text:
            raise ValueError(f"{file}: expected a text, got an empty file")
        if first.setdefault(text, file).parent != file.parent:
            raise ValueError(f"{file}: the same text as {first[text]}, of another class")
    labelled = [(text, classes.index(file.parent.name)) for text, file in first.items()]
    try:
        return split_labelled(labelled), classes
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_labelled_dataset(builder: Any, text: str = "text", label: str = "label") -> tuple[LabelledSplits, list[str]]:
    """Reads the texts of a `tfds.core.DatasetBuilder` and their labels, preparing the data set first where need be.

    Prepared and read as `array_record`, which needs no TensorFlow. Parts that the data set lacks are cut from its
    training texts, a tenth of each class.

    Args:
      builder: a builder with a text feature and a class label.
      text: name of the feature that is read.
      label: name of the feature that is to be told from it.

    Returns:
      The parts, and the name of each class.

    Raises:
      ValueError: there is no such feature or no split `train`, there are fewer than two classes to train on, a part is
        empty, or a prepared file is damaged.
    """
    import tensorflow_datasets as tfds

    name = builder.info.full_name
    for argument, feature, kind in (("text", text, tfds.features.Text), ("label", label, tfds.features.ClassLabel)):
        known = [key for key, of in builder.info.features.items() if isinstance(of, kind)]
        if feature not in known:
            there_are = known or "of which it has none"
            raise ValueError(
                f"{name}: {argument}: expected a feature of type {kind.__name__}, {there_are}, got {feature!r}"
            )
    parts = {
        split: [(example[text].decode(), int(example[label])) for example in examples]
        for split, examples in read_splits(builder).items()
    }
    for split, examples in parts.items():
        if any(number < 0 for _, number in examples):
            raise ValueError(f"{name}: {split}: {label}: expected a class of each text, got -1, which is none")
    try:
        return split_labelled(**parts), builder.info.features[label].names
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
