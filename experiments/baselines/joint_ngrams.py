"""Pronunciation baseline: joint n-grams of letters and phonemes, by Phonetisaurus (Novak et al. 2016).

Expectation maximisation aligns the letters and phonemes of the training words. An n-gram model of the aligned pairs, a
weighted finite-state transducer, predicts the most probable pronunciation of a new word.
"""

import contextlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path


def pronounce(train: Iterable[tuple[str, str]], words: Sequence[str]) -> list[str]:
    """Returns the most probable pronunciation of each word, or an empty string if there is none.

    Raises:
      subprocess.CalledProcessError: Phonetisaurus fails.
    """
    import phonetisaurus

    lexicon = defaultdict(list)
    for word, pronunciation in train:
        lexicon[word].append(pronunciation.split())
    with tempfile.TemporaryDirectory() as folder, _quiet():
        model = Path(folder) / "model.fst"
        phonetisaurus.train(lexicon, model)
        found = dict(phonetisaurus.predict(words, model))
    return [" ".join(found.get(word, [])) for word in words]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discards the output of the subprocesses, which print thousands of lines."""
    kept = [os.dup(1), os.dup(2)]
    with open(os.devnull, "w") as nowhere:
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
    try:
        yield
    finally:
        for number, stream in zip((1, 2), kept, strict=True):
            os.dup2(stream, number)
            os.close(stream)
