"""CTC loss and searches against brute force over all paths."""

import itertools

import decoding_oracles as oracles
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from seqjax import decoding


def random_logits(seed, *shape, sharpness=1.5):
    return jnp.asarray(sharpness * np.random.default_rng(seed).normal(size=shape), jnp.float32)


def log_probs_of(logits):
    frames = np.asarray(logits, np.float64)
    return np.array([oracles.log_softmax(frame) for frame in frames]).reshape(frames.shape)


@pytest.mark.parametrize("blank", [0, 2])
def test_loss_is_the_sum_over_all_paths(blank):
    frames, vocabulary = 4, 3
    symbols = [symbol for symbol in range(vocabulary) if symbol != blank]
    labels = [row for count in range(4) for row in itertools.product(symbols, repeat=count)]
    rows = len(labels)
    logits = random_logits(0, rows, frames, vocabulary)
    lengths = np.arange(rows) % (frames + 1)
    padded = np.full((rows, 4), symbols[0])
    for b, row in enumerate(labels):
        padded[b, : len(row)] = row
    # Nothing in the padding matters.
    dirty = jnp.where((np.arange(frames) >= lengths[:, None])[..., None], jnp.nan, logits)
    losses = decoding.ctc_loss(
        dirty, jnp.array(lengths), jnp.array(padded), jnp.array([len(row) for row in labels]), blank=blank
    )
    for b, row in enumerate(labels):
        prob = oracles.ctc_probabilities(log_probs_of(logits[b, : lengths[b]]), blank).get(row, 0.0)
        assert bool(losses.alignable[b]) == (prob > 0)
        assert losses.loss[b] == pytest.approx(-np.log(prob) if prob else np.inf, rel=1e-4, abs=1e-6)
    assert losses.alignable.any() and not losses.alignable.all()


def test_loss_is_never_negative():
    logits = jnp.array([[[0.0, 17.0], [0.0, 17.0]]])
    losses = decoding.ctc_loss(logits, jnp.array([2]), jnp.array([[1]]), jnp.array([1]))
    assert losses.loss[0] == 0


