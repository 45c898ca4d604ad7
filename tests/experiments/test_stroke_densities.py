"""Baselines of pen movements, against counts by hand and integrals."""

import numpy as np
import pytest

from experiments.baselines import stroke_densities
from experiments.baselines.stroke_densities import gaussian, mixture, nats_per_point, ngrams

RNG = np.random.default_rng(0)


def sequence(*moves):
    """Movements within one stroke, which ends the drawing."""
    movements = np.zeros((len(moves), 4))
    movements[:, :2] = moves
    movements[-1, 2:] = 1
    return movements


def flat(movements):
    """A density that knows nothing: 1/300 per unit square and state of the pen, in a square of side 10."""
    inside = (np.abs(movements[:, :2]) <= 5).all(axis=1)
    return np.where(inside, -np.log(300.0), -np.inf)


TRAIN = [sequence([0, 0], [2, 0], [2, 0]), sequence([0, 0], [2, 0], [0, 2]), sequence([0, 0], [0, 2])]


def test_ngrams_by_hand():
    with np.errstate(divide="ignore"):
        found = np.exp(ngrams(TRAIN, order=2, width=2.0, base=flat)(sequence([0.3, -0.3], [2.5, 0], [2, 0])))
    area, base = 4, 1 / 300
    # symbols: A = (0, 0) thrice, B = (2, 0) twice, B at an end once, C = (0, 2) at an end twice; 8 in all, of 4 kinds
    first = (3 / area + 4 * base) / (8 + 4)
    second = (2 / area + 4 * base) / (8 + 4)
    third = (1 / area + 4 * base) / (8 + 4)
    expected = [
        (3 / area + 1 * first) / (3 + 1),  # the start is always followed by A
        (2 / area + 2 * second) / (3 + 2),  # A by B twice, by C once
        (1 / area + 2 * third) / (2 + 2),  # B by B at an end, by C
    ]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("history", [[], [[0, 0]], [[0, 0], [2, 0]], [[4, 4]]])
def test_ngrams_integrate_to_one(history):
    density = ngrams(TRAIN, order=3, width=2.0, base=flat)
    side = np.arange(-4.95, 5, 0.1)
    total = 0.0
    before = np.zeros((len(history), 4))
    before[:, :2] = np.reshape(history, (-1, 2))
    for pen in ([0, 0], [1, 0], [1, 1]):
        for x in side[::4]:
            for y in side[::4]:
                total += np.exp(density(np.vstack([before, [x, y, *pen]]))[-1]) * 0.4**2
    assert total == pytest.approx(1, abs=1e-6)


@pytest.fixture(scope="module")
def walks():
    """Strokes whose movements turn left and right, from one to the next."""
    walks = []
    for _ in range(60):
        sides = np.where(np.arange(30) % 2, 20.0, -20.0) * RNG.choice([-1, 1])
        walks.append(sequence(*np.column_stack([sides, np.full(30, 3.0)]) + RNG.normal(size=(30, 2))))
    return walks


def test_a_gaussian_and_a_mixture_by_their_formulas(walks):
    moves = np.concatenate(walks)[:, :2]
    entropy = 1 + np.log(2 * np.pi) + np.log(np.linalg.det(np.cov(moves.T))) / 2
    pen = -(29 / 30 * np.log(1741 / 1803) + 1 / 30 * np.log(61 / 1803))  # each state counts once more
    assert nats_per_point(gaussian(walks), walks) == pytest.approx(entropy + pen, abs=0.01)
    two_sides = 1 + np.log(2 * np.pi) + np.log(2)  # two Gaussians of standard deviation 1, each half the time
    assert nats_per_point(mixture(walks), walks) == pytest.approx(two_sides + pen, abs=0.2)


def test_memory_helps_where_there_is_something_to_remember(walks):
    found = stroke_densities.all_scores(walks[:40], walks[40:50], walks[50:])
    (ngram, mixed, plain) = found.values()
    assert list(found)[0].endswith("-grams of movements")
    assert ngram < mixed - 0.1 and mixed < plain - 1
