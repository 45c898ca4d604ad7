"""Mappings between symbols (characters or words) and the integer ids that a model reads."""

import functools
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""The reserved first character, which replaces characters that do not occur in the training text."""

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
"""The reserved symbols of a `SymbolVocabulary`: padding, start and end of a sequence, and unknown symbols."""

PAD, BOS, EOS, UNK = range(len(SPECIALS))


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


class CharVocabulary(NamedTuple):
    """The characters that a model knows. A character's id is its index in `symbols`; id 0 is `UNKNOWN`.

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
        """Collects the characters of a training text, in code point order.

        Raises:
          ValueError: the text is empty.
        """
        if not text:
            raise ValueError("text: expected at least one character, got an empty text")
        return cls((UNKNOWN, *sorted(set(text) - {UNKNOWN})))

    @classmethod
    def from_list(cls, symbols: Sequence[str]) -> "CharVocabulary":
        """Restores a vocabulary from the result of `to_list`.

        Raises:
          ValueError: the symbols are not `UNKNOWN` followed by single characters, each once.
        """
        if [*symbols[:1]] != [UNKNOWN] or any(len(s) != 1 for s in symbols) or len(set(symbols)) < len(symbols):
            raise ValueError(f"symbols: expected {UNKNOWN!r} and then single characters, each once, got {symbols!r}")
        return cls(tuple(symbols))

    def to_list(self) -> list[str]:
        """Returns the symbols as a list that JSON can hold."""
        return list(self.symbols)

    @property
    def size(self) -> int:
        """The number of ids, including `UNKNOWN`."""
        return len(self.symbols)

    def encode(self, text: str, *, allow_unknown: bool = False) -> Int32[np.ndarray, "N"]:
        """Turns the `N` characters of a text into ids.

        Args:
          text: any text.
          allow_unknown: encode characters outside the vocabulary as `UNKNOWN` instead of raising. Use it for held-out
            text, but not for a prompt, where an unknown character is a mistake.

        Raises:
          ValueError: the text contains characters outside the vocabulary; the message names each of them and its first
            position.

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
        return "".join(_look_up(self.symbols, ids))


@dataclass(frozen=True)
class SymbolVocabulary:
    """The symbols of a sequence model, any strings, after `SPECIALS`, which have the ids `PAD, BOS, EOS, UNK`.

    A string is a sequence of characters; split it to get a sequence of words.

    >>> vocabulary = SymbolVocabulary.from_sequences(["HH AH L OW".split(), "L OW".split()])
    >>> vocabulary.size
    8
    >>> vocabulary.encode("L OW".split())
    array([6, 7], dtype=int32)
    >>> vocabulary.decode([BOS, 6, 7, EOS, PAD])
    ['L', 'OW']
    >>> SymbolVocabulary.from_list(vocabulary.to_list()) == vocabulary
    True
    """

    symbols: tuple[str, ...]

    @classmethod
    def from_sequences(cls, sequences: Iterable[Sequence[str]]) -> "SymbolVocabulary":
        """Collects the symbols of the training sequences, sorted.

        Raises:
          ValueError: there are no symbols.
        """
        symbols = set().union(*sequences) - {*SPECIALS}
        if not symbols:
            raise ValueError("sequences: expected at least one symbol, got none")
        return cls((*SPECIALS, *sorted(symbols)))

    @classmethod
    def from_list(cls, symbols: Sequence[str]) -> "SymbolVocabulary":
        """Restores a vocabulary from the result of `to_list`.

        Raises:
          ValueError: the symbols are not `SPECIALS` followed by others, each once.
        """
        if (*symbols[: len(SPECIALS)],) != SPECIALS or len(set(symbols)) < len(symbols):
            raise ValueError(f"symbols: expected {SPECIALS} and then others, each once, got {symbols!r}")
        return cls(tuple(symbols))

    def to_list(self) -> list[str]:
        """Returns the symbols as a list that JSON can hold."""
        return list(self.symbols)

    @property
    def size(self) -> int:
        """The number of ids, including those of `SPECIALS`."""
        return len(self.symbols)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: id for id, symbol in enumerate(self.symbols) if id >= UNK}  # not PAD, BOS or EOS

    def encode(self, sequence: Iterable[str], *, allow_unknown: bool = False) -> Int32[np.ndarray, "N"]:
        """Turns the `N` symbols of a sequence into ids, without adding `BOS` or `EOS`.

        Args:
          sequence: a string, read as characters, or any iterable of symbols.
          allow_unknown: encode symbols outside the vocabulary as `<unk>` instead of raising.

        Raises:
          ValueError: the sequence contains symbols outside the vocabulary; the message names each of them and its first
            position.

        >>> SymbolVocabulary.from_sequences(["abc"]).encode("abcd?")
        Traceback (most recent call last):
        ValueError: sequence: not in the vocabulary: 'd' at position 3, '?' at position 4
        """
        sequence = tuple(sequence)  # reads an iterator once
        if not allow_unknown:
            unknown = [symbol for symbol in dict.fromkeys(sequence) if symbol not in self._ids]
            if unknown:
                named = ", ".join(f"{symbol!r} at position {sequence.index(symbol)}" for symbol in unknown)
                raise ValueError(f"sequence: not in the vocabulary: {named}")
        return np.array([self._ids.get(symbol, UNK) for symbol in sequence], np.int32)

    def decode(self, ids: Int[np.ndarray, "N"] | Sequence[int]) -> list[str]:
        """Turns ids into symbols, up to the first `EOS`, leaving out `PAD` and `BOS`.

        Raises:
          ValueError: an id is outside the vocabulary.
        """
        symbols = _look_up(self.symbols, ids)
        end = symbols.index(SPECIALS[EOS]) if SPECIALS[EOS] in symbols else len(symbols)
        return [symbol for symbol in symbols[:end] if symbol not in (SPECIALS[PAD], SPECIALS[BOS])]


def _look_up(symbols: tuple[str, ...], ids: Int[np.ndarray, "N"] | Sequence[int]) -> list[str]:
    """Returns the symbol of each id, or raises ValueError."""
    ids = np.asarray(ids, np.int64)
    if ids.size and not 0 <= ids.min() <= ids.max() < len(symbols):
        raise ValueError(f"ids: expected 0 to {len(symbols) - 1}, got {ids.min()} to {ids.max()}")
    return [symbols[i] for i in ids.tolist()]
