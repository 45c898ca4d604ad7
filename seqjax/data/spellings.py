"""Words as ids and as spellings; a batch holds the spelling of each distinct word only once.

Many words occur more than once in a batch. A model that reads words letter by letter therefore encodes each distinct
word once and gathers its encoding wherever the word occurs. In the shapes, `B` is the number of sentences in a batch
and `T` their padded length, `F` is the number of distinct words in all the data, `U` the number of spellings in a
batch, and `L` the number of letters kept of each word.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Int, Int32

from seqjax.data.vocabulary import SymbolVocabulary


class Lexicon(NamedTuple):
    """The distinct words in all the data; the index of a word is its number."""

    words: Int32[np.ndarray, "F"]  # the word's id in the model's vocabulary; may be `UNK`
    spellings: Int32[np.ndarray, "F L"]  # padded with `PAD`
    spelling_lengths: Int32[np.ndarray, "F"]


class WordBatch(NamedTuple):
    """The words of a batch of sentences; padding rows of `spellings` have length 0."""

    words: Int32[Array | np.ndarray, "B T"]
    places: Int32[Array | np.ndarray, "B T"]  # the word's row in `spellings`
    spellings: Int32[Array | np.ndarray, "U L"]
    spelling_lengths: Int32[Array | np.ndarray, "U"]


def make_lexicon(
    forms: Sequence[str], words: SymbolVocabulary, letters: SymbolVocabulary, *, max_letters: int
) -> Lexicon:
    """Encodes distinct words: each as the id of its lower-case form and as the ids of its letters.

    Args:
      forms: the distinct words as written in the data.
      words: the model's vocabulary of whole words, in lower case.
      letters: the model's vocabulary of letters.
      max_letters: `L`; a longer word loses letters from its middle.

    Raises:
      ValueError: if `max_letters` is below 2.

    >>> words, letters = SymbolVocabulary.from_sequences([["a", "cab"]]), SymbolVocabulary.from_sequences(["abc"])
    >>> make_lexicon(["a", "Cab", "abacab"], words, letters, max_letters=4)
    Lexicon(words=array([4, 5, 3], dtype=int32), spellings=array([[4, 0, 0, 0],
       [3, 4, 5, 0],
       [4, 5, 4, 5]], dtype=int32), spelling_lengths=array([1, 3, 4], dtype=int32))
    """
    if max_letters < 2:
        raise ValueError(f"max_letters: expected at least 2, got {max_letters}")
    spellings = np.zeros((len(forms), max_letters), np.int32)
    lengths = np.zeros(len(forms), np.int32)
    for number, form in enumerate(forms):
        if len(form) > max_letters:
            half = max_letters // 2
            form = form[:half] + form[half - max_letters :]
        spellings[number, : len(form)] = letters.encode(form, allow_unknown=True)
        lengths[number] = len(form)
    return Lexicon(words.encode([form.lower() for form in forms], allow_unknown=True), spellings, lengths)


def spell(lexicon: Lexicon, forms: Int[np.ndarray, "B T"]) -> WordBatch:
    """Gathers the words of a batch by their numbers in the lexicon.

    `U` is the smallest of B T, B T / 2, B T / 4, ..., each rounded up, that has room for the distinct words. A function
    of batches of one shape is therefore compiled for only a few values of `U`.

    >>> lexicon = Lexicon(np.arange(9, dtype=np.int32), np.zeros((9, 4), np.int32), np.ones(9, np.int32))
    >>> batch = spell(lexicon, np.array([[8, 7, 7, 7], [8, 8, 8, 8]]))
    >>> batch.places.tolist(), batch.spellings.shape
    ([[1, 0, 0, 0], [1, 1, 1, 1]], (2, 4))
    """
    distinct, places = np.unique(forms, return_inverse=True)
    room = forms.size
    while -(-room // 2) >= len(distinct) and room > 1:
        room = -(-room // 2)
    fill = room - len(distinct)
    return WordBatch(
        lexicon.words[forms],
        places.reshape(forms.shape).astype(np.int32),
        np.pad(lexicon.spellings[distinct], [(0, fill), (0, 0)]),
        np.pad(lexicon.spelling_lengths[distinct], (0, fill)),
    )
