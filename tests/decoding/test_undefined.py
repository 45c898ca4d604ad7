"""Every search: logits that are NaN or infinite are seen, and what is impossible has length 0 and score -inf."""

from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis.extra import numpy as st_numpy

from seqjax import decoding
from seqjax.layers import crf

V, LENGTH, EOS = 4, 3, 1
UNDEFINED = [np.nan, np.inf]


def step(params, context, state, token):
    """A table of logits for each row: the logits after each token."""
    return context[token], state


def searches():
    """Each search of a step function, as a function of the tables of its rows, [B, V, V]."""
    settings = {"bos": 0, "eos": EOS, "max_length": LENGTH}

    def state(tables):
        return jnp.zeros((len(tables), 0))

    def of(search, *key, **more):
        return lambda tables, **other: search(*key, step, None, tables, state(tables), **settings, **more, **other)

    key = jax.random.key(0)
    return {
        "greedy": of(decoding.greedy_search),
        "sample": of(decoding.sample, key, num_samples=3),
        "beam": of(decoding.beam_search, beam_size=3, n_best=3),
        "diverse": of(decoding.diverse_beam_search, beam_size=4, groups=2, diversity=0.5),
        "stochastic": of(decoding.stochastic_beam_search, key, num_samples=3),
        "exhaustive": of(decoding.exhaustive_search, n_best=3),
    }


SEARCHES = searches()
LENGTHS = jnp.array([3, 3])
CTC_SEARCHES = {
    "ctc_greedy": decoding.ctc_greedy_search,
    "ctc_beam": partial(decoding.ctc_beam_search, beam_size=3, n_best=2),
}


def assert_nothing_found(decoded, row, value):
    assert (np.asarray(decoded.lengths[row]) == 0).all() and (np.asarray(decoded.tokens[row]) == 0).all()
    np.testing.assert_array_equal(decoded.scores[row], np.full(decoded.scores.shape[1], value))
    np.testing.assert_array_equal(decoded.log_probs[row], np.full(decoded.scores.shape[1], value))


@pytest.mark.parametrize("processed", [False, True])
@pytest.mark.parametrize("undefined", UNDEFINED)
@pytest.mark.parametrize("name", SEARCHES)
def test_a_row_with_a_logit_that_is_no_number_is_named_or_nan(name, undefined, processed):
    tables = jnp.asarray(np.random.default_rng(0).normal(size=(3, V, V)), jnp.float32)
    processors = (decoding.temperature(0.7),) if processed else ()
    search = jax.jit(partial(SEARCHES[name], processors=processors))
    bad = tables.at[1, 0, 2].set(undefined)  # among the first logits of row 1
    with pytest.raises(ValueError, match=r"^step: .*row\(s\) \[1\]"):
        SEARCHES[name](bad, processors=processors)
    good, decoded = search(tables), search(bad)
    assert_nothing_found(decoded, 1, np.nan)
    for row in 0, 2:  # the others do not see it
        jax.tree.map(lambda a, b, row=row: np.testing.assert_array_equal(a[row], b[row]), decoded, good)


@pytest.mark.parametrize("name", [name for name in SEARCHES if name != "sample"])
def test_a_branch_that_diverges_is_not_left_behind(name):
    """After token 2 the logits are NaN; with a finite branch beside it, a search would not choose it any more."""
    table = jnp.log(jnp.array([[0.2, 0.1, 0.4, 0.3]] * V)).at[2].set(jnp.nan)
    decoded = jax.jit(SEARCHES[name])(table[None])
    assert_nothing_found(decoded, 0, np.nan)
    with pytest.raises(ValueError, match=r"row\(s\) \[0\]"):
        SEARCHES[name](table[None])


def test_a_sample_is_nan_if_its_own_logits_are():
    table = jnp.log(jnp.array([[0.3, 0.1, 0.3, 0.3]] * V)).at[2].set(jnp.nan)
    decoded = jax.jit(
        lambda table: decoding.sample(
            jax.random.key(0), step, None, table, jnp.zeros((1, 0)), bos=0, eos=EOS, max_length=2, num_samples=200
        )
    )(table[None])
    undefined = np.isnan(decoded.scores[0])
    assert 0 < undefined.sum() < 200
    first = np.asarray(decoded.tokens[0, :, 0])
    assert set(first[~undefined]) == {0, 1, 3} and (np.asarray(decoded.lengths[0])[undefined] == 0).all()


