"""The definition of a kind of pairs, and baselines that several kinds share."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.pairs.symbols import Symbolizer, Symbols
from seqjax.decoding import penalties

Pairs = Sequence[tuple[str, str]]


class Kind(NamedTuple):
    """A kind of pairs: its symbols, scores, baselines and default settings."""

    title: str  # its name in the table of results
    unit: str  # name of one source, such as "word" or "sentence"
    source: str  # name of a source symbol, such as "letter"
    target: str  # name of a target symbol, such as "phoneme"
    source_symbols: Symbolizer
    target_symbols: Symbolizer | None  # None: one vocabulary for both, built from both
    scores: Callable[[Sequence[str], Sequence[Sequence[str]]], dict[str, float]]  # answers, their references -> scores
    higher_is_better: tuple[str, ...]  # the names of scores of which this is true
    baselines: dict[str, Callable[[Pairs, Sequence[str]], list[str]]]  # training pairs, sources -> answers
    beams: tuple[int, ...] = (1, 5)
    length_penalty: penalties.LengthPenalty = penalties.no_penalty
    read: Callable[[str], str] = str.strip  # line typed by the user -> source
    defaults: dict[str, Any] = {}  # flag values that differ from those of pronunciation


class Sides(NamedTuple):
    """The source and the target vocabulary."""

    source: Symbols
    target: Symbols


def choose_symbols(kind: Kind, train: Pairs) -> Sides:
    """Builds the vocabularies from the training pairs."""
    sources, targets = zip(*train, strict=True)
    if kind.target_symbols is None:
        both = kind.source_symbols.from_texts(sources + targets)
        return Sides(both, both)
    return Sides(kind.source_symbols.from_texts(sources), kind.target_symbols.from_texts(targets))


class Questions(NamedTuple):
    """Sources, each with all its reference targets."""

    sources: list[str]
    targets: list[list[str]]


def group(pairs: Iterable[tuple[str, str]]) -> Questions:
    """Groups pairs by source."""
    entries: dict[str, list[str]] = {}
    for source, target in pairs:
        entries.setdefault(source, []).append(target)
    return Questions(list(entries), list(entries.values()))


def nearest_source(train: Pairs, sources: Sequence[str]) -> list[str]:
    """Answers each source with the target of the training source at the smallest edit distance."""
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    known = dict(train)
    spellings = list(known)
    found = []
    for start in range(0, len(sources), 256):
        some = sources[start : start + 256]
        distances = process.cdist(some, spellings, scorer=Levenshtein.distance, dtype=np.uint16, workers=-1)
        found += [known[spellings[place]] for place in distances.argmin(axis=1)]
    return found


def copy_source(train: Pairs, sources: Sequence[str]) -> list[str]:
    """Answers each source with itself."""
    del train
    return list(sources)
