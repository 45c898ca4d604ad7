"""Beam search against enumeration and against a plain loop that never stops early."""

import itertools

import decoding_oracles as oracles
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from seqjax import decoding


def general(alpha, reward, odd, log_prob, length):
    """Several penalties in one, so that they compile once."""
    length = length.astype(log_prob.dtype)
    return log_prob / ((5.0 + length) / 6.0) ** alpha + reward * length - odd * (length % 2)


PENALTIES = {
    "none": Partial(general, 0.0, 0.0, 0.0),
    "gnmt": Partial(general, 0.8, 0.0, 0.0),
    "short": Partial(general, -1.0, 0.0, 0.0),
    "long": Partial(general, 0.0, 0.7, 0.0),
    "even": Partial(general, 0.0, 0.0, 3.0),
    "mean": decoding.mean_log_prob,
}


def assert_same(decoded, expected, pad=0):
    """Holds a search to a list of (score, tokens) for each row."""
    for b, hypotheses in enumerate(expected):
        for place, (score, tokens) in enumerate(hypotheses):
            assert decoded.scores[b, place] == pytest.approx(score, abs=2e-5)
            assert oracles.found(decoded, b, place) == tokens
            assert (decoded.tokens[b, place, len(tokens) :] == pad).all()


def search(weights, rows, step=oracles.step, **settings):
    return decoding.beam_search(step, None, weights, oracles.zero_state(rows), **{"bos": 0, "eos": 1} | settings)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_beam_of_everything_is_exhaustive_search(penalty):
    vocabulary, length, rows, n_best = 3, 4, 200, 3
    weights = oracles.random_weights(1, rows, vocabulary=vocabulary)
    settings = {"max_length": length, "n_best": n_best, "length_penalty": PENALTIES[penalty], "pad": -1}
    beam = search(weights, rows, beam_size=vocabulary**length, **settings)
    every = decoding.exhaustive_search(oracles.step, None, weights, oracles.zero_state(rows), bos=0, eos=1, **settings)
    np.testing.assert_array_equal(beam.tokens, every.tokens)
    np.testing.assert_array_equal(beam.lengths, every.lengths)
    np.testing.assert_allclose(beam.scores, every.scores, atol=1e-5)
    np.testing.assert_allclose(beam.log_probs, every.log_probs, atol=1e-5)


@pytest.mark.parametrize(
    ("penalty", "beam_size", "n_best", "eos"),
    [(name, 4, 2, 1) for name in PENALTIES] + [("long", 1, 1, 0), ("gnmt", 3, 3, None)],
)
def test_stopping_early_changes_nothing(penalty, beam_size, n_best, eos):
    rows, length = 12, 7
    weights = oracles.random_weights(2, rows, vocabulary=4, sharpness=1.2)
    function = PENALTIES[penalty]
    settings = {"eos": eos, "max_length": length, "n_best": n_best, "length_penalty": function, "pad": -1}
    decoded = search(weights, rows, bos=2, beam_size=beam_size, **settings)

    def plain(log_prob, length):
        return log_prob / length if penalty == "mean" else function(np.float64(log_prob), np.int64(length))

    expected = [oracles.beam(oracles.row(weights, b), 2, eos, length, beam_size, n_best, plain) for b in range(rows)]
    assert_same(decoded, expected, pad=-1)


@pytest.mark.parametrize("eos", [0, 6])
def test_beam_of_one_is_greedy_search(eos):
    """Also where logits of few values make for many ties, which both must break alike."""

    def rounded(params, context, state, token):
        logits, state = oracles.step(params, context, state, token)
        return jnp.round(logits * params) / params, state

    weights = oracles.random_weights(3, 64, vocabulary=7)
    for resolution in 1.0, 1e6:
        arguments = rounded, jnp.float32(resolution), weights, oracles.zero_state(64)
        settings = {"bos": 2, "eos": eos, "max_length": 8}
        beam = decoding.beam_search(*arguments, beam_size=1, **settings)
        greedy = decoding.greedy_search(*arguments, **settings)
        np.testing.assert_array_equal(beam.tokens, greedy.tokens)
        np.testing.assert_array_equal(beam.lengths, greedy.lengths)
        np.testing.assert_allclose(beam.scores, greedy.scores, rtol=1e-6)