def test_symbols_of_probability_zero():
    logits = jnp.log(jnp.array([[[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]] * 2))

    def losses_of(logits):
        losses = decoding.ctc_loss(logits, jnp.array([2, 2]), jnp.array([[1], [2]]), jnp.array([1, 1]))
        return losses.loss[0], losses

    gradient, losses = jax.grad(losses_of, has_aux=True)(logits)
    np.testing.assert_allclose(losses.loss, [-np.log(0.75), np.inf], rtol=1e-6)
    assert losses.alignable.tolist() == [True, False]
    np.testing.assert_allclose(gradient[0], [[1 / 6, -1 / 6, 0]] * 2, atol=1e-6)
    assert not gradient[1].any()


def test_weight_zero_leaves_the_language_model_out():
    def no_label(params, context, state, token):
        return jnp.array([0.0, -jnp.inf, 0.0]), state

    model = decoding.LanguageModel(no_label, None, None, jnp.zeros((2, 0)), bos=0, weight=0.0, bonus=0.0)
    arguments = random_logits(3, 2, 5, 3), jnp.array([5, 3])
    without, weightless = (
        decoding.ctc_beam_search(*arguments, beam_size=4, language_model=each) for each in (None, model)
    )
    jax.tree.map(np.testing.assert_array_equal, without, weightless)


def test_blank_is_no_label():
    losses = decoding.ctc_loss(jnp.zeros((2, 3, 2)), jnp.array([3, 3]), jnp.array([[1, 0], [1, 0]]), jnp.array([1, 2]))
    assert losses.alignable.tolist() == [True, False] and np.isposinf(losses.loss[1])


def test_gradient(x64):
    logits = random_logits(1, 3, 5, 3).astype(jnp.float64)
    lengths, labels, label_lengths = jnp.array([5, 4, 1]), jnp.array([[1, 2], [2, 2], [1, 2]]), jnp.array([2, 2, 2])

    def loss(logits):
        losses = decoding.ctc_loss(jnp.asarray(logits), lengths, labels, label_lengths)
        return jnp.sum(losses.loss, where=losses.alignable)

    jax.test_util.check_grads(loss, (logits,), order=1, modes=["rev"])
    dirty = logits.at[1, 4:].set(jnp.nan).at[2, 1:].set(jnp.inf)
    gradient = jax.grad(loss)(dirty)
    assert np.isfinite(gradient).all() and not gradient[2].any() and not gradient[1, 4:].any()
    # The infinite loss of a row without an alignment has a gradient of zero as well.
    np.testing.assert_array_equal(
        gradient[:2], jax.grad(lambda x: decoding.ctc_loss(x, lengths, labels, label_lengths).loss.sum())(dirty)[:2]
    )


@hypothesis.given(st.integers(0, 1000), st.integers(0, 2))
@hypothesis.settings(max_examples=10)
def test_greedy_search_collapses_the_best_path(seed, blank):
    logits = random_logits(seed, 4, 6, 3)
    lengths = np.array([6, 0, 3, 5])
    dirty = jnp.where((np.arange(6) >= lengths[:, None])[..., None], jnp.nan, logits)
    decoded = decoding.ctc_greedy_search(dirty, jnp.array(lengths), blank=blank, pad=-1)
    for b in range(4):
        log_probs = log_probs_of(logits[b, : lengths[b]])
        expected = oracles.labels_of(tuple(log_probs.argmax(axis=1)) if lengths[b] else (), blank)
        assert oracles.found(decoded, b) == expected
        assert (decoded.tokens[b, 0, len(expected) :] == -1).all()
        assert decoded.scores[b, 0] == pytest.approx(sum(frame.max() for frame in log_probs), rel=1e-5)


@pytest.mark.parametrize("blank", [0, 2])
def test_beam_of_everything_is_brute_force(blank):
    frames, vocabulary, n_best = 5, 3, 6
    logits = random_logits(2, 6, frames, vocabulary).at[0, 0, 1].set(-jnp.inf).at[1, 0, (blank + 1) % 3].set(-jnp.inf)
    lengths = np.array([5, 4, 3, 2, 1, 0])
    dirty = jnp.where((np.arange(frames) >= lengths[:, None])[..., None], jnp.nan, logits)
    decoded = decoding.ctc_beam_search(dirty, jnp.array(lengths), beam_size=80, n_best=n_best, blank=blank, pad=-1)
    for b in range(6):
        probabilities = oracles.ctc_probabilities(log_probs_of(logits[b, : lengths[b]]), blank)
        possible = [item for item in probabilities.items() if item[1] > 0]
        best = sorted(possible, key=lambda item: -item[1])[:n_best]
        for place, (labels, prob) in enumerate(best):
            assert oracles.found(decoded, b, place) == labels
            assert decoded.scores[b, place] == pytest.approx(np.log(prob), abs=2e-5)
            assert (decoded.tokens[b, place, len(labels) :] == -1).all()
        assert np.isneginf(decoded.scores[b, len(best) :]).all() and not decoded.lengths[b, len(best) :].any()
    np.testing.assert_array_equal(decoded.scores, decoded.log_probs)


@pytest.mark.parametrize("with_model", [False, True])
def test_narrow_beam_is_the_search_with_a_dictionary(with_model):
    """The language model's weight, bonus and states; its opinion of the blank is left out."""
    rows, frames, vocabulary, blank = 5, 7, 4, 1
    logits = random_logits(3, rows, frames, vocabulary)
    weights = oracles.random_weights(4, rows, vocabulary=vocabulary)
    model = decoding.LanguageModel(oracles.step, None, weights, oracles.zero_state(rows), bos=0, weight=0.6, bonus=0.4)
    decoded = decoding.ctc_beam_search(
        logits, jnp.full(rows, frames), beam_size=4, n_best=3, blank=blank, language_model=model if with_model else None
    )
    for b in range(rows):

        def added(labels, b=b):
            total = 0.0
            for t, label in enumerate(labels):
                log_probs = oracles.next_log_probs(oracles.row(weights, b), (0, *labels[:t]))
                log_probs[blank] = -np.inf
                total += 0.6 * oracles.log_softmax(log_probs)[label] + 0.4
            return total if with_model else 0.0

        expected = oracles.ctc_beam(log_probs_of(logits[b]), blank, 4, 3, added)
        for place, (score, log_prob, labels) in enumerate(expected):
            assert oracles.found(decoded, b, place) == labels
            assert decoded.scores[b, place] == pytest.approx(score, abs=5e-5)
            assert decoded.log_probs[b, place] == pytest.approx(log_prob, abs=5e-5)


def test_new_values_compile_nothing_and_it_lowers(compilations, lowers):
    def run(logits, lengths, weights):
        model = decoding.LanguageModel(oracles.step, None, weights, oracles.zero_state(2), bos=0, weight=0.5)
        labels = jnp.ones((2, 2), int)
        return (
            jax.jit(decoding.ctc_loss)(logits, lengths, labels, lengths),
            jax.jit(decoding.ctc_greedy_search)(logits, lengths),
            decoding.ctc_beam_search(logits, lengths, beam_size=3, language_model=model),
        )

    inputs = [
        (random_logits(seed, 2, 4, 3), jnp.array([seed - 4, 1]), oracles.random_weights(seed, 2, vocabulary=3))
        for seed in (5, 6)
    ]
    run(*inputs[0])
    with compilations() as compiled:
        run(*inputs[1])
    assert not compiled
    lowers(run, *inputs[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"logits": jnp.zeros((2, 4, 3), int)}, r"logits: expected floats of shape \[B, T, V\], got int32"),
        ({"lengths": jnp.array([1])}, r"lengths: expected shape \(2,\), got \(1,\)"),
        ({"blank": 3}, "blank: expected a symbol below 3, got 3"),
        ({"beam_size": 0}, "beam_size: expected at least 1, got 0"),
        ({"n_best": 4}, "n_best: expected at least 1 and at most beam_size, 3, got 4"),
        ({"vocabulary": 4}, "language_model: expected 2 rows and 3 logits, as in the frames, got 2 and 4"),
    ],
)
def test_wrong_argument_is_named(wrong, message, unchecked):
    settings = {"logits": jnp.zeros((2, 4, 3)), "lengths": jnp.array([4, 4]), "beam_size": 3, "vocabulary": 3} | wrong
    weights = oracles.random_weights(7, 2, vocabulary=settings.pop("vocabulary"))
    model = decoding.LanguageModel(oracles.step, None, weights, oracles.zero_state(2), bos=0)
    with pytest.raises(ValueError, match=message):
        decoding.ctc_beam_search(language_model=model, **settings)
