"""Training, validation and test sentences with a tag for each word, from any TFDS data set."""

from typing import Any, NamedTuple

from seqjax.data.splits import cut_missing_parts, read_splits


class TaggedSentence(NamedTuple):
    """The words of a sentence and one tag for each word."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


class TagSplits(NamedTuple):
    """The sentences of the training, validation and test sets."""

    train: list[TaggedSentence]
    validation: list[TaggedSentence]
    test: list[TaggedSentence]


def read_tag_dataset(builder: Any, words: str = "tokens", tags: str = "tags") -> TagSplits:
    """Reads the sentences of a `tfds.core.DatasetBuilder`, preparing the data set first if necessary.

    The data set is prepared and read as `array_record`, which does not need TensorFlow. Each missing part is cut from
    the end of the training sentences, 5% of them. Sentences without words are dropped.

    Args:
      builder: a builder with two sequence features of equal length, such as `conll2003`.
      words: name of the feature with the words, a sequence of texts.
      tags: name of the feature with the tags, such as `pos`: a sequence of texts or class labels.

    Raises:
      ValueError: there is no such feature or no split `train`, a part is empty, the numbers of words and tags of a
        sentence differ, or a prepared file is damaged.
    """
    import tensorflow_datasets as tfds

    name = builder.info.full_name
    inner: dict[str, Any] = {key: getattr(feature, "feature", None) for key, feature in builder.info.features.items()}
    for argument, feature, kinds in (
        ("words", words, tfds.features.Text),
        ("tags", tags, (tfds.features.Text, tfds.features.ClassLabel)),
    ):
        fitting = [key for key in inner if isinstance(inner[key], kinds)]
        if feature not in fitting:
            raise ValueError(f"{name}: {argument}: expected one of the sequence features {fitting}, got {feature!r}")
    spell = inner[tags].int2str if isinstance(inner[tags], tfds.features.ClassLabel) else bytes.decode
    parts: dict[str, list[TaggedSentence]] = {}
    for split, examples in read_splits(builder).items():
        parts[split] = []
        for number, example in enumerate(examples):
            sentence = TaggedSentence(tuple(map(bytes.decode, example[words])), tuple(map(spell, example[tags])))
            if len(sentence.words) != len(sentence.tags):
                counts = f"{len(sentence.words)} words and {len(sentence.tags)} tags"
                raise ValueError(f"{name}: {split}, example {number}: expected a tag for each word, got {counts}")
            if sentence.words:
                parts[split].append(sentence)
    try:
        return TagSplits(*cut_missing_parts(**parts))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
