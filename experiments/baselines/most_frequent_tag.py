"""The baseline of tagging that looks at one word alone: its most frequent tag."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from seqjax.data import TaggedSentence


def most_frequent_tags(train: Iterable[TaggedSentence], sentences: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """Gives each word the tag that it has most often, an unknown one the tag that all words have most often."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            counts[word][tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    [(most_frequent, _)] = sum(counts.values(), Counter()).most_common(1)
    return [[best.get(word, most_frequent) for word in words] for words in sentences]
