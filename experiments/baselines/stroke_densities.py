"""Baselines of pen movements: a Gaussian and a mixture without memory, and n-grams of quantised movements.

Each is fitted to training sequences of movements (dx, dy, end, last) and returns its log-density as a function of a
sequence, in nats, so that all can be compared with one another and with a model. The pen is in one of three states:
within a stroke, at the end of a stroke, at the end of a drawing.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

Movements = Float[np.ndarray, "T 4"]
LogDensity = Callable[[Movements], Float[np.ndarray, " T"]]  # of each movement, given those before it

COMPONENTS = 20
FITTED = 100_000  # movements at most, to which the mixture is fitted
WIDTHS = (1 / 16, 1 / 8, 1 / 4)  # of a cell of the n-grams, in standard deviations of a movement
ORDERS = (2, 3, 4)


def nats_per_point(density: LogDensity, sequences: Sequence[Movements]) -> float:
    """Returns the mean negative log-density of all movements."""
    return -float(np.mean(np.concatenate([density(movements) for movements in sequences])))


def pen_states(movements: Movements) -> Int[np.ndarray, " T"]:
    """Returns 0 within a stroke, 1 at the end of a stroke and 2 at the end of the drawing."""
    return movements[:, 2:].sum(axis=1).astype(int)


def pen_log_probs(train: Sequence[Movements]) -> Float[np.ndarray, " 3"]:
    """Returns the logarithms of the frequencies of the states of the pen, each of which counts once more."""
    counts = np.bincount(pen_states(np.concatenate(train)), minlength=3) + 1
    return np.log(counts / counts.sum())


def gaussian(train: Sequence[Movements]) -> LogDensity:
    """Fits one Gaussian to all movements, independent of the pen."""
    from scipy.stats import multivariate_normal

    moves, pens = np.concatenate(train)[:, :2], pen_log_probs(train)
    fitted = multivariate_normal(moves.mean(axis=0), np.cov(moves.T), allow_singular=True)
    return lambda movements: fitted.logpdf(movements[:, :2]).reshape(-1) + pens[pen_states(movements)]


def mixture(train: Sequence[Movements], seed: int = 0) -> LogDensity:
    """Fits a mixture of Gaussians to a random part of the movements, by expectation maximisation."""
    from sklearn.mixture import GaussianMixture

    moves, pens = np.concatenate(train)[:, :2], pen_log_probs(train)
    chosen = moves[np.random.default_rng(seed).permutation(len(moves))[:FITTED]]
    fitted = GaussianMixture(min(COMPONENTS, len(chosen)), random_state=seed, max_iter=50, tol=1e-3).fit(chosen)
    return lambda movements: fitted.score_samples(movements[:, :2]) + pens[pen_states(movements)]


def ngrams(train: Sequence[Movements], *, order: int, width: float, base: LogDensity) -> LogDensity:
    """Fits n-grams of square cells, interpolated by the rule of Witten and Bell (1991).

    A symbol is the cell of a movement and the state of the pen, and a history h the symbols before it. With the number
    c of training movements, and the number d of different symbols after a history,

        p(x | h) = (c(h, symbol of x) / width^2 + d(h) p(x | h')) / (c(h) + d(h)),

    where h' lacks the oldest symbol of h. Within a cell, the density is constant. The empty history is interpolated
    with `base`, a density without memory, so that no movement is impossible.

    Args:
      train: training sequences.
      order: number of symbols of the longest n-gram.
      width: side of a cell.
      base: the density that the empty history is interpolated with.
    """
    counts: list[Counter[tuple]] = [Counter() for _ in range(order)]  # of n-grams, by their length less 1
    for movements in train:
        symbols = _symbols(movements, order, width)
        for before, of_length in enumerate(counts):
            of_length.update(zip(*(symbols[order - 1 - before + k :] for k in range(before + 1)), strict=False))
    totals, kinds = Counter(), Counter()
    for of_length in counts:
        for ngram, count in of_length.items():
            totals[ngram[:-1]] += count
            kinds[ngram[:-1]] += 1

    def log_density(movements: Movements) -> Float[np.ndarray, " T"]:
        symbols = _symbols(movements, order, width)
        densities = np.exp(base(movements))
        for t in range(len(movements)):
            end = t + order
            for before in range(order):
                ngram = tuple(symbols[end - 1 - before : end])
                known = totals[ngram[:-1]]
                if not known:
                    break
                new = kinds[ngram[:-1]]
                densities[t] = (counts[before][ngram] / width**2 + new * densities[t]) / (known + new)
        return np.log(densities)

    return log_density


def _symbols(movements: Movements, order: int, width: float) -> list[tuple[int, ...]]:
    """Returns the symbol of each movement, after as many empty ones as a history is long."""
    cells = np.floor(movements[:, :2] / width + 0.5).astype(int)
    return [()] * (order - 1) + list(map(tuple, np.column_stack([cells, pen_states(movements)]).tolist()))


def all_scores(
    train: Sequence[Movements], validation: Sequence[Movements], test: Sequence[Movements]
) -> dict[str, float]:
    """Returns the nats per point of all baselines; the order and the width of the n-grams suit the validation set."""
    base = mixture(train)
    spread = float(np.concatenate(train)[:, :2].std()) or 1.0
    found = {
        (order, width): ngrams(train, order=order, width=width * spread, base=base)
        for order in ORDERS
        for width in WIDTHS
    }
    order, width = min(found, key=lambda shape: nats_per_point(found[shape], validation))
    densities = {
        f"{order}-grams of movements": found[order, width],
        f"mixture of {COMPONENTS} Gaussians": base,
        "one Gaussian": gaussian(train),
    }
    return {f"nats per point, {name}": nats_per_point(density, test) for name, density in densities.items()}
