"""Labelled training, validation and test texts, from a folder or from any TFDS data set with a text and a label."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.data.splits import read_splits
from seqjax.data.text import read_utf8

Labelled = tuple[str, int]  # a text and its class index


class LabelledSplits(NamedTuple):
    """The labelled texts of the training, validation and test sets."""

    train: list[Labelled]
    validation: list[Labelled]
    test: list[Labelled]


def split_labelled(
    train: Iterable[Labelled],
    validation: Iterable[Labelled] | None = None,
    test: Iterable[Labelled] | None = None,
) -> LabelledSplits:
    """Splits each missing part off the training texts: every tenth text of each class.

    If both are missing, the ninth of every ten texts of a class, in order, goes to validation and the tenth to test.

    Raises:
      ValueError: there are fewer than two training classes, or a part is empty.

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
        raise ValueError(f"train: expected texts of at least two classes, got {len(seen)}")
    for name, part in parts.items():
        if not part:
            raise ValueError(f"{name}: empty: no class has enough texts to split ({max(seen.values())})")
    return LabelledSplits(**parts)


def read_labelled_folder(path: str | os.PathLike[str]) -> tuple[LabelledSplits, list[str]]:
    """Reads the texts of a folder, one UTF-8 file `<class>/<name>.txt` each, and splits them into parts.

    Of several equal texts, only the first is kept. In the order of file names, the ninth of every ten texts of a class
    goes to validation and the tenth to test.

    Returns:
      The parts, and the class names in alphabetical order.

    Raises:
      OSError: there is no such folder, or a file cannot be read.
      ValueError: there are fewer than two classes, a class has no texts, there are too few texts to split, two classes
        share a text, or a text is empty or not UTF-8.
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
            raise ValueError(f"{file}: the same text as {first[text]}, in another class")
    labelled = [(text, classes.index(file.parent.name)) for text, file in first.items()]
    try:
        return split_labelled(labelled), classes
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_labelled_dataset(builder: Any, text: str = "text", label: str = "label") -> tuple[LabelledSplits, list[str]]:
    """Reads the texts and labels of a `tfds.core.DatasetBuilder`, preparing the data set first if necessary.

    The data set is prepared and read as `array_record`, which does not need TensorFlow. Missing parts are split off the
    training texts, a tenth of each class.

    Args:
      builder: a builder with a text feature and a class label.
      text: name of the text feature.
      label: name of the feature to predict from the text.

    Returns:
      The parts, and the name of each class.

    Raises:
      ValueError: there is no such feature or no split `train`, there are fewer than two training classes, a text has
        no class, a part is empty, or a prepared file is damaged.
    """
    import tensorflow_datasets as tfds

    name = builder.info.full_name
    for argument, feature, kind in (("text", text, tfds.features.Text), ("label", label, tfds.features.ClassLabel)):
        known = [key for key, of in builder.info.features.items() if isinstance(of, kind)]
        if feature not in known:
            there_are = known or "none"
            raise ValueError(
                f"{name}: {argument}: expected a {kind.__name__} feature (available: {there_are}), got {feature!r}"
            )
    parts = {
        split: [(example[text].decode(), int(example[label])) for example in examples]
        for split, examples in read_splits(builder).items()
    }
    for split, examples in parts.items():
        if any(number < 0 for _, number in examples):
            raise ValueError(f"{name}: {split}: {label}: expected a class for each text, got -1 (no label)")
    try:
        return split_labelled(**parts), builder.info.features[label].names
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
