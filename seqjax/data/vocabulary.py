"""The mapping between the characters of a text and the integer ids that a model reads."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""The reserved first symbol: what a character that the training text lacks is read as."""


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


class CharVocabulary(NamedTuple):
    """The characters a model knows; the id of a character is its place in `symbols`, and id 0 is `UNKNOWN`.

    >>> vocabulary = CharVocabulary.from_text("to be or not to be")
    >>> vocabulary.size
    8
    >>> vocabulary.encode("not")
    array([4, 5, 7], dtype=int32)
    >>> vocabulary.decode(vocabulary.encode("not"))
    'not'
    >>> CharVocabulary.from_list(vocabulary.to_list()) == vocabulary
    True
    """

    symbols: tuple[str, ...]

    @classmethod
    def from_text(cls, text: str) -> "CharVocabulary":
        """Collects the characters of a training text, in the order of their code points.

        Raises:
          ValueError: the text is empty.
        """
        if not text:
            raise ValueError("text: a vocabulary needs at least one character, got an empty text")
        return cls((UNKNOWN, *sorted(set(text) - {UNKNOWN})))

    @classmethod
    def from_list(cls, symbols: Sequence[str]) -> "CharVocabulary":
        """Restores a vocabulary from what `to_list` gave.

        Raises:
          ValueError: the symbols are not `UNKNOWN` and then single characters, each once.
        """
        if [*symbols[:1]] != [UNKNOWN] or any(len(s) != 1 for s in symbols) or len(set(symbols)) < len(symbols):
            raise ValueError(f"symbols: expected {UNKNOWN!r} and then single characters, each once, got {symbols!r}")
        return cls(tuple(symbols))

    def to_list(self) -> list[str]:
        """Returns the symbols as a list that JSON can hold."""
        return list(self.symbols)

    @property
    def size(self) -> int:
        """The number of ids, `UNKNOWN` included."""
        return len(self.symbols)

    def encode(self, text: str, *, allow_unknown: bool = False) -> Int32[np.ndarray, "N"]:
        """Turns the `N` characters of a text into ids.

        Args:
          text: any text.
          allow_unknown: read characters outside the vocabulary as `UNKNOWN`, as held-out text needs it; a prompt should
            be refused instead.

        Raises:
          ValueError: the text holds characters outside the vocabulary; the message names each and its first place.

        >>> CharVocabulary.from_text("abc").encode("abcd?")
        Traceback (most recent call last):
        ValueError: text: not in the vocabulary: 'd' at position 3, '?' at position 4
        """
        id_of_code_point = np.zeros(sys.maxunicode + 1, np.int32)
        id_of_code_point[_code_points("".join(self.symbols[1:]))] = np.arange(1, self.size)
        ids = id_of_code_point[_code_points(text)]
        if not allow_unknown and not ids.all():
            unknown = dict.fromkeys(text[i] for i in np.flatnonzero(ids == 0))
            named = ", ".join(f"{character!r} at position {text.index(character)}" for character in unknown)
            raise ValueError(f"text: not in the vocabulary: {named}")
        return ids

    def decode(self, ids: Int[np.ndarray, "N"] | Sequence[int]) -> str:
        """Turns ids into text.

        Raises:
          ValueError: an id is outside the vocabulary.
        """
        ids = np.asarray(ids, np.int64)
        if ids.size and not 0 <= ids.min() <= ids.max() < self.size:
            raise ValueError(f"ids: expected 0 to {self.size - 1}, got {ids.min()} to {ids.max()}")
        return "".join([self.symbols[i] for i in ids.tolist()])
