import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqjax.data import UNKNOWN, CharVocabulary

TEXTS = st.text(min_size=1, max_size=50)


@given(TEXTS)
def test_decode_inverts_encode(text):
    vocabulary = CharVocabulary.from_text(text + "x")
    ids = vocabulary.encode(text, allow_unknown=True)
    assert ids.dtype == np.int32 and ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text
    assert vocabulary.size == len({*text, "x", UNKNOWN})
    assert len(np.unique(ids)) == len(set(text))


@given(TEXTS)
def test_json_restores_it(text):
    vocabulary = CharVocabulary.from_text(text)
    assert CharVocabulary.from_list(json.loads(json.dumps(vocabulary.to_list()))) == vocabulary


def test_a_prompt_with_unknown_characters_is_refused_by_name_and_position():
    vocabulary = CharVocabulary.from_text("abc")
    with pytest.raises(ValueError, match=r"'ü' at position 1, '\\n' at position 3$"):
        vocabulary.encode("aüb\nüc")


def test_held_out_text_with_unknown_characters_is_read_as_unknown():
    vocabulary = CharVocabulary.from_text("abc")
    assert vocabulary.encode("aü\U0001f600c", allow_unknown=True).tolist() == [1, 0, 0, 3]
    assert vocabulary.decode([1, 0, 0, 3]) == f"a{UNKNOWN}{UNKNOWN}c"


def test_empty_text():
    assert CharVocabulary.from_text("a").encode("").shape == (0,)
    assert CharVocabulary.from_text("a").decode([]) == ""
    with pytest.raises(ValueError, match="empty text"):
        CharVocabulary.from_text("")


@pytest.mark.parametrize("ids", [[4], [-1]])
def test_ids_outside_the_vocabulary(ids):
    with pytest.raises(ValueError, match="expected 0 to 3"):
        CharVocabulary.from_text("abc").decode(ids)


@pytest.mark.parametrize("symbols", [[], ["a"], [UNKNOWN, "ab"], [UNKNOWN, "a", "a"], [UNKNOWN, UNKNOWN]])
def test_bad_symbols(symbols):
    with pytest.raises(ValueError, match="symbols: expected"):
        CharVocabulary.from_list(symbols)