def test_greedy_misses_what_a_beam_of_two_finds():
    # From bos 0, token 2 has 0.5 and token 3 has 0.4; after 2 the best is 0.4, after 3 eos has 0.9.
    chain = jnp.log(jnp.array([[0.05, 0.05, 0.5, 0.4], [0.25] * 4, [0.3, 0.4, 0.2, 0.1], [0.05, 0.9, 0.03, 0.02]]))

    def step(params, context, state, token):
        return params[token], state

    arguments = step, chain, None, jnp.zeros((1, 0))
    settings = {"bos": 0, "eos": 1, "max_length": 5}
    greedy = decoding.greedy_search(*arguments, **settings)
    beam = decoding.beam_search(*arguments, beam_size=2, n_best=2, **settings)
    assert oracles.found(greedy, 0) == (2, 1)
    assert [oracles.found(beam, 0, place) for place in (0, 1)] == [(3, 1), (2, 1)]
    np.testing.assert_allclose(jnp.exp(greedy.scores), [[0.2]], rtol=1e-6)
    np.testing.assert_allclose(jnp.exp(beam.scores), [[0.36, 0.2]], rtol=1e-6)


def test_row_of_a_batch_is_the_single_run():
    weights = oracles.random_weights(4, 16, vocabulary=5)
    settings = {"beam_size": 3, "n_best": 2, "max_length": 9, "length_penalty": decoding.gnmt_length(0.6)}
    together = search(weights, 16, bos=jnp.arange(16) % 5, **settings)
    assert len(set(together.lengths[:, 0].tolist())) > 3, "rows should end at different times"
    for b in range(16):
        alone = search(oracles.row(weights, slice(b, b + 1)), 1, bos=b % 5, **settings)
        np.testing.assert_array_equal(together.tokens[b], alone.tokens[0])
        np.testing.assert_allclose(together.scores[b], alone.scores[0], rtol=1e-5)


def test_stops_as_soon_as_it_is_safe():
    """Counts the steps of a row that ends at once, beside one that goes on."""
    steps = []

    def step(params, context, state, token):
        jax.debug.callback(lambda t: steps.append(int(t)), state)
        return jnp.where(state < context, jnp.array([4.0, -4.0]), jnp.array([-9.0, 9.0])), state + 1

    def run(ends, **settings):
        steps.clear()
        decoded = decoding.beam_search(
            step, None, jnp.array(ends), jnp.zeros(len(ends), int), bos=0, eos=1, max_length=50, **settings
        )
        jax.effects_barrier()
        return decoded, max(steps) + 1

    decoded, taken = run([0, 0], beam_size=2)
    assert taken == 1 and decoded.lengths.tolist() == [[1], [1]]
    decoded, taken = run([6, 3], beam_size=1)
    assert taken == 7 and decoded.lengths.tolist() == [[7], [4]]
    decoded, taken = run([6, 3], beam_size=4, n_best=3, length_penalty=decoding.gnmt_length(1.0))
    assert 7 < taken < 50


