"""Training, validation and test pairs of texts: a source and what is to be made of it, of any TFDS data set."""

from typing import Any, NamedTuple

from seqjax.data.splits import cut_missing_parts, read_splits


class PairSplits(NamedTuple):
    """The pairs `(source, target)` to train on, those to choose by, and those to report."""

    train: list[tuple[str, str]]
    validation: list[tuple[str, str]]
    test: list[tuple[str, str]]


def read_pair_dataset(builder: Any, source: str = "source", target: str = "target") -> PairSplits:
    """Reads the pairs of a `tfds.core.DatasetBuilder`, preparing the data set first where that has not been done.

    Prepared and read as `array_record`, which needs no TensorFlow. Parts that the data set lacks are cut from the end
    of its training pairs, 5% each.

    Args:
      builder: a builder with two text features, as the translation sets have them: their features are languages.
      source: name of the feature that is read, `en`, say.
      target: name of the feature to be made of it, `fr`, say.

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
