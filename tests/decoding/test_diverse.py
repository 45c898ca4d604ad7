"""Diverse beam search against a plain loop, and against beam search where there is nothing to avoid."""

import decoding_oracles as oracles
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decoding


def diverse(weights, rows, **settings):
    common = {"bos": 0, "eos": 1, "max_length": 6}
    return decoding.diverse_beam_search(oracles.step, None, weights, oracles.zero_state(rows), **common | settings)


@pytest.mark.parametrize(("groups", "size", "diversity"), [(1, 3, 5.0), (3, 1, 0.7), (2, 2, 1.5)])
def test_is_the_loop_that_never_stops_early(groups, size, diversity):
    rows = 12
    weights = oracles.random_weights(0, rows, vocabulary=4, sharpness=0.6)
    penalty = {"length_penalty": decoding.mean_log_prob} if groups == 2 else {}
    decoded = diverse(weights, rows, beam_size=groups * size, groups=groups, diversity=diversity, **penalty)
    plain = (lambda log_prob, length: log_prob / length) if penalty else (lambda log_prob, length: log_prob)
    for b in range(rows):
        expected = oracles.diverse_beam(oracles.row(weights, b), 0, 1, 6, size, groups, diversity, plain)
        np.testing.assert_allclose(decoded.scores[b], [score for score, _ in expected], atol=2e-5)
        assert [oracles.found(decoded, b, place) for place in range(groups * size)] == [
            tokens for _, tokens in expected
        ]
        for place, (_, tokens) in enumerate(expected):
            log_prob = oracles.log_prob(oracles.row(weights, b), 0, tokens)
            assert decoded.log_probs[b, place] == pytest.approx(log_prob, abs=2e-5)


def test_without_diversity_every_group_is_a_beam_search():
    weights = oracles.random_weights(1, 4, vocabulary=5)
    together = diverse(weights, 4, beam_size=6, groups=3, diversity=0.0)
    one = decoding.beam_search(
        oracles.step, None, weights, oracles.zero_state(4), beam_size=2, n_best=2, bos=0, eos=1, max_length=6
    )
    np.testing.assert_array_equal(together.tokens, jnp.repeat(one.tokens, 3, axis=1))
    np.testing.assert_allclose(together.scores, jnp.repeat(one.scores, 3, axis=1), rtol=1e-5)


def test_new_values_compile_nothing_and_it_lowers(compilations, lowers):
    def decode(weights, diversity):
        processors = (decoding.no_repeat_ngram(2),)
        return diverse(weights, 2, beam_size=4, groups=2, diversity=diversity, eos=None, processors=processors)

    first, second = (oracles.random_weights(seed, 2, vocabulary=5) for seed in (2, 3))
    decode(first, 0.5)
    with compilations() as compiled:
        decode(second, 0.9)
    assert not compiled
    lowers(lambda weights: decode(weights, 0.5), first)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beam_size": 0}, "beam_size: expected at least 1, got 0"),
        ({"groups": 0}, "groups: expected at least 1, got 0"),
        ({"groups": 3}, "groups: expected a divisor of beam_size, 4, got 3"),
        ({"diversity": -0.1}, "diversity: expected at least 0 and finite, got -0.1"),
        ({"diversity": float("inf")}, "diversity: expected at least 0 and finite, got inf"),
    ],
)
def test_wrong_argument_is_named(wrong, message):
    weights = oracles.random_weights(4, 1, vocabulary=4)
    with pytest.raises(ValueError, match=message):
        diverse(weights, 1, **{"beam_size": 4, "groups": 2, "diversity": 1.0} | wrong)
