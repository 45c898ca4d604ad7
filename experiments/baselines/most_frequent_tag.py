"""Tagging baseline: the most frequent tag of each word, regardless of its context."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from seqjax.data import TaggedSentence


def most_frequent_tags(train: Iterable[TaggedSentence], sentences: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """Returns the most frequent tag of each word, or of all words if the word is not in the training sentences."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            counts[word][tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    [(most_frequent, _)] = sum(counts.values(), Counter()).most_common(1)
    return [[best.get(word, most_frequent) for word in words] for words in sentences]
