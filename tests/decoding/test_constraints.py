"""What each constraint allows, and that a search over constrained sequences ranks them as the model does."""

import functools
import itertools

import decoding_oracles as oracles
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decoding

LENGTH = 6


def history(*tokens):
    """What a hypothesis has emitted, with rubbish after it."""
    return decoding.History(jnp.full(LENGTH, 3).at[: len(tokens)].set(jnp.array(tokens, int)), jnp.int32(len(tokens)))


def allowed(processor, *tokens, context=None, vocabulary=4):
    logits = jnp.arange(vocabulary, dtype=jnp.float32) - 9.0
    processed = processor(context, history(*tokens), logits)
    stays = ~np.isneginf(processed)
    np.testing.assert_array_equal(processed[stays], logits[stays])
    return np.flatnonzero(stays).tolist()


@pytest.mark.parametrize(
    ("processor", "tokens", "expected"),
    [
        (decoding.ban([0, 2]), (), [1, 3]),
        (decoding.ban([]), (), [0, 1, 2, 3]),
        (decoding.ban([-1, 3, -2]), (3,), [0, 1, 2]),
        (decoding.force([2, -1, 0]), (), [2]),
        (decoding.force([]), (), [0, 1, 2, 3]),
        (decoding.force([2, -1, 0]), (2,), [0, 1, 2, 3]),
        (decoding.force([2, -1, 0]), (2, 2), [0]),
        (decoding.force([2, -1, 0]), (2, 2, 0), [0, 1, 2, 3]),
        (decoding.min_length(3, eos=1), (), [0, 2, 3]),
        (decoding.min_length(3, eos=1), (0,), [0, 2, 3]),
        (decoding.min_length(3, eos=1), (0, 0), [0, 1, 2, 3]),
        (decoding.keypad([5, 7], [5, 7, 5, -1], eos=3), (), [0, 2]),
        (decoding.keypad([5, 7], [5, 7, 5, -1], eos=3), (0,), [1]),
        (decoding.keypad([5, 7], [5, 7, 5, -1], eos=3), (0, 1), [3]),
        (decoding.keypad([5, -1, -1], [5, 7, 5, -1], eos=3), (0,), [3]),
        (decoding.keypad([5], [5, 7, 5, -1], eos=None), (0,), [0, 1, 2, 3]),
        (decoding.no_repeat_ngram(1), (0, 2), [1, 3]),
        (decoding.no_repeat_ngram(2), (0,), [0, 1, 2, 3]),
        (decoding.no_repeat_ngram(2), (0, 0, 1, 0), [2, 3]),
        (decoding.no_repeat_ngram(7), (0, 0, 0, 0, 0), [0, 1, 2, 3]),
    ],
)
def test_allows(processor, tokens, expected):
    assert allowed(processor, *tokens) == expected


@hypothesis.given(st.lists(st.integers(0, 2), max_size=LENGTH), st.integers(1, 4))
def test_ngrams_that_have_occurred(tokens, n):
    grams = {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}
    last = tuple(tokens[len(tokens) - n + 1 :]) if len(tokens) >= n - 1 else None
    expected = [v for v in range(4) if last is None or (*last, v) not in grams]
    assert allowed(decoding.no_repeat_ngram(n), *tokens) == expected


@pytest.mark.parametrize("search", ["greedy", "beam", "exhaustive", "sample"])
def test_rows_may_be_constrained_each_in_its_own_way(search):
    """The context holds a prefix, the digits to type and banned tokens of each row."""

    def step(params, context, state, token):
        return jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1])), state

    context = {"prefix": jnp.array([[1, -1], [-1, -1]]), "digits": jnp.array([[0, 1, 1], [1, 0, -1]])}
    context["banned"] = jnp.array([[2], [-1]])
    processors = (
        decoding.force(lambda context: context["prefix"]),
        decoding.keypad(lambda context: context["digits"], [0, 0, 1, -1], eos=3),
        decoding.ban(lambda context: context["banned"]),
    )
    arguments = step, None, context, ()
    settings = {"bos": 0, "eos": 3, "max_length": 3, "processors": processors}
    search = {
        "greedy": decoding.greedy_search,
        "beam": lambda *a, **k: decoding.beam_search(*a, beam_size=4, **k),
        "exhaustive": decoding.exhaustive_search,
        "sample": lambda *a, **k: decoding.sample(jax.random.key(0), *a, **k),
    }[search]
    with pytest.raises(ValueError, match=r"no token for row\(s\) \[0\]"):
        search(*arguments, **settings)  # row 0 is to type key 1, but its only token is banned
    context["digits"] = context["digits"].at[0].set(jnp.array([0, 0, -1]))
    decoded = search(*arguments, **settings)
    assert oracles.found(decoded, 0)[0] == 1 and oracles.found(decoded, 0)[2] == 3
    assert oracles.found(decoded, 1)[0] == 2 and oracles.found(decoded, 1)[2] == 3
    if search is decoding.exhaustive_search:
        assert [oracles.found(decoded, b) for b in range(2)] == [(1, 0, 3), (2, 0, 3)]
        np.testing.assert_allclose(jnp.exp(decoded.scores), [[0.3 * 0.4 * 0.1], [0.2 * 0.4 * 0.1]], rtol=1e-5)


