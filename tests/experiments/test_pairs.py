"""Symbols, scores and baselines of the kinds of pairs."""

import numpy as np
import pytest

from experiments.baselines import phrase_table
from experiments.pairs import headline, kind, pronunciation, python_code, reply, symbols, translation
from seqjax.data import BOS, EOS, PAD, UNK

TEXTS = ["le chat dort.", "le chien dort !", "un chat noir"]


@pytest.mark.parametrize("symbolizer", [symbols.separated(""), symbols.separated(" "), symbols.subwords(300)])
def test_symbols_spell_texts_and_come_back_from_json(symbolizer):
    chosen = symbolizer.from_texts(TEXTS)
    for again in (chosen, symbolizer.from_json(chosen.to_json())):
        for text in TEXTS:
            ids = again.encode(text)
            assert ids.dtype == np.int32 and len(ids) == len(again.pieces(text))
            assert UNK < ids.min() <= ids.max() < again.size == chosen.size
            assert again.decode(np.array([BOS, *ids, EOS, ids[0], PAD])) == text


def test_subwords_spell_what_they_have_never_seen():
    chosen = symbols.subwords(300).from_texts(TEXTS)
    assert chosen.decode(chosen.encode("Œuf № 9")) == "Œuf No 9"  # in the normal form NFKC
    assert UNK in symbols.separated("").from_texts(TEXTS).encode("Œuf")


def test_errors_are_counted_against_the_nearest_pronunciation():
    right = [["A B", "A B C D"], ["A"], ["A B C"]]
    rates = pronunciation.error_rates(["A B C", "A", ""], right)
    assert rates == {"% word error rate": pytest.approx(200 / 3), "% phoneme error rate": pytest.approx(100 * 4 / 6)}
    assert pronunciation.error_rates(["A B C D"], right[:1])["% word error rate"] == 0


def test_nearest_spelling():
    pairs = [("cat", "K"), ("caterpillar", "L"), ("dog", "D")]
    assert kind.nearest_source(pairs, ["cart", "fog", "erpillar"]) == ["K", "D", "L"]


def test_any_of_the_right_translations_will_do():
    right = [["a b c d e", "un deux trois quatre"], ["x y z w"]]
    assert translation.bleu_and_chrf(["un deux trois quatre", "x y z w"], right) == pytest.approx(
        {"BLEU": 100, "chrF": 100}
    )
    assert translation.bleu_and_chrf(["un deux trois", "q"], right)["chrF"] < 90


def test_first_words_are_as_many_as_are_best():
    train = [(f"{a} {b} and more of it", f"{a} {b}") for a in ("red", "blue") for b in ("ball", "tree")]
    assert headline.first_words(train, ["green house of glass"]) == ["green house"]


def test_the_most_frequent_reply_answers_everything():
    train = [("hi", "yes"), ("ho", "no"), ("ha", "no")]
    assert reply.most_frequent(train, ["hi", "who?"]) == ["no", "no"]


def test_phrases_are_consistent_with_the_alignment():
    points = {(0, 0), (1, 2), (2, 1)}  # the last two change places, and the last word of the target has no point
    found = set(phrase_table.phrases(points, 3, 4))
    assert {((0, 1), (0, 1)), ((1, 2), (2, 3)), ((1, 2), (2, 4)), ((2, 3), (1, 2)), ((1, 3), (1, 3))} <= found
    assert ((0, 2), (0, 3)) not in found  # 1 lies between, and belongs to 2


def test_alignments_grow_from_what_both_directions_say():
    assert phrase_table.grow({(0, 0)}, {(0, 0), (1, 1), (2, 2), (5, 5), (0, 1)}) in (
        {(0, 0), (1, 1), (2, 2)},
        {(0, 0), (0, 1), (1, 1), (2, 2)},
    )


def test_a_phrase_table_translates_what_it_has_seen_the_parts_of():
    adjectives, nouns = (
        {"red": "rouge", "black": "noir", "old": "vieux"},
        {"cat": "chat", "dog": "chien", "bird": "oiseau"},
    )
    train = [
        (f"the {a} {n} sleeps", f"le {nouns[n]} {adjectives[a]} dort")
        for a in adjectives
        for n in nouns
        if (a, n) != ("red", "dog")
    ]
    assert phrase_table.words("l'eau,  ici") == ["l", "'", "eau", ",", "  ici"]
    assert phrase_table.translate(train, ["the old bird sleeps, Tom"]) == ["le oiseau vieux dort, Tom"]


def test_code_is_right_or_at_least_parses():
    right = [["Name('a')"], ["def f(a, b=1):", "def g():"], ["Name('c')"], ["def h():"]]
    found = ["Name('a')", "def g():", "Name('c'", "def k(:"]
    assert python_code.scores(found, right) == {"% exact": 50, "% that parse": 50}
    assert not python_code.parses("") and not python_code.parses("a\0")
