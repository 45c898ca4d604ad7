"""Symbols and lengths that are none: an error outside `jit`, under it never a plausible number.

The functions of the library that read symbols are listed once, each with the result of one call in which every symbol
and every length may be replaced.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax
from seqjax import decoding, training
from seqjax.layers import crf
from seqjax.layers.attention import additive, dot, new_alignment
from seqjax.layers.linen import Recurrent
from seqjax.models.classifier import Classifier
from seqjax.models.language_model import LanguageModel
from seqjax.models.seq2seq import Seq2Seq
from seqjax.models.tagger import Tagger
from seqjax.models.tree_lstm import Forest, Tree, TreeEncoder, child_sum_tree_lstm, evaluate_forest, make_forest

B, T, V = 2, 3, 5
KEY = jax.random.key(0)
SYMBOLS = jnp.array([[1, 2, 3], [4, 1, 2]])
LENGTHS = jnp.array([3, 2])
LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(B, T, V)), jnp.float32)
FIELD = crf.CRFParams(jnp.arange(5.0), jnp.arange(25.0).reshape(V, V) / 25, jnp.arange(5.0))


class Reader(NamedTuple):
    """A function of symbols and lengths whose result has one row for each of theirs."""

    call: Callable[..., Any]  # (symbols [B, T], lengths [B]) -> array [B, ...]
    name: str  # of the argument that holds the symbols
    padded: bool = True  # whether symbols beyond the length may have any value
    infinite: bool = False  # whether minus or plus infinity is the mathematics


def applied(model, *arguments, **method):
    """A model with random parameters, as a function of its arguments."""
    params = model.init(KEY, *arguments)
    return lambda *arguments: model.apply(params, *arguments, **method)


def recurrent(**options):
    return Recurrent(seqjax.gru(4), **options)


def valid(lengths):
    return jnp.arange(T, dtype=lengths.dtype)[None] < lengths[:, None]


CLASSIFIER = applied(Classifier(V, 3, recurrent(), embedding_size=4), SYMBOLS, LENGTHS)
ONE_HOT_CLASSIFIER = applied(Classifier(V, 3, recurrent(), attention=dot()), SYMBOLS, LENGTHS)
LANGUAGE_MODEL = applied(LanguageModel(V, recurrent()), SYMBOLS)
SPELLINGS = jnp.array([[1, 2], [3, 4], [1, 1], [2, 2], [0, 3]]), jnp.array([2, 1, 2, 2, 2])
TAGGER = applied(
    Tagger(V, V, 3, recurrent(), recurrent(), word_size=4, letter_size=4), SYMBOLS, SYMBOLS, *SPELLINGS, LENGTHS
)
SEQ2SEQ = {
    "plain": applied(Seq2Seq(V, V, recurrent(), recurrent(), 4), SYMBOLS, LENGTHS, SYMBOLS),
    "reversed": applied(Seq2Seq(V, V, recurrent(), recurrent(), 4, reverse_source=True), SYMBOLS, LENGTHS, SYMBOLS),
    "copying": applied(
        Seq2Seq(V, 3, recurrent(), recurrent(), 4, attention=additive(4), copying=True), SYMBOLS, LENGTHS, SYMBOLS
    ),
}

READERS = {
    "token_nll": Reader(
        lambda s, n: training.token_nll(LOGITS, s, valid(n)).sum(1), "targets"
    ),
    "token_nll_smoothed": Reader(
        lambda s, n: training.token_nll(LOGITS, s, valid(n), label_smoothing=0.1).sum(1), "targets"
    ),
    "mean_nll": Reader(
        lambda s, n: jax.vmap(training.mean_nll)(LOGITS, s) if isinstance(s, jax.core.Tracer)
        else jnp.stack([training.mean_nll(*row) for row in zip(LOGITS, s, strict=True)]),
        "targets", padded=False,
    ),
    "ctc_loss": Reader(
        lambda s, n: decoding.ctc_loss(jnp.tile(LOGITS, (1, 3, 1)), jnp.array([9, 9]), s, n).loss,
        "labels",
        infinite=True,
    ),
    "crf.sequence_score": Reader(lambda s, n: crf.sequence_score(FIELD, LOGITS, s, n), "tags"),
    "crf.log_likelihood": Reader(lambda s, n: crf.log_likelihood(FIELD, LOGITS, s, n), "tags"),
    "Classifier": Reader(CLASSIFIER, "tokens"),
    "Classifier, one-hot": Reader(ONE_HOT_CLASSIFIER, "tokens"),
    "LanguageModel": Reader(lambda s, n: LANGUAGE_MODEL(s)[1], "tokens", padded=False),
    "Tagger, words": Reader(lambda s, n: TAGGER(s, SYMBOLS, *SPELLINGS, n)[0], "words"),
    "Tagger, places": Reader(lambda s, n: TAGGER(SYMBOLS, s, *SPELLINGS, n)[0], "places"),
    "Tagger, letters": Reader(
        lambda s, n: TAGGER(jnp.array([[0], [0]]), jnp.array([[0], [1]]), s, n, jnp.array([1, 1]))[0], "spellings"
    ),
    **{f"Seq2Seq, {kind}, sources": Reader(lambda s, n, f=f: f(s, n, SYMBOLS)[0], "sources")
       for kind, f in SEQ2SEQ.items()},
    **{f"Seq2Seq, {kind}, inputs": Reader(lambda s, n, f=f: f(SYMBOLS, LENGTHS, s)[0], "inputs", padded=False)
       for kind, f in SEQ2SEQ.items()},
}  # fmt: skip


def rows_without_numbers(result, infinite):
    """Which rows hold NaN (or infinity, where that is the mathematics)."""
    result = np.asarray(result).reshape(B, -1)
    bad = ~np.isfinite(result) if infinite else np.isnan(result)
    return bad.any(axis=1)


@pytest.mark.parametrize("wrong", [-1, V, 99, -99])
@pytest.mark.parametrize("name", READERS)
def test_a_number_that_is_no_symbol_raises_or_gives_no_number(name, wrong):
    reader = READERS[name]
    symbols = SYMBOLS.at[1, 0].set(wrong)
    with pytest.raises(ValueError, match=rf"^{reader.name}: expected symbols from 0 to {V - 1}, got {wrong} in row"):
        reader.call(symbols, LENGTHS)
    bad = rows_without_numbers(jax.jit(reader.call)(symbols, LENGTHS), reader.infinite)
    np.testing.assert_array_equal(bad, [False, True])
    assert not rows_without_numbers(jax.jit(reader.call)(SYMBOLS, LENGTHS), reader.infinite).any()


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.padded])
def test_padding_may_hold_anything_and_lengths_beyond_the_array_count_as_its_size(name):
    reader, jitted = READERS[name], jax.jit(READERS[name].call)
    full = min(T, 2 if "letters" in name else T)
    padded = SYMBOLS.at[1, 2].set(-7)
    if "letters" in name:
        padded = SYMBOLS[:, :2]
    for call in reader.call, jitted:
        np.testing.assert_array_equal(call(padded, LENGTHS), call(SYMBOLS[:, : padded.shape[1]], LENGTHS))
        at_most = call(SYMBOLS, jnp.array([T, T]))
        np.testing.assert_array_equal(call(SYMBOLS, jnp.array([T + 1, 99])), at_most)
        np.testing.assert_array_equal(call(SYMBOLS, jnp.array([T, 255], jnp.uint8)), at_most)
    assert full


@hypothesis.given(
    st.sampled_from(list(READERS)),
    st.lists(st.integers(-3, V + 2), min_size=B * T, max_size=B * T),
    st.lists(st.integers(-2, T + 2), min_size=B, max_size=B),
)
def test_any_symbols_and_lengths(name, symbols, lengths):
    """Rows in which every symbol that counts is one are as in a batch of such rows; the others hold no number."""
    reader = READERS[name]
    symbols, lengths = jnp.array(symbols).reshape(B, T), jnp.array(lengths)
    counts = np.arange(T) < np.asarray(lengths)[:, None] if reader.padded else np.ones((B, T), bool)
    wrong = (np.asarray(symbols) < 0) | (np.asarray(symbols) >= V)
    result = jax.jit(reader.call)(symbols, lengths)
    mended = jax.jit(reader.call)(jnp.where(wrong, 0, symbols), lengths)
    has_wrong = (counts & wrong).any(axis=1)
    bad = rows_without_numbers(result, reader.infinite)
    assert bad[has_wrong].all()
    np.testing.assert_array_equal(np.asarray(result)[~has_wrong], np.asarray(mended)[~has_wrong])


@pytest.mark.parametrize("lengths", [(3, 5), (9, 2), (-1, 3)])
def test_lengths_of_edits_and_of_candidates_are_clipped(lengths):
    a, b = jnp.array([1, 2, 3]), jnp.array([1, 3])
    clipped = np.clip(lengths, 0, [3, 2])
    assert training.edit_distance(a, lengths[0], b, lengths[1]) == training.edit_distance(a, clipped[0], b, clipped[1])
    tokens = jnp.array([[1, 2, 3], [1, 2, 3]])
    first = training.first_of_equal(tokens, jnp.array([lengths[0], 3]))
    assert first[1] == (clipped[0] != 3)


def test_teacher_forcing_clips_lengths_and_keeps_large_symbols():
    symbols = jnp.array([[5, 6], [7, 8]], jnp.uint8)
    forced = training.teacher_forcing(symbols, jnp.array([9, 1]), bos=256, eos=300)
    np.testing.assert_array_equal(forced.inputs, [[256, 5, 6], [256, 7, 0]])
    np.testing.assert_array_equal(forced.targets, [[5, 6, 300], [7, 300, 0]])
    np.testing.assert_array_equal(forced.mask, [[True, True, True], [True, True, False]])


def test_steps_of_a_model_are_nan_after_a_token_that_is_none():
    model = LanguageModel(V, recurrent())
    params = model.init(KEY, SYMBOLS)
    carry, _ = model.apply(params, SYMBOLS)
    with pytest.raises(ValueError, match="^token: expected symbols from 0 to 4, got 7 in row 1"):
        model.apply(params, carry, jnp.array([0, 7]), method="step")
    _, logits = jax.jit(partial(model.apply, method="step"))(params, carry, jnp.array([0, 7]))
    assert np.isfinite(logits[0]).all() and np.isnan(logits[1]).all()

    def step(params, context, state, token):
        carry, logits = model.apply(params, state, token, method="step")
        return logits, carry

    search = partial(decoding.greedy_search, step, params, None, carry, eos=1, max_length=3)
    with pytest.raises(ValueError, match=r"^step: .*row\(s\) \[1\]"):
        search(bos=jnp.array([0, 7]))
    assert np.isnan(jax.jit(lambda bos: search(bos=bos).scores)(jnp.array([0, 7]))[1])


@pytest.mark.parametrize("make", [
    lambda tokens: decoding.ban(tokens),
    lambda tokens: decoding.force(tokens),
    lambda tokens: decoding.min_length(2, eos=tokens[0]),
    lambda tokens: decoding.keypad([1], jnp.zeros(V, int), eos=tokens[0]),
    lambda tokens: decoding.finite_state(jnp.full((5, V), tokens[0])),
])  # fmt: skip
def test_constraints_refuse_tokens_that_are_none(make):
    def step(params, context, state, token):
        return jnp.zeros(V), state

    search = partial(decoding.greedy_search, step, None, None, jnp.zeros((1, 0)), bos=0, eos=1, max_length=2)
    with pytest.raises(ValueError, match="got 7"):
        search(processors=(make(jnp.array([7])),))
    assert np.isnan(jax.jit(lambda tokens: search(processors=(make(tokens),)).scores)(jnp.array([7]))).all()


def test_a_constraint_of_one_row_is_named_with_its_row():
    def step(params, context, state, token):
        return jnp.zeros(V), state

    with pytest.raises(ValueError, match=r"^processors\[0\]: tokens: expected tokens below 5.* got 7, for row 1"):
        decoding.greedy_search(
            step, None, jnp.array([[0], [7]]), jnp.zeros((2, 0)), bos=0, eos=1, max_length=2,
            processors=(decoding.ban(lambda context: context),),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: decoding.ban([[2, 3]]), "tokens: expected an array with 1 axes"),
        (lambda: decoding.ban(jnp.array([0.5])), "tokens: expected integers"),
        (lambda: decoding.force(jnp.array([[1]])), "tokens: expected an array with 1 axes"),
        (
            lambda: decoding.finite_state(jnp.zeros((2, 1), int)),
            "transitions: expected one number for each of 5 logits",
        ),
        (lambda: decoding.finite_state(jnp.zeros(5, int)), "transitions: expected an array with 2 axes"),
        (lambda: decoding.keypad([1], [1], eos=None), "keys: expected one number for each of 5 logits"),
        (lambda: decoding.trie([[0]], V, eos=V), "eos: expected a token below 5, got 5"),
        (lambda: decoding.trie([[0]], V, eos=1, separator=-1), "separator: expected a token below 5, got -1"),
    ],
)
def test_constraints_refuse_arrays_that_do_not_fit(make, message, unchecked):
    with pytest.raises((TypeError, ValueError), match=message):
        make()(None, decoding.History(jnp.zeros(3, jnp.int32), jnp.int32(0)), jnp.zeros(V))


def test_trees_refuse_tokens_children_and_roots_that_are_none():
    encoder = TreeEncoder(child_sum_tree_lstm(4), V)
    forest = make_forest([Tree(4, (Tree(1), Tree(2))), Tree(3)], width=2, arity=2)
    params = encoder.init(KEY, forest)
    jitted = jax.jit(encoder.apply)
    assert np.isfinite(jitted(params, forest)).all()
    later = forest.children.copy()
    later[0, 0, 0] = 2
    for name, bad in {
        "tokens": forest._replace(tokens=np.where(forest.tokens == 4, V, forest.tokens)),
        "children": forest._replace(children=later),
        "roots": forest._replace(roots=np.array([99, forest.roots[1]])),
    }.items():
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            encoder.apply(params, bad)
        assert np.isnan(jitted(params, jax.tree.map(jnp.asarray, bad))[0]).all()


def test_attention_counts_lengths_beyond_the_source_as_its_size():
    attention = additive(4)
    params = attention.init(KEY, query_size=V, value_size=V)
    results = []
    for lengths in jnp.array([3, 3]), jnp.array([4, 99]):
        memory = attention.remember(params, LOGITS, lengths)
        results.append(attention.attend(params, memory, new_alignment(memory), LOGITS[:, 0]))
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_a_forest_of_one_deep_chain_needs_no_recursion():
    tree = Tree(0)
    for _ in range(5000):
        tree = Tree(1, (tree,))
    forest = make_forest([tree], width=1, arity=1)
    assert isinstance(forest, Forest) and forest.tokens.shape == (5001, 1) and forest.roots.tolist() == [5000]
    states = evaluate_forest(
        child_sum_tree_lstm(1), child_sum_tree_lstm(1).init(KEY, input_size=1), jnp.ones((5001, 1, 1)), forest.children
    )
    assert np.isfinite(states.h).all()