def accepted(transitions, eos, max_length):
    """All sequences that end with eos on a way through the automaton, and those cut off where eos might follow."""
    for tokens in oracles.every_sequence(transitions.shape[1], eos, max_length):
        state = 0
        for token in tokens:
            state = transitions[state, token] if state >= 0 else -1
        if state >= 0 and (tokens[-1] == eos or transitions[state, eos] >= 0):
            yield tokens


def test_finite_state_search_finds_what_the_automaton_accepts():
    eos, length = 2, 4
    transitions = np.array([[1, -1, -1], [2, 1, 0], [-1, 0, 3], [3, -1, -1]])
    sequences = set(accepted(transitions, eos, length))
    weights = oracles.random_weights(0, 2, vocabulary=3)
    decoded = decoding.beam_search(
        oracles.step, None, weights, oracles.zero_state(2), beam_size=3**length, n_best=3**length, bos=0, eos=eos,
        max_length=length, processors=(decoding.finite_state(transitions),),
    )  # fmt: skip
    for b in range(2):
        count = int((decoded.lengths[b] > 0).sum())
        found = [oracles.found(decoded, b, place) for place in range(count)]
        assert len(found) == len(sequences) and set(found) == sequences
        scores = [oracles.log_prob(oracles.row(weights, b), 0, tokens) for tokens in found]
        np.testing.assert_allclose(decoded.scores[b, :count], scores, rtol=1e-4)
        assert scores == sorted(scores, reverse=True)


def test_trie_accepts_the_lexicon():
    words, eos, space = [(0, 1), (0,), (1, 1, 0)], 2, 3
    one = decoding.trie(words, 4, eos=eos)
    many = decoding.trie(words, 4, eos=eos, separator=space)
    assert {tokens for tokens in accepted(one, eos, 5) if tokens[-1] == eos} == {(*word, eos) for word in words}
    sentences = {
        (*first, space, *second, eos) for first, second in itertools.product(words, repeat=2)
    } | {(*word, eos) for word in words} | {(0, space, 0, space, 0, eos)}  # fmt: skip
    assert {tokens for tokens in accepted(many, eos, 6) if tokens[-1] == eos} == {
        tokens for tokens in sentences if len(tokens) <= 6
    }


def test_typing_on_a_keypad_finds_the_likeliest_word_of_the_lexicon():
    """home and good are both typed 4 6 6 3, and so are hood and gone."""
    alphabet = "$abcdefghijklmnopqrstuvwxyz"
    keys = [-1] + [int(digit) for digit in "22233344455566677778889999"]
    words = [[alphabet.index(letter) for letter in word] for word in ("home", "good", "hood", "gone", "sea", "cat")]
    processors = (
        decoding.finite_state(decoding.trie(words, len(alphabet), eos=0)),
        decoding.keypad(lambda context: context, keys, eos=0),
    )
    letters = jnp.zeros(len(alphabet)).at[jnp.array([alphabet.index(letter) for letter in "hod"])].set(1.0)

    def step(params, context, state, token):
        return letters, state

    typed = jnp.array([[4, 6, 6, 3], [7, 3, 2, -1]])
    settings = {"beam_size": 4, "n_best": 4, "bos": 0, "eos": 0, "max_length": 5, "processors": processors}
    decoded = decoding.beam_search(step, None, typed, (), **settings)
    found = ["".join(alphabet[token] for token in oracles.found(decoded, 0, place)) for place in range(4)]
    assert found[0] == "hood$" and found[3] == "gone$" and set(found) == {"hood$", "home$", "good$", "gone$"}
    assert "".join(alphabet[token] for token in oracles.found(decoded, 1)) == "sea$"
    assert decoded.lengths[1].tolist() == [4, 0, 0, 0]


def test_repetition_penalty():
    logits = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))
    processed = decoding.repetition_penalty(1.5)(None, history(2, 0, 2), logits)
    np.testing.assert_allclose(processed, logits * jnp.array([1.5, 1, 1.5, 1]), rtol=1e-6)
    np.testing.assert_array_equal(decoding.repetition_penalty(1.5)(None, history(), logits), logits)


@pytest.mark.parametrize("beam_size", [1, 2, 16])
def test_a_word_that_does_not_fit_is_no_word(beam_size):
    """The likelier word is longer than the maximum length."""

    def step(params, context, state, token):
        return jnp.log(jnp.array([0.1, 0.1, 0.4, 0.4])), state

    words = decoding.trie([[0], [2, 3, 2, 3, 2, 3]], 4, eos=1)
    search = functools.partial(
        decoding.beam_search, step, None, None, jnp.zeros((1, 0)), beam_size=beam_size, bos=0, eos=1, max_length=4,
        processors=(decoding.finite_state(words),),
    )  # fmt: skip
    if beam_size == 1:  # the beam holds the other word until its end
        with pytest.raises(ValueError, match="no token"):
            search()
    else:
        assert oracles.found(search(), 0) == (0, 1)


