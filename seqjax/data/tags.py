"""Training, validation and test sentences, each word with its tag, of any TFDS data set."""

from typing import Any, NamedTuple

from seqjax.data.splits import cut_missing_parts, read_splits


class TaggedSentence(NamedTuple):
    """The words of a sentence and as many tags."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


class TagSplits(NamedTuple):
    """The sentences to train on, those to choose by, and those to report."""

    train: list[TaggedSentence]
    validation: list[TaggedSentence]
    test: list[TaggedSentence]


def read_tag_dataset(builder: Any, words: str = "tokens", tags: str = "tags") -> TagSplits:
    """Reads the sentences of a `tfds.core.DatasetBuilder`, preparing the data set first where that has not been done.

    Prepared and read as `array_record`, which needs no TensorFlow. Parts that the data set lacks are cut from the end
    of its training sentences, 5% each; sentences without a word are left out.

    Args:
      builder: a builder with two features that are sequences of one length, as `conll2003` has them.
      words: name of the feature with the words, texts.
      tags: name of the feature with their tags, texts or class labels, `pos`, say.

    Raises:
      ValueError: there is no such feature or no split `train`, a part is empty, a sentence has not as many tags as
        words, or a prepared file is damaged.
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
            raise ValueError(f"{name}: {argument}: expected one of the sequences {fitting}, got {feature!r}")
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
