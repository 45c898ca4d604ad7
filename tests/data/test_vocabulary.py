import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqjax.data import BOS, EOS, PAD, SPECIALS, UNK, UNKNOWN, CharVocabulary, SymbolVocabulary

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


SEQUENCES = st.lists(st.lists(st.text(max_size=3), max_size=8), min_size=1, max_size=8)


@given(SEQUENCES)
def test_symbols_survive_encoding_and_json(sequences):
    vocabulary = SymbolVocabulary.from_sequences([*sequences, ["x"]])
    assert SymbolVocabulary.from_list(json.loads(json.dumps(vocabulary.to_list()))) == vocabulary
    assert vocabulary.size == len(SPECIALS) + len({"x", *sum(sequences, [])})
    for sequence in sequences:
        ids = vocabulary.encode(sequence)
        assert ids.dtype == np.int32 and ids.shape == (len(sequence),)
        assert (ids >= len(SPECIALS)).all()
        assert vocabulary.decode(ids) == sequence


def test_symbols_are_sorted_after_the_special_ones():
    vocabulary = SymbolVocabulary.from_sequences(["ba", "cab"])
    assert vocabulary.symbols == ("<pad>", "<bos>", "<eos>", "<unk>", "a", "b", "c")
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert vocabulary.encode("cab").tolist() == [6, 4, 5]


def test_decoding_ends_at_eos_and_leaves_out_padding_and_bos():
    vocabulary = SymbolVocabulary.from_sequences(["ab"])
    assert vocabulary.decode([BOS, 4, UNK, 5, EOS, 4, PAD]) == ["a", "<unk>", "b"]
    assert vocabulary.decode([EOS]) == vocabulary.decode([]) == []
    assert vocabulary.decode(np.array([PAD, 4, BOS, 4])) == ["a", "a"]


def test_unknown_symbols_are_refused_by_name_or_read_as_unknown():
    vocabulary = SymbolVocabulary.from_sequences(["HH AH".split()])
    sequence = "HH ZH AH OW ZH".split()
    with pytest.raises(ValueError, match=r"^sequence: .* 'ZH' at position 1, 'OW' at position 3$"):
        vocabulary.encode(sequence)
    assert vocabulary.encode(sequence, allow_unknown=True).tolist() == [5, UNK, 4, UNK, UNK]


def test_no_text_spells_padding_bos_or_eos():
    vocabulary = SymbolVocabulary.from_sequences([[*SPECIALS, "a"]])
    assert vocabulary.symbols == (*SPECIALS, "a")
    assert vocabulary.encode([*SPECIALS, "a"], allow_unknown=True).tolist() == [UNK] * 4 + [4]
    with pytest.raises(ValueError, match="'<eos>' at position 0"):
        vocabulary.encode(["<eos>"])


def test_bad_symbol_vocabularies():
    for sequences in ([], [""], [["<unk>"]]):
        with pytest.raises(ValueError, match="at least one symbol, got none"):
            SymbolVocabulary.from_sequences(sequences)
    for symbols in ([], ["a"], [*SPECIALS, "a", "a"], [*SPECIALS, "<pad>"]):
        with pytest.raises(ValueError, match="symbols: expected"):
            SymbolVocabulary.from_list(symbols)
    with pytest.raises(ValueError, match="ids: expected 0 to 4, got 2 to 5"):
        SymbolVocabulary.from_sequences(["a"]).decode([2, 5])
