"""Phrase-table baseline for translation: greedy longest match, phrase by phrase.

Expectation maximisation with a prior for the diagonal (Dyer, Chahuneau and Smith 2013) aligns the words in both
directions. The two alignments are then symmetrized (Koehn, Och and Marcu 2003). The table holds source phrases of up to
`LONGEST` words, each with its most frequent translation; no alignment leads out of such a pair of phrases (Och and Ney
2004). The baseline does not use a language model, and it keeps the phrases in the order of the source.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

LONGEST = 5  # words of a source phrase
LONGEST_SENTENCE = 40  # words; pairs with a longer sentence are not aligned
ITERATIONS = 5
TENSION = 4.0  # how fast the prior falls with the distance from the diagonal

Points = set[tuple[int, int]]  # aligned (source position, target position)
Span = tuple[int, int]


def translate(train: Sequence[tuple[str, str]], sources: Sequence[str]) -> list[str]:
    """Translates sources with the phrases of the training pairs; a word that no known phrase covers is copied."""
    pairs = [(words(source), words(target)) for source, target in train]
    pairs = [pair for pair in pairs if max(map(len, pair)) <= LONGEST_SENTENCE]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for (source, target), points in zip(pairs, align(pairs), strict=True):
        for (start, end), (first, last) in phrases(points, len(source), len(target)):
            counts["".join(source[start:end]).strip()]["".join(target[first:last])] += 1
    table = {phrase: max(found, key=found.get) for phrase, found in counts.items()}
    return [_translate(table, words(source)) for source in sources]


def words(text: str) -> list[str]:
    """Splits a text into words and punctuation marks, each with its leading space; joining them restores the text."""
    return re.findall(r"\s*(?:\w+|[^\w\s])", text)


def align(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Iterator[Points]:
    """Aligns the words of each pair."""
    sources, targets = map(_number, zip(*pairs, strict=True))
    found = zip(_most_likely(sources, targets), _most_likely(targets, sources), strict=True)
    for source_of_target, target_of_source in found:
        forward = {(i, j) for j, i in enumerate(source_of_target)}
        backward = {(i, j) for i, j in enumerate(target_of_source)}
        yield grow(forward & backward, forward | backward)


def grow(points: Points, union: Points) -> Points:
    """Adds neighbours of points from the union, as long as they align a word that has no point yet."""
    points, waiting = set(points), sorted(points)
    sources, targets = ({point[side] for point in points} for side in (0, 1))
    for i, j in waiting:  # grows during the loop
        for new in ((i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)):
            if new in union and new not in points and (new[0] not in sources or new[1] not in targets):
                points.add(new)
                waiting.append(new)
                sources.add(new[0])
                targets.add(new[1])
    return points


def phrases(points: Points, source_length: int, target_length: int) -> Iterator[tuple[Span, Span]]:
    """Yields the pairs of source and target spans in which no word is aligned with one outside the other span."""
    of_source, of_target = defaultdict(list), defaultdict(list)
    for i, j in points:
        of_source[i].append(j)
        of_target[j].append(i)
    for start in range(source_length):
        first, last = target_length, -1
        for end in range(start + 1, min(start + LONGEST, source_length) + 1):
            for j in of_source.get(end - 1, ()):
                first, last = min(first, j), max(last, j)
            if last < 0 or any(not start <= i < end for j in range(first, last + 1) for i in of_target.get(j, ())):
                continue
            stop = last + 1
            yield (start, end), (first, stop)
            while stop < target_length and stop not in of_target:  # an unaligned word may belong to the phrase
                stop += 1
                yield (start, end), (first, stop)


def _number(texts: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Maps the words of texts to integers, ignoring case and leading spaces."""
    numbers: dict[str, int] = {}
    return [np.array([numbers.setdefault(w.strip().lower(), len(numbers)) for w in text]) for text in texts]


def _most_likely(sources: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """Yields, for each target, the most likely source position of each of its words."""
    base = 1 + max(int(target.max()) for target in targets)
    links = [source * base + target[:, None] for source, target in zip(sources, targets, strict=True)]  # all pairs
    pairs, pair = np.unique(np.concatenate([link.ravel() for link in links]), return_inverse=True)
    choices = np.repeat([link.shape[1] for link in links], [link.shape[0] for link in links])  # per target word
    starts = np.cumsum(choices) - choices
    prior = np.concatenate([_diagonal(*link.shape).ravel() for link in links])
    probability = np.ones(len(pairs))  # of a target word given a source word
    for _ in range(ITERATIONS):
        weights = prior * probability[pair]
        weights /= np.repeat(np.add.reduceat(weights, starts), choices)
        counts = np.bincount(pair, weights)
        probability = counts / np.bincount(pairs // base, counts)[pairs // base]
    weights = prior * probability[pair]
    ends = np.cumsum([link.size for link in links])
    for link, part in zip(links, np.split(weights, ends[:-1]), strict=True):
        yield part.reshape(link.shape).argmax(axis=1).tolist()


def _diagonal(targets: int, sources: int) -> np.ndarray:
    """Returns the unnormalised alignment prior [targets, sources], from the distance of the relative positions."""
    places = [(np.arange(count) + 0.5) / count for count in (targets, sources)]
    return np.exp(-TENSION * np.abs(np.subtract.outer(*places)))


def _translate(table: dict[str, str], source: Sequence[str]) -> str:
    found, start = [], 0
    while start < len(source):
        for end in range(min(start + LONGEST, len(source)), start, -1):
            phrase = "".join(source[start:end]).strip()
            if phrase in table:
                found.append(table[phrase])
                break
        else:
            end = start + 1
            found.append(source[start])
        start = end
    return "".join(found).strip()
