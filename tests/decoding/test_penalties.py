"""Penalties against their equations; how a search uses them stands in test_decoding_beam."""

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decoding

LOG_PROBS, LENGTHS = jnp.array([-1.0, -6.0, -6.0]), jnp.array([1, 7, 13])


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (decoding.no_penalty, [-1, -6, -6]),
        (decoding.mean_log_prob, [-1, -6 / 7, -6 / 13]),
        (decoding.gnmt_length(0.0), [-1, -6, -6]),
        (decoding.gnmt_length(1.0), [-1, -3, -2]),
        (decoding.gnmt_length(0.5), [-1, -6 / 2**0.5, -6 / 3**0.5]),
    ],
)
def test_length_penalty(penalty, expected):
    np.testing.assert_allclose(penalty(LOG_PROBS, LENGTHS), expected, rtol=1e-6)


def test_coverage_penalty_counts_what_is_there():
    attended = jnp.array([0.5, 2.0, 0.25, 0.0])
    mask = jnp.array([True, True, True, False])
    penalty = decoding.gnmt_coverage(0.2, lambda context, state: state, mask=lambda context: context)
    assert penalty(mask, attended) == pytest.approx(0.2 * np.log(0.5 * 0.25), rel=1e-6)
    assert penalty(jnp.zeros(4, bool), attended) == 0
    assert np.isfinite(decoding.gnmt_coverage(0.2, lambda context, state: state)(None, attended))


def test_refuses_a_reward_for_what_is_not_covered():
    with pytest.raises(ValueError, match="beta: expected at least 0, got -1"):
        decoding.gnmt_coverage(-1.0, lambda context, state: state)
