"""Words and their tags: what is made of a trained model, how it is judged, and what it is compared with."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from seqjax.data import TaggedSentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Tags = Sequence[str]


def accuracies(found: Sequence[Tags], sentences: Sequence[TaggedSentence], known: Collection[str]) -> dict[str, float]:
    """Gives the share of all words that have the right tag, and of those unknown to training, both in percent."""
    pairs = [
        (guess == tag, word in known)
        for guesses, (words, tags) in zip(found, sentences, strict=True)
        for guess, word, tag in zip(guesses, words, tags, strict=True)
    ]
    unknown = [right for right, is_known in pairs if not is_known]
    return {
        "accuracy": 100 * float(np.mean([right for right, _ in pairs])),
        "accuracy on unknown words": 100 * float(np.mean(unknown)) if unknown else float("nan"),
    }


def most_frequent_tags(train: Iterable[TaggedSentence], sentences: Iterable[Sequence[str]]) -> list[Tags]:
    """Gives each word the tag that it has most often, an unknown one the tag that all words have most often."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            counts[word][tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    [(most_frequent, _)] = sum(counts.values(), Counter()).most_common(1)
    return [[best.get(word, most_frequent) for word in words] for words in sentences]


def describe(sentence: TaggedSentence, found: Tags) -> str:
    """Writes a sentence as `word/tag`; where the tag is wrong, as `word/tag[right tag]`."""
    return " ".join(
        f"{word}/{guess}" if guess == tag else f"{word}/{guess}[{tag}]"
        for word, tag, guess in zip(*sentence, found, strict=True)
    )


def confusion_figure(found: Iterable[Tags], sentences: Iterable[TaggedSentence], count: int = 16) -> "Figure":
    """Draws what the tags with the most mistakes were taken for, in percent of the words that have them."""
    from seqjax.plots import confusion_matrix

    pairs = Counter(
        pair for guesses, (_, tags) in zip(found, sentences, strict=True) for pair in zip(tags, guesses, strict=True)
    )
    mistakes = Counter()
    for (tag, guess), number in pairs.items():
        mistakes[tag] += number * (tag != guess)
    shown = sorted(tag for tag, _ in mistakes.most_common(count))
    counts = np.array([[pairs[tag, guess] for guess in shown] for tag in shown])
    totals = np.array([sum(number for (tag, _), number in pairs.items() if tag == row) for row in shown])
    return confusion_matrix(np.column_stack([counts, totals - counts.sum(axis=1)]), shown, [*shown, "other"])
