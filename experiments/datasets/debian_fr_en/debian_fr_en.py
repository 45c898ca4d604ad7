"""Sentences from Debian's package descriptions, in English and French, as a TFDS data set of pairs.

`sentence_pairs.tsv.xz` holds 62,902 sentences of at most 60 words, one pair per line, English and then French. They are
from the package descriptions in Debian 12 and their translations by the Debian Description Translation Project.

The translators' typography varies, so it is normalised: a plain space replaces every no-break space (which some wrote
as a dot), `'` every apostrophe, and `-` every dash. The 46 sentences of more than 400 characters, mostly lists, are
left out. Sentences that differ only in case, digits or punctuation are in the same part.
"""

from collections.abc import Iterator
from pathlib import Path

from experiments.datasets.pair_file import Pair, PairBuilder, letters_of, read_rows

PATH = Path(__file__).with_name("sentence_pairs.tsv.xz")
LONGEST = 400  # characters

TYPOGRAPHY = str.maketrans({"⋅": " ", "’": "'", "‘": "'", "–": "-", "—": "-", "−": "-", "‒": "-", "‑": "-"})


def plain(text: str) -> str:
    """Normalises the spaces, apostrophes and dashes of a sentence."""
    return " ".join(text.translate(TYPOGRAPHY).split())


def read_sentence_pairs(path: Path = PATH) -> Iterator[Pair]:
    """Reads the sentence pairs, English and French.

    Raises:
      ValueError: the file is damaged, or a line does not hold two sentences.
    """
    for english, french in read_rows(path, columns=2):
        pair = Pair(letters_of(english), plain(english), plain(french))
        if max(len(pair.source), len(pair.target)) <= LONGEST:
            yield pair


class DebianFrEn(PairBuilder):
    """English sentences and their French translations: 94% train, 3% validation, 3% test."""

    DESCRIPTION = "Debian's package descriptions, sentence by sentence: English, and French by Debian's translators."
    LICENSE = "Each description is under the licence of its package, all free by Debian's guidelines."

    def read_pairs(self) -> Iterator[Pair]:
        return read_sentence_pairs()
