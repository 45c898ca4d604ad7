"""What a kind of pairs has of its own, and a baseline that every kind has."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from experiments.pairs.symbols import Symbolizer, Symbols
from seqjax.decoding import penalties

Pairs = Sequence[tuple[str, str]]


class Kind(NamedTuple):
    """Texts of one kind and what is made of them."""

    title: str  # as the table of results names it
    unit: str  # what a source is: a word, a sentence
    source: str  # what a symbol of a source is: a letter
    target: str  # what a symbol of a target is: a phoneme
    source_symbols: Symbolizer
    target_symbols: Symbolizer | None  # None: one set of symbols for both, chosen by both
    scores: Callable[[Sequence[str], Sequence[Sequence[str]]], dict[str, float]]  # answers, all right ones of each
    baselines: dict[str, Callable[[Pairs, Sequence[str]], list[str]]]  # training pairs, sources -> answers
    beams: tuple[int, ...] = (1, 5)
    length_penalty: penalties.LengthPenalty = penalties.no_penalty
    read: Callable[[str], str] = str.strip  # what is typed in -> a source
    defaults: dict[str, Any] = {}  # of flags, where they differ from those of pronunciation


class Sides(NamedTuple):
    """The symbols of sources and of targets."""

    source: Symbols
    target: Symbols


def choose_symbols(kind: Kind, train: Pairs) -> Sides:
    """Chooses the symbols by the training pairs."""
    sources, targets = zip(*train, strict=True)
    if kind.target_symbols is None:
        both = kind.source_symbols.from_texts(sources + targets)
        return Sides(both, both)
    return Sides(kind.source_symbols.from_texts(sources), kind.target_symbols.from_texts(targets))


class Questions(NamedTuple):
    """Sources, each with all its targets."""

    sources: list[str]
    targets: list[list[str]]


def group(pairs: Iterable[tuple[str, str]]) -> Questions:
    """Puts all targets of a source together."""
    entries: dict[str, list[str]] = {}
    for source, target in pairs:
        entries.setdefault(source, []).append(target)
    return Questions(list(entries), list(entries.values()))


def nearest_source(train: Pairs, sources: Sequence[str]) -> list[str]:
    """Answers as the training source that is spelled most like it: the baseline that anything must beat."""
    known = dict(train)
    spellings = list(known)
    found = []
    for start in range(0, len(sources), 256):
        some = sources[start : start + 256]
        distances = process.cdist(some, spellings, scorer=Levenshtein.distance, dtype=np.uint16, workers=-1)
        found += [known[spellings[place]] for place in distances.argmin(axis=1)]
    return found


def copy_source(train: Pairs, sources: Sequence[str]) -> list[str]:
    """Answers with the source itself."""
    del train
    return list(sources)