def test_state_is_reordered_leaf_by_leaf_and_context_is_not():
    """A state of leaves of every rank, whose logits are random functions of the whole history."""

    def step(params, context, state, token):
        count, trace, key, (grid,) = state
        key = jax.random.fold_in(key, token)
        trace = trace.at[count].set(token)
        noise = (jax.random.key_data(key)[0] >> jnp.arange(0, 32, 8, dtype=jnp.uint32)) % 256
        logits = (
            noise.astype(jnp.float32) / 99.0
            + context["bias"]
            + grid[count % 2, 0, 0]
            + 0.1 * trace.sum().astype(jnp.float32)
        )
        return logits, (count + 1, trace, key, (grid.at[count % 2].add(token.astype(jnp.float32) / 3.0),))

    rows, length = 3, 3
    state = (
        jnp.zeros(rows, int),
        jnp.zeros((rows, length), int),
        jax.random.split(jax.random.key(0), rows),
        (jnp.zeros((rows, 2, 2, 1)),),
    )
    arguments = step, None, {"bias": jnp.arange(12.0).reshape(3, 4) / 9}, state
    settings = {"bos": 3, "eos": 1, "max_length": length, "n_best": 6}
    beam = decoding.beam_search(*arguments, beam_size=4**length, **settings)
    every = decoding.exhaustive_search(*arguments, **settings)
    np.testing.assert_array_equal(beam.tokens, every.tokens)
    np.testing.assert_allclose(beam.scores, every.scores, rtol=1e-5)


def test_context_is_never_held_once_per_hypothesis():
    source, hidden, beam_size = 1024, 64, 8

    def step(params, context, state, token):
        return jax.nn.softmax(context @ state) @ context, state

    def decode(context, state):
        return decoding.beam_search(step, None, context, state, beam_size=beam_size, bos=0, eos=1, max_length=9)

    arguments = jnp.zeros((2, source, hidden)), jnp.zeros((2, hidden))
    compiled = jax.jit(decode).lower(*arguments).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < arguments[0].nbytes


@pytest.mark.parametrize(("vocabulary", "length", "eos"), [(2, 3, 1), (1, 2, 0), (1, 3, None), (2, 1, 0), (3, 2, None)])
def test_vocabulary_smaller_than_the_beam(vocabulary, length, eos):
    weights = oracles.random_weights(5, 2, vocabulary=vocabulary)
    decoded = search(weights, 2, beam_size=12, n_best=12, eos=eos, max_length=length, pad=-1)
    for b in range(2):
        expected = oracles.best(oracles.row(weights, b), 0, eos, length, n_best=12)
        assert_same(oracles.row(decoded, slice(b, b + 1)), [expected], pad=-1)
        assert np.isneginf(decoded.scores[b, len(expected) :]).all()
        assert not decoded.lengths[b, len(expected) :].any()
        assert (decoded.tokens[b, len(expected) :] == -1).all()


def test_row_in_which_nothing_finished_is_scored_like_the_others():
    def step(params, context, state, token):
        return jnp.log(jnp.array([0.6, 0.3, 0.1])) + jnp.where(jnp.arange(3) == 2, context, 0.0), state

    never = -jnp.inf
    decoded = decoding.beam_search(
        step, None, jnp.array([0.0, never]), (), beam_size=2, bos=0, eos=2, max_length=4,
        length_penalty=decoding.mean_log_prob,
    )  # fmt: skip
    assert decoded.lengths.tolist() == [[4], [4]]
    np.testing.assert_allclose(decoded.scores, decoded.log_probs / 4)
    np.testing.assert_allclose(decoded.scores, jnp.log(jnp.array([[0.6], [0.6 / 0.9]])), rtol=1e-6)


@pytest.mark.parametrize("processor", ["temperature", "ban", "min_length", "no_repeat_ngram"])
def test_processors_see_the_history_of_their_own_hypothesis(processor):
    beam_size, eos = 3, 2

    def banned(history, log_probs):
        return np.where(np.arange(4) == 1, -np.inf, log_probs)

    def too_short(history, log_probs):
        return np.where((np.arange(4) == eos) & (len(history) < 2), -np.inf, log_probs)

    def repeated(history, log_probs):
        pairs = set(itertools.pairwise(history))
        return np.where([bool(history) and (history[-1], v) in pairs for v in range(4)], -np.inf, log_probs)

    process, rule = {
        "temperature": (decoding.temperature(2.0), lambda history, log_probs: log_probs / 2),
        "ban": (decoding.ban([1]), banned),
        "min_length": (decoding.min_length(3, eos=eos), too_short),
        "no_repeat_ngram": (decoding.no_repeat_ngram(2), repeated),
    }[processor]
    weights = oracles.random_weights(10, 12, vocabulary=4, sharpness=1.0)
    decoded = search(weights, 12, beam_size=beam_size, eos=eos, max_length=6, processors=(process,))
    for b in range(12):
        one = oracles.row(weights, b)
        [(score, tokens)] = oracles.beam(one, 0, eos, 6, beam_size, rule=rule)
        assert oracles.found(decoded, b) == tokens
        assert decoded.scores[b, 0] == pytest.approx(score, abs=2e-5)
        assert decoded.log_probs[b, 0] == pytest.approx(oracles.log_prob(one, 0, tokens), abs=2e-5)


