"""Training, validation and test texts with a label each, of any TFDS data set that has both."""

from typing import Any, NamedTuple

from seqjax.data.splits import cut_missing_parts, read_splits


class LabelledSplits(NamedTuple):
    """The texts with their labels to train on, those to choose by, and those to report."""

    train: list[tuple[str, int]]
    validation: list[tuple[str, int]]
    test: list[tuple[str, int]]


def read_labelled_dataset(builder: Any, text: str = "text", label: str = "label") -> tuple[LabelledSplits, list[str]]:
    """Reads the texts of a `tfds.core.DatasetBuilder` and their labels, preparing the data set first where need be.

    Prepared and read as `array_record`, which needs no TensorFlow. Parts that the data set lacks are cut from the end
    of its training texts, 5% each.

    Args:
      builder: a builder with a text feature and a class label.
      text: name of the feature that is read.
      label: name of the feature that is to be told from it.

    Returns:
      The parts, and the name of each class.

    Raises:
      ValueError: there is no such feature or no split `train`, a part is empty, or a prepared file is damaged.
    """
    import tensorflow_datasets as tfds

    name = builder.info.full_name
    for argument, feature, kind in (("text", text, tfds.features.Text), ("label", label, tfds.features.ClassLabel)):
        known = [key for key, of in builder.info.features.items() if isinstance(of, kind)]
        if feature not in known:
            raise ValueError(
                f"{name}: {argument}: expected a feature of type {kind.__name__}, {known}, got {feature!r}"
            )
    parts = {
        split: [(example[text].decode(), int(example[label])) for example in examples]
        for split, examples in read_splits(builder).items()
    }
    try:
        return LabelledSplits(*cut_missing_parts(**parts)), builder.info.features[label].names
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
