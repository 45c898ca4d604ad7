"""Training, validation and test pairs of source and target texts, from any TFDS data set with two text features."""

from typing import Any, NamedTuple

from seqjax.data.splits import cut_missing_parts, read_splits


class PairSplits(NamedTuple):
    """The pairs `(source, target)` of the training, validation and test sets."""

    train: list[tuple[str, str]]
    validation: list[tuple[str, str]]
    test: list[tuple[str, str]]


def read_pair_dataset(builder: Any, source: str = "source", target: str = "target") -> PairSplits:
    """Reads the pairs of a `tfds.core.DatasetBuilder`, preparing the data set first if necessary.

    The data set is prepared and read as `array_record`, which does not need TensorFlow. Each missing part is cut from
    the end of the training pairs, 5% of them.

    Args:
      builder: a builder with two text features, such as a translation data set with one feature per language.
      source: name of the source feature, such as `en`.
      target: name of the target feature, such as `fr`.

    Raises:
      ValueError: there is no such text feature or no split `train`, a part is empty, or a prepared file is damaged.
    """
    import tensorflow_datasets as tfds

    name = builder.info.full_name
    texts = [key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.Text)]
    for argument, feature in (("source", source), ("target", target)):
        if feature not in texts:
            raise ValueError(f"{name}: {argument}: expected one of the text features {texts}, got {feature!r}")
    parts = {
        split: [(example[source].decode(), example[target].decode()) for example in examples]
        for split, examples in read_splits(builder).items()
    }
    try:
        return PairSplits(*cut_missing_parts(**parts))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