def test_coverage_penalty_ranks_what_is_finished():
    """States hold the attention summed so far; every token attends to the source position of its own number."""
    beta = 2.0

    def step(params, context, state, token):
        model, attended = state
        logits, model = oracles.step(params, context["weights"], model, token)
        return logits, (model, attended + 0.7 * jax.nn.one_hot(token, 4))

    def attention(context, state):
        return state[1]

    rows, length = 6, 3
    weights = oracles.random_weights(6, rows, vocabulary=4, sharpness=1.0)
    context = {"weights": weights, "mask": jnp.arange(4)[None] < jnp.array([4, 3, 2, 4, 1, 0])[:, None]}
    penalty = decoding.gnmt_coverage(beta, attention, mask=lambda context: context["mask"])
    arguments = step, None, context, (oracles.zero_state(rows), jnp.full((rows, 4), 0.05))
    settings = {"bos": 0, "eos": 1, "max_length": length, "coverage_penalty": penalty, "n_best": 4}
    settings["length_penalty"] = decoding.gnmt_length(0.5)
    beam = decoding.beam_search(*arguments, beam_size=4**length, **settings)
    every = decoding.exhaustive_search(*arguments, **settings)
    np.testing.assert_array_equal(beam.tokens, every.tokens)
    np.testing.assert_allclose(beam.scores, every.scores, rtol=1e-5)

    def scored(b, tokens):
        attended = np.full(4, 0.05)
        for token in (0, *tokens[:-1]):
            attended[token] += 0.7
        covered = np.log(np.minimum(attended, 1))[np.asarray(context["mask"][b])].sum()
        log_prob = oracles.log_prob(oracles.row(weights, b), 0, tokens)
        return log_prob / ((5 + len(tokens)) / 6) ** 0.5 + beta * covered

    for b in range(rows):
        expected = sorted((-scored(b, tokens), tokens) for tokens in oracles.every_sequence(4, 1, length))[:4]
        assert_same(
            jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], beam), [[(-score, tokens) for score, tokens in expected]]
        )


def test_new_values_compile_nothing(compilations):
    def decode(seed):
        weights = oracles.random_weights(seed, 2, vocabulary=5)
        processors = decoding.temperature(1.0 + seed), decoding.ban([seed])
        penalty = decoding.gnmt_length(0.1 * seed)
        return search(weights, 2, bos=seed, beam_size=3, max_length=6, processors=processors, length_penalty=penalty)

    decode(0)
    with compilations() as compiled:
        decode(3)
    assert not compiled


def test_lowers_and_nests_in_jit_and_vmap(lowers):
    def decode(weights):
        return search(weights, 2, beam_size=3, n_best=2, max_length=5, processors=(decoding.no_repeat_ngram(2),))

    weights = oracles.random_weights(7, 3, 2, vocabulary=5)
    lowers(decode, oracles.row(weights, 0))
    nested = jax.jit(jax.vmap(decode))(weights)
    for index in range(3):
        alone = decode(oracles.row(weights, index))
        np.testing.assert_array_equal(nested.tokens[index], alone.tokens)
        np.testing.assert_allclose(nested.scores[index], alone.scores, rtol=1e-5)


