import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqjax.training.expected_risk import edit_distance, expected_risk, first_of_equal

N = 7
WORDS = st.lists(st.integers(0, 3), max_size=N)
PAIRS = jax.jit(jax.vmap(edit_distance))
FIRST = jax.jit(first_of_equal)


def levenshtein(a, b):
    table = np.add.outer(np.arange(len(a) + 1), np.arange(len(b) + 1))
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (x != y))
    return table[-1, -1]


def padded(words, filler):
    return (
        jnp.array([word + [filler] * (N - len(word)) for word in words]),
        jnp.array([len(word) for word in words]),
    )


@given(st.lists(st.tuples(WORDS, WORDS), min_size=8, max_size=8))
def test_edit_distance_of_the_table_whatever_the_padding(pairs):
    a, b = zip(*pairs, strict=True)
    expected = [levenshtein(*pair) for pair in pairs]
    for fillers in ((0, 0), (1, 9)):
        np.testing.assert_array_equal(PAIRS(*padded(a, fillers[0]), *padded(b, fillers[1])), expected)


def test_edit_distance_of_unequal_shapes_and_of_nothing():
    long, nothing = jnp.arange(9), jnp.zeros(0, int)
    assert edit_distance(long, 9, long[2:5], 3) == edit_distance(long[2:5], 3, long, 9) == 6
    assert edit_distance(nothing, 0, long, 4) == edit_distance(long, 4, nothing, 0) == 4
    assert edit_distance(nothing, 0, nothing, 0) == 0


@given(st.lists(WORDS, min_size=6, max_size=6), st.integers(0, 3))
def test_first_of_equal(words, repeats):
    words = words + words[:repeats]
    words = words + [[0]] * (9 - len(words))
    expected = [word not in words[:k] for k, word in enumerate(words)]
    tokens, lengths = padded(words, 0)
    noise = jnp.where(jnp.arange(N)[None] < lengths[:, None], tokens, jnp.arange(9)[:, None])  # other padding in each
    np.testing.assert_array_equal(FIRST(tokens, lengths), expected)
    np.testing.assert_array_equal(FIRST(noise, lengths), expected)


def test_first_of_equal_within_each_row_of_a_batch():
    tokens = jnp.array([[[[1, 2], [1, 2]], [[1, 3], [1, 2]]]])
    assert FIRST(tokens, jnp.array([[[2, 2], [2, 2]]])).tolist() == [[[True, False], [True, True]]]
    assert FIRST(tokens, jnp.array([[[2, 1], [1, 1]]])).tolist() == [[[True, True], [True, False]]]


def by_hand(log_probs, risks, mask, a):
    """Risk of each row and its gradient, over the candidates that count alone."""
    values, gradients = np.zeros(len(log_probs)), np.zeros(log_probs.shape)
    for row, counts in enumerate(mask):
        if counts.any():
            weights = np.exp(log_probs[row, counts]) ** a
            weights /= weights.sum()
            values[row] = weights @ risks[row, counts]
            gradients[row, counts] = a * weights * (risks[row, counts] - values[row])
    return values, gradients


@pytest.mark.parametrize("a", [5e-3, 1.0, 3.0])
@pytest.mark.parametrize("garbage", [0.0, np.nan, np.inf, -np.inf])
def test_value_and_gradient_are_those_written_by_hand(x64, a, garbage):
    rng = np.random.default_rng(0)
    log_probs, risks = -rng.uniform(0, 20, (5, 6)), rng.uniform(0, 4, (5, 6))
    mask = rng.uniform(size=(5, 6)) < 0.7
    mask[0], mask[1] = True, False
    values, gradients = by_hand(log_probs, risks, mask, a)
    given = jnp.where(mask, jnp.array(log_probs), garbage), jnp.where(mask, jnp.array(risks), garbage)

    def total(log_probs, risks):
        value = expected_risk(log_probs, risks, sharpness=a, mask=jnp.array(mask))
        return value.sum(), value

    (_, value), (gradient, of_risks) = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(*given)
    np.testing.assert_allclose(value, values, rtol=1e-12)
    np.testing.assert_allclose(gradient, gradients, rtol=1e-9, atol=1e-13)
    assert not of_risks.any()
    unmasked = expected_risk(jnp.array(log_probs[0]), jnp.array(risks[0]), sharpness=a)
    np.testing.assert_allclose(unmasked, values[0], rtol=1e-12)


def test_very_improbable_candidates_do_not_underflow():
    log_probs = jnp.array([-2000.0, -2000.0 - np.log(3.0)])
    np.testing.assert_allclose(expected_risk(log_probs, jnp.array([0, 4]), sharpness=1.0), 1.0, rtol=1e-3)


def test_all_lower_and_new_lengths_compile_nothing(lowers, compilations):
    tokens, lengths = padded([[1, 2], [3]], 0)
    lowers(jax.vmap(edit_distance), tokens, lengths, tokens, lengths)
    lowers(first_of_equal, tokens, lengths)
    lowers(jax.grad(lambda p: expected_risk(p, lengths, mask=lengths > 1)), jnp.zeros(2))
    PAIRS(tokens, lengths, tokens, lengths)
    inputs = padded([[], [1, 2, 3, 4]], 5)
    with compilations() as compiled:
        PAIRS(*inputs, tokens, lengths)
    assert compiled == []


def test_bad_arguments(unchecked):
    row = jnp.zeros(3)
    with pytest.raises(ValueError, match=r"risks: expected the shape \(3,\) of log_probs, got \(2,\)"):
        expected_risk(row, row[:2])
    with pytest.raises(ValueError, match=r"mask: expected the shape \(3,\) of log_probs, got \(2,\)"):
        expected_risk(row, row, mask=row[:2] > 0)
    for sharpness in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"sharpness: expected a number above 0, got {sharpness}"):
            expected_risk(row, row, sharpness=sharpness)
    with pytest.raises(ValueError, match=r"a: expected one axis, got the shape \(2, 3\)"):
        edit_distance(jnp.zeros((2, 3), int), 3, jnp.zeros(3, int), 3)
    with pytest.raises(ValueError, match=r"lengths: expected shape \(2,\), one per candidate, got \(3,\)"):
        first_of_equal(jnp.zeros((2, 3), int), jnp.zeros(3, int))
