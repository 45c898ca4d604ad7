"""The baseline of tagging: the averaged perceptron, greedy from left to right (Collins 2002; Honnibal 2013).

The score of a tag is the sum of its weights for the features of a word in its place: word, prefix and suffix, the words
and suffixes around it, and the two tags given before. Where the best tag is wrong, all these weights grow by 1 for the
right tag and shrink by 1 for the wrong one; what tags in the end is the mean of the weights over all steps. The
features are those of NLTK's `PerceptronTagger`, less those that training has only once. They are rows of one array
here, which makes it tag a million words with hundreds of tags in seconds, not minutes.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

START, END = ("-start2-", "-start-"), ("-end-", "-end2-")


def normalize(word: str) -> str:
    """Writes a word small, and numbers and hyphenated words each as one."""
    if "-" in word[1:]:
        return "!hyphen"
    if word.isdigit():
        return "!year" if len(word) == 4 else "!digits"
    return "!digits" if re.match(r"\d", word) else word.lower()


def word_features(words: Sequence[str]) -> Iterable[list[str]]:
    """Gives the features of each word that do not depend on tags."""
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
    """Gives the features of a normalised word that depend on the two tags before it."""
    return [f"tag-1 {last}", f"tag-2 {before}", f"tags {before} {last}", f"tag-1 {last} word {word}"]


class AveragedPerceptron:
    """A tagger; `train` makes one, `tag` uses it."""

    def __init__(self, features: Sequence[str], tags: Sequence[str]):
        self.rows = {feature: row for row, feature in enumerate(features)}
        self.tags = list(tags)
        self.weights = np.zeros((len(features), len(tags)), np.float32)

    def tag(self, words: Sequence[str]) -> list[str]:
        """Gives the best tag of each word, one after the other."""
        return [self.tags[guess] for guess, _ in self._guesses(words, [list(f) for f in word_features(words)])]

    def _guesses(self, words: Sequence[str], features: Sequence[Sequence[str]]) -> Iterable[tuple[int, list[int]]]:
        """Gives the best tag of each word, and the rows of its features."""
        before, last = START
        for word, fixed in zip(words, features, strict=True):
            found = map(self.rows.get, [*fixed, *tag_features(normalize(word), before, last)])
            rows = [row for row in found if row is not None]
            guess = int(self.weights.take(rows, axis=0).sum(axis=0).argmax())
            yield guess, rows
            before, last = last, self.tags[guess]


def train(sentences: Sequence[tuple[Sequence[str], Sequence[str]]], *, epochs: int, seed: int) -> AveragedPerceptron:
    """Trains a tagger on sentences, each of words and as many tags, in a new order in each epoch."""
    features = [list(word_features(words)) for words, _ in sentences]
    counts = Counter(feature for sentence in features for word in sentence for feature in word)
    for words, tags in sentences:
        last = [*START, *tags]
        for i, word in enumerate(words):
            counts.update(tag_features(normalize(word), last[i], last[i + 1]))
    kept = [feature for feature, count in counts.items() if count > 1]
    tagger = AveragedPerceptron(kept, sorted({tag for _, tags in sentences for tag in tags}))
    ids = {tag: id for id, tag in enumerate(tagger.tags)}
    step, moments = 0, np.zeros_like(tagger.weights)  # mean weights = weights - moments / steps
    for epoch in range(epochs):
        for number in np.random.default_rng((seed, epoch)).permutation(len(sentences)):
            words, tags = sentences[number]
            for tag, (guess, rows) in zip(tags, tagger._guesses(words, features[number]), strict=True):
                step += 1
                if guess != ids[tag]:
                    for id, sign in ((ids[tag], 1), (guess, -1)):
                        tagger.weights[rows, id] += sign
                        moments[rows, id] += sign * step
    tagger.weights -= moments / step
    return tagger