SEARCHES = {
    "greedy": decoding.greedy_search,
    "sample": functools.partial(decoding.sample, jax.random.key(0), num_samples=8),
    "beam": functools.partial(decoding.beam_search, beam_size=64, n_best=64),
    "diverse": functools.partial(decoding.diverse_beam_search, beam_size=64, groups=2, diversity=0.3),
    "stochastic": functools.partial(decoding.stochastic_beam_search, jax.random.key(0), num_samples=64),
    "exhaustive": functools.partial(decoding.exhaustive_search, n_best=39),
}


@hypothesis.given(st.sampled_from(list(SEARCHES)), st.integers(0, 99))
def test_every_search_returns_only_what_the_automaton_accepts_where_it_ends(search, seed):
    eos, length, vocabulary = 1, 3, 3
    transitions = np.random.default_rng(seed).integers(-1, 3, (3, vocabulary))
    sequences = set(accepted(transitions, eos, length))
    weights = oracles.random_weights(seed, 1, vocabulary=vocabulary)
    decoded = jax.jit(
        lambda transitions: SEARCHES[search](
            oracles.step, None, weights, oracles.zero_state(1), bos=0, eos=eos, max_length=length,
            processors=(decoding.finite_state(transitions),),
        )
    )(jnp.asarray(transitions))  # fmt: skip
    places = np.flatnonzero(np.asarray(decoded.lengths[0]))
    found = [oracles.found(decoded, 0, place) for place in places]
    assert set(found) <= sequences
    np.testing.assert_array_equal(np.isneginf(decoded.scores[0]), np.asarray(decoded.lengths[0]) == 0)
    if search in ("beam", "stochastic", "exhaustive"):  # wide enough for all there are
        assert set(found) == sequences and len(found) == len(sequences)


@pytest.mark.parametrize(("digits", "expected"), [([5, 7], (0, 1)), ([5, 7, 5], (0, 1, 0)), ([5, 7, 5, 7], None)])
def test_a_word_is_typed_to_its_end(digits, expected):
    def step(params, context, state, token):
        return jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1])), state

    search = functools.partial(
        decoding.greedy_search, step, None, None, jnp.zeros((1, 0)), bos=0, eos=None, max_length=len(expected or "two"),
        processors=(decoding.keypad(digits, [5, 7, 8, 9], eos=None),),
    )  # fmt: skip
    if expected is None:
        with pytest.raises(ValueError, match="no token"):
            search()
    else:
        assert oracles.found(search(), 0) == expected


def test_new_constraints_compile_nothing_and_lower(compilations, lowers):
    weights = oracles.random_weights(1, 2, vocabulary=4)

    def decode(processors):
        settings = {"bos": 0, "eos": 3, "max_length": 4, "processors": processors}
        return decoding.greedy_search(oracles.step, None, weights, oracles.zero_state(2), **settings)

    def processors(seed):
        free = np.random.default_rng(seed).integers(0, 3, (3, 4))
        return (
            decoding.keypad([seed, seed, -1], [0, 1, 0, -1], eos=None),
            decoding.finite_state(free, start=seed),
            decoding.min_length(seed + 1, eos=3),
            decoding.repetition_penalty(1.0 + seed),
            decoding.ban([3 * seed]),
            decoding.force([-1, -1, seed]),
            decoding.no_repeat_ngram(3),
        )

    first, second = processors(0), processors(1)
    decode(first[:2] + first[3:4])
    with compilations() as compiled:
        decode(second[:2] + second[3:4])
    assert not compiled
    lowers(jax.vmap(lambda logits: [process(None, history(0, 1), logits) for process in first]), jnp.zeros((2, 4)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: decoding.no_repeat_ngram(0), "n: expected at least 1, got 0"),
        (lambda: decoding.repetition_penalty(0.9), "theta: expected at least 1, got 0.9"),
        (lambda: decoding.finite_state(np.array([[0, 2], [1, -1]])), "transitions: expected states below 2.*got 2"),
        (
            lambda: decoding.finite_state(np.array([[0, 1], [1, -1]]), start=2),
            "start: expected a state from 0 to 1, got 2",
        ),
        (lambda: decoding.trie([], 4, eos=0), "words: expected at least one, got none"),
        (lambda: decoding.trie([[1], []], 4, eos=0), "at least one token in each"),
        (lambda: decoding.trie([[1, 0]], 4, eos=0), r"not eos or separator, got \[1, 0\]"),
        (lambda: decoding.trie([[1, 2]], 4, eos=0, separator=2), r"not eos or separator, got \[1, 2\]"),
        (lambda: decoding.trie([[4]], 4, eos=0), "tokens below 4"),
    ],
)
def test_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