@pytest.mark.parametrize("name", SEARCHES)
def test_what_is_impossible_has_length_0_and_no_probability(name):
    """Nothing is possible in row 0; row 1 has a dead end after token 2."""
    tables = jnp.log(jnp.array([[[0.0] * V] * V, [[0.2, 0.2, 0.4, 0.2]] * V, [[0.25] * V] * V]))
    tables = tables.at[1, 2].set(-jnp.inf)
    for decoded in SEARCHES[name](tables), jax.jit(SEARCHES[name])(tables):
        assert_nothing_found(decoded, 0, -np.inf)
        impossible = np.isneginf(decoded.scores)
        np.testing.assert_array_equal(np.isneginf(decoded.log_probs), impossible)
        np.testing.assert_array_equal(np.asarray(decoded.lengths) == 0, impossible)
        assert not np.isnan(decoded.scores).any() and not impossible[2].any()
        for place in np.flatnonzero(~impossible[1]):  # token 2 may only be the last
            length = int(decoded.lengths[1, place])
            assert 2 not in np.asarray(decoded.tokens[1, place, : min(length, LENGTH - 1)])


@pytest.mark.parametrize("undefined", UNDEFINED)
@pytest.mark.parametrize("name", CTC_SEARCHES)
def test_frames_that_are_no_numbers_are_named_or_nan_within_the_length(name, undefined):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, V)), jnp.float32)
    search, bad = CTC_SEARCHES[name], logits.at[1, 2, 3].set(undefined)
    with pytest.raises(ValueError, match=r"^logits: .*row\(s\) \[1\]"):
        search(bad, LENGTHS)
    decoded = jax.jit(search)(bad, LENGTHS)
    assert_nothing_found(decoded, 1, np.nan)
    shorter = jnp.array([3, 2])
    jax.tree.map(np.testing.assert_array_equal, search(bad, shorter), search(logits, shorter))


def test_a_language_model_that_diverges_is_seen():
    def diverging(params, context, state, token):
        return jnp.where(token == 2, params, jnp.zeros(V)), state

    def model(undefined):
        return decoding.LanguageModel(diverging, jnp.full(V, undefined), None, jnp.zeros((1, 0)), bos=0)

    logits = jnp.zeros((1, 3, V))
    search = partial(decoding.ctc_beam_search, logits, jnp.array([3]), beam_size=5)
    with pytest.raises(ValueError, match=r"row\(s\) \[0\]"):
        search(language_model=model(jnp.nan))
    assert np.isnan(jax.jit(lambda value: search(language_model=model(value)).scores)(jnp.nan)).all()
    assert np.isfinite(search(language_model=model(0.0)).scores).all()


@pytest.mark.parametrize("undefined", UNDEFINED)
def test_viterbi_names_the_rows_or_is_nan(undefined):
    params = crf.CRFParams(jnp.zeros(V), jnp.zeros((V, V)), jnp.zeros(V))
    scores = jnp.zeros((2, 3, V)).at[1, 1, 0].set(undefined)
    with pytest.raises(ValueError, match=r"^scores: .*row\(s\) \[1\]"):
        crf.viterbi(params, scores, LENGTHS)
    best = jax.jit(crf.viterbi)(params, scores, LENGTHS)
    assert best.scores[0] == 0 and np.isnan(best.scores[1])
    assert (crf.viterbi(params, scores, jnp.array([3, 1])).scores == 0).all()


@hypothesis.given(
    st.sampled_from(list(SEARCHES)),
    st_numpy.arrays(np.float32, (2, V, V), elements=st.sampled_from([0.0, -1.5, -np.inf, np.nan, np.inf])),
)
def test_no_score_is_a_plausible_number_unless_all_logits_are(name, tables):
    """Whatever a search saw, its scores are NaN, or those of the same search over tables without undefined logits."""
    decoded = jax.jit(SEARCHES[name])(jnp.asarray(tables))
    defined = np.where(tables < np.inf, tables, -np.inf)
    expected = jax.jit(SEARCHES[name])(jnp.asarray(defined))
    for row in range(2):
        if np.isnan(decoded.scores[row]).any():
            assert not (tables[row] < np.inf).all()
        elif (tables[row, 0] < np.inf).all():  # what lies behind tokens that were not taken does not matter
            lengths = np.asarray(decoded.lengths[row])
            assert ((lengths > 0) == np.isfinite(decoded.scores[row])).all()
            if (tables[row] < np.inf).all():
                jax.tree.map(lambda a, b, row=row: np.testing.assert_array_equal(a[row], b[row]), decoded, expected)
        else:
            pytest.fail("the first logits of the row are undefined, but not its score")
