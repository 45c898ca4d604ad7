"""Tagging baseline: the averaged perceptron, greedy from left to right (Collins 2002; Honnibal 2013).

The score of a tag is the sum of its weights for the features of a word in context: the word, its prefix and suffix, the
words and suffixes around it, and the two predicted tags before it. If the best tag is wrong, the weights of these
features increase by 1 for the right tag and decrease by 1 for the wrong tag. The final weights are the mean over all
steps. The features are those of NLTK's `PerceptronTagger`, except those that occur only once in training. The weights
are one array with a row for each feature, because this is fast with hundreds of tags.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from seqjax.data import TaggedSentence

START, END = ("-start2-", "-start-"), ("-end-", "-end2-")


def normalize(word: str) -> str:
    """Returns a word in lower case, or one symbol each for all hyphenated words, all years and all other numbers."""
    if "-" in word[1:]:
        return "!hyphen"
    if word.isdigit():
        return "!year" if len(word) == 4 else "!digits"
    return "!digits" if re.match(r"\d", word) else word.lower()


def word_features(words: Sequence[str]) -> Iterator[list[str]]:
    """Yields the features of each word that do not depend on tags."""
    context = [*START, *map(normalize, words), *END]
    for i, word in enumerate(words, 2):
        yield [
            "bias",
            f"suffix {word[-3:]}",
            f"prefix {word[0]}",
            f"word {context[i]}",
            f"word-1 {context[i - 1]}",
            f"suffix-1 {context[i - 1][-3:]}",
            f"word-2 {context[i - 2]}",
            f"word+1 {context[i + 1]}",
            f"suffix+1 {context[i + 1][-3:]}",
            f"word+2 {context[i + 2]}",
        ]


def tag_features(word: str, before: str, last: str) -> list[str]:
    """Returns the features of a normalised word that depend on the two tags before it."""
    return [f"tag-1 {last}", f"tag-2 {before}", f"tags {before} {last}", f"tag-1 {last} word {word}"]


class AveragedPerceptron:
    """A tagger, as trained by the function `train`."""

    def __init__(self, features: Sequence[str], tags: Sequence[str]):
        self.row = {feature: row for row, feature in enumerate(features)}
        self.tags = list(tags)
        self.weights = np.zeros((len(features), len(tags)), np.float32)

    def tag(self, words: Sequence[str]) -> list[str]:
        """Returns the best tag of each word, chosen from left to right."""
        return [self.tags[best] for best, _ in self.guess(words, self.fixed_rows(words))]

    def fixed_rows(self, words: Sequence[str]) -> list[list[int]]:
        """Returns the rows of the features of each word that do not depend on tags."""
        return [self._rows(features) for features in word_features(words)]

    def guess(self, words: Sequence[str], fixed_rows: Sequence[list[int]]) -> Iterator[tuple[int, list[int]]]:
        """Yields the best tag of each word and the rows of its features; the weights may change between words."""
        before, last = START
        for word, fixed in zip(words, fixed_rows, strict=True):
            rows = fixed + self._rows(tag_features(normalize(word), before, last))
            best = int(self.weights.take(rows, axis=0).sum(axis=0).argmax())
            yield best, rows
            before, last = last, self.tags[best]

    def _rows(self, features: Iterable[str]) -> list[int]:
        return [self.row[feature] for feature in features if feature in self.row]


def train(sentences: Sequence[TaggedSentence], *, epochs: int, seed: int) -> AveragedPerceptron:
    """Trains a tagger on sentences, in a different random order in each epoch."""
    counts: Counter[str] = Counter()
    for words, tags in sentences:
        before = [*START, *tags]
        for i, features in enumerate(word_features(words)):
            counts.update(features + tag_features(normalize(words[i]), before[i], before[i + 1]))
    frequent = [feature for feature, count in counts.items() if count > 1]
    tagger = AveragedPerceptron(frequent, sorted({tag for sentence in sentences for tag in sentence.tags}))
    ids = {tag: id for id, tag in enumerate(tagger.tags)}
    fixed_rows = [tagger.fixed_rows(sentence.words) for sentence in sentences]
    step, moments = 0, np.zeros_like(tagger.weights)  # the mean over all steps is weights - moments / steps
    for epoch in range(epochs):
        for number in np.random.default_rng((seed, epoch)).permutation(len(sentences)):
            words, tags = sentences[number]
            for tag, (best, rows) in zip(tags, tagger.guess(words, fixed_rows[number]), strict=True):
                if best != ids[tag]:
                    for id, sign in ((ids[tag], 1), (best, -1)):
                        tagger.weights[rows, id] += sign
                        moments[rows, id] += sign * step
                step += 1
    tagger.weights -= moments / step
    return tagger