def test_float64(x64):
    weights = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), oracles.random_weights(8, 2, vocabulary=4))
    decoded = search(weights, 2, beam_size=3, max_length=5)
    assert decoded.scores.dtype == jnp.float64 and decoded.tokens.dtype == jnp.int32
    for b in range(2):
        [(score, tokens)] = oracles.beam(oracles.row(weights, b), 0, 1, 5, 3)
        assert oracles.found(decoded, b) == tokens
        assert decoded.scores[b, 0] == pytest.approx(score, rel=1e-12)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"beam_size": 0}, ValueError, "beam_size: expected at least 1, got 0"),
        ({"n_best": 0}, ValueError, "n_best: expected at least 1 and at most beam_size, 2, got 0"),
        ({"n_best": 3}, ValueError, "n_best: expected at least 1 and at most beam_size, 2, got 3"),
        ({"max_length": 0}, ValueError, "max_length: expected at least 1, got 0"),
        ({"eos": 9}, ValueError, "eos: expected a token below 4"),
        (
            {"length_penalty": lambda log_prob, length: length},
            TypeError,
            "length_penalty: expected it to return a scalar float",
        ),
        ({"length_penalty": lambda log_prob, length: (log_prob,)}, TypeError, "length_penalty: expected it to return"),
        (
            {"coverage_penalty": lambda context, state: state},
            TypeError,
            "coverage_penalty: expected it to return a scalar float",
        ),
        ({"processors": (decoding.ban([0, 1, 2, 3]),)}, ValueError, r"no token for row\(s\) \[0, 1\]"),
    ],
)
def test_wrong_argument_is_named(wrong, error, message):
    weights = oracles.random_weights(9, 2, vocabulary=4)
    with pytest.raises(error, match=message):
        search(weights, 2, **{"beam_size": 2, "max_length": 3} | wrong)


def test_dead_ends_are_left_behind():
    """A constraint that ends in nothing after the likelier first token."""

    def dead_end(context, history, logits):
        return jnp.where((history.length > 0) & (history.tokens[0] == 0), -jnp.inf, logits)

    def step(params, context, state, token):
        return jnp.log(jnp.array([0.9, 0.06, 0.04])), state

    arguments = step, None, None, jnp.zeros((1, 0))
    settings = {"bos": 0, "eos": 2, "max_length": 3, "processors": (dead_end,)}
    decoded = decoding.beam_search(*arguments, beam_size=3, n_best=3, **settings)
    assert oracles.found(decoded, 0) == (1, 0, 0)
    with pytest.raises(ValueError, match="no token"):
        decoding.beam_search(*arguments, beam_size=1, **settings)


def test_a_step_that_leaves_no_token_ends_that_hypothesis_alone():
    probs = jnp.array([[0.0, 0.6, 0.4, 0.0], [0, 0, 0, 0], [0, 0, 0, 1.0], [0, 0, 0, 1.0]])  # 1 leads nowhere

    def step(params, context, state, token):
        return jnp.log(params[token]), state

    arguments = step, probs, None, jnp.zeros((1, 0))
    settings = {"bos": 0, "eos": None, "max_length": 3}
    decoded = decoding.beam_search(*arguments, beam_size=2, n_best=2, **settings)
    assert oracles.found(decoded, 0) == (2, 3, 3)
    np.testing.assert_allclose(decoded.scores, [[np.log(0.4), -np.inf]], rtol=1e-6)
    assert np.isneginf(decoding.beam_search(*arguments, beam_size=1, **settings).scores).all()
    for found in decoding.greedy_search(*arguments, **settings), drawn_to_a_dead_end(arguments, settings):
        assert found.lengths[0, 0] == 0 and (found.tokens[0, 0] == 0).all()
        assert np.isneginf(found.scores[0, 0]) and np.isneginf(found.log_probs[0, 0])


def drawn_to_a_dead_end(arguments, settings):
    found = decoding.sample(jax.random.key(0), *arguments, num_samples=20, **settings)
    ended = int(np.argmax(found.tokens[0, :, 0] == 1))
    return jax.tree.map(lambda leaf: leaf[:, ended : ended + 1], found)
