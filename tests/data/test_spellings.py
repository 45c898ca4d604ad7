import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqjax.data import PAD, UNK, SymbolVocabulary, make_lexicon, spell

WORDS = SymbolVocabulary.from_sequences([["the", "cat", "sat"]])
LETTERS = SymbolVocabulary.from_sequences(["Thecatsa"])
FORMS = ["The", "cat", "cats", "dog", "the", "chattheca"]
LEXICON = make_lexicon(FORMS, WORDS, LETTERS, max_letters=5)


def test_a_word_is_known_in_either_case_and_spelled_as_it_stands():
    assert [WORDS.symbols[id] for id in LEXICON.words] == ["the", "cat", "<unk>", "<unk>", "the", "<unk>"]
    assert LEXICON.spelling_lengths.tolist() == [3, 3, 4, 3, 3, 5]
    for number, spelled in enumerate(["The", "cat", "cats", "<unk>" * 3, "the", "checa"]):
        ids = LEXICON.spellings[number]
        assert "".join(LETTERS.decode(ids)) == spelled  # "dog" has unknown letters, the longest lacks its middle
        np.testing.assert_array_equal(ids != PAD, np.arange(5) < LEXICON.spelling_lengths[number])
    assert (LEXICON.spellings[3, :3] == UNK).all()


@given(st.lists(st.integers(0, len(FORMS) - 1), min_size=1, max_size=24), st.sampled_from([1, 2, 3]))
def test_each_word_stands_where_it_was_with_its_spelling_once(numbers, rows):
    forms = np.array(numbers * rows).reshape(rows, -1)
    batch = spell(LEXICON, forms)
    np.testing.assert_array_equal(batch.words, LEXICON.words[forms])
    np.testing.assert_array_equal(batch.spellings[batch.places], LEXICON.spellings[forms])
    np.testing.assert_array_equal(batch.spelling_lengths[batch.places], LEXICON.spelling_lengths[forms])
    distinct = len(set(numbers))
    assert np.count_nonzero(batch.spelling_lengths) == distinct
    room = len(batch.spellings)
    assert room >= distinct and (room == 1 or -(-room // 2) < distinct)
    assert room in {-(-forms.size // 2**k) for k in range(8)}


def test_too_few_letters_are_refused():
    with pytest.raises(ValueError, match="^max_letters: expected at least 2, got 1"):
        make_lexicon(FORMS, WORDS, LETTERS, max_letters=1)
