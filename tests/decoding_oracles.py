"""A small recurrent model to decode, as a step function and as plain NumPy, and searches that try every sequence."""

import collections
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Sequence = tuple[int, ...]
Rule = Callable[[Sequence, np.ndarray], np.ndarray]  # (history, log-probabilities) -> log-probabilities


class Weights(NamedTuple):
    """Of one model, or of several along a leading axis."""

    embedding: jax.Array  # [V, H]
    recurrent: jax.Array  # [H, H]
    output: jax.Array  # [H, V]


def random_weights(seed: int, *models: int, vocabulary: int, hidden: int = 5, sharpness: float = 2.0) -> Weights:
    generator = np.random.default_rng(seed)
    shapes = (vocabulary, hidden), (hidden, hidden), (hidden, vocabulary)
    scales = 1.0, hidden**-0.5, sharpness
    return Weights(*(jnp.asarray(scale * generator.normal(size=(*models, *shape)), jnp.float32)
                     for shape, scale in zip(shapes, scales, strict=True)))  # fmt: skip


def zero_state(*models: int, hidden: int = 5) -> jax.Array:
    return jnp.zeros((*models, hidden))


def step(params: None, context: Weights, state: jax.Array, token: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The weights come as context, so that each row of a batch is a model of its own."""
    state = jnp.tanh(state @ context.recurrent + context.embedding[token])
    return state @ context.output, state


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max()
    return logits - np.log(np.exp(logits).sum())


def next_log_probs(weights: Weights, tokens: Sequence) -> np.ndarray:
    """Of one model after `tokens`, `bos` included."""
    embedding, recurrent, output = (np.asarray(leaf, np.float64) for leaf in weights)
    state = np.zeros(len(recurrent))
    for token in tokens:
        state = np.tanh(state @ recurrent + embedding[token])
    return log_softmax(state @ output)


def log_prob(weights: Weights, bos: int, tokens: Sequence, rule: Rule = lambda history, log_probs: log_probs) -> float:
    total = 0.0
    for t, token in enumerate(tokens):
        total += rule(tuple(tokens[:t]), next_log_probs(weights, (bos, *tokens[:t])))[token]
    return total


def every_sequence(vocabulary: int, eos: int | None, max_length: int) -> Iterator[Sequence]:
    """All that end with eos, and all that never do until the greatest length."""
    for length in range(1, max_length + 1):
        for tokens in itertools.product(range(vocabulary), repeat=length):
            if eos not in tokens[:-1] and (tokens[-1] == eos or length == max_length):
                yield tokens


def greedy(weights: Weights, bos: int, eos: int | None, max_length: int) -> Sequence:
    tokens: Sequence = ()
    while len(tokens) < max_length and eos not in tokens:
        tokens += (int(np.argmax(next_log_probs(weights, (bos, *tokens)))),)
    return tokens


def row(tree, index: int):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def found(decoded, index: int, place: int = 0) -> Sequence:
    """The tokens of one sequence, padding cut off."""
    return tuple(np.asarray(decoded.tokens)[index, place, : int(decoded.lengths[index, place])].tolist())


def beam(weights: Weights, bos: int, eos: int | None, max_length: int, size: int, n_best: int = 1,
         penalty=lambda log_prob, length: log_prob, rule: Rule = lambda history, log_probs: log_probs,
         ) -> list[tuple[float, Sequence]]:  # fmt: skip
    """As `beam_search` is described, hypothesis by hypothesis, and never stopped early: (score, tokens), best first."""
    alive: list[tuple[float, Sequence]] = [(0.0, ())]
    finished: list[tuple[float, Sequence]] = []
    for _ in range(max_length):
        candidates = [
            (total + value, (*tokens, token))
            for total, tokens in alive
            for token, value in enumerate(rule(tokens, next_log_probs(weights, (bos, *tokens))))
            if value > -np.inf
        ]
        candidates.sort(key=lambda candidate: -candidate[0])
        finished += [candidate for candidate in candidates[:size] if candidate[1][-1] == eos]
        alive = [candidate for candidate in candidates if candidate[1][-1] != eos][:size]
    scored = [(penalty(total, len(tokens)), tokens) for total, tokens in finished + alive]
    return sorted(scored, key=lambda hypothesis: -hypothesis[0])[:n_best]


def best(weights: Weights, bos: int, eos: int | None, max_length: int, n_best: int = 1,
         penalty=lambda log_prob, length: log_prob, rule: Rule = lambda history, log_probs: log_probs,
         ) -> list[tuple[float, Sequence]]:  # fmt: skip
    """The best of all sequences there are."""
    vocabulary = weights.output.shape[-1]
    scored = [
        (penalty(log_prob(weights, bos, tokens, rule), len(tokens)), tokens)
        for tokens in every_sequence(vocabulary, eos, max_length)
    ]
    return sorted(scored, key=lambda hypothesis: -hypothesis[0])[:n_best]


def diverse_beam(weights: Weights, bos: int, eos: int, max_length: int, size: int, groups: int, diversity: float,
                 penalty=lambda log_prob, length: log_prob) -> list[tuple[float, Sequence]]:  # fmt: skip
    """As `diverse_beam_search` is described, never stopped early; all groups together, best first."""
    alive: list[list[tuple[float, Sequence]]] = [[(0.0, ())] for _ in range(groups)]
    finished: list[list[tuple[float, Sequence]]] = [[] for _ in range(groups)]
    for _ in range(max_length):
        used = np.zeros(weights.output.shape[-1])
        for group in range(groups):
            candidates = []
            for total, tokens in alive[group]:
                for token, value in enumerate(next_log_probs(weights, (bos, *tokens))):
                    candidates.append((total + value - diversity * used[token], total + value, (*tokens, token)))
            candidates.sort(key=lambda candidate: -candidate[0])
            ends = [candidate[1:] for candidate in candidates[:size] if candidate[2][-1] == eos]
            alive[group] = [candidate[1:] for candidate in candidates if candidate[2][-1] != eos][:size]
            finished[group] += ends
            for _, tokens in ends + alive[group]:
                used[tokens[-1]] += 1
    best = []
    for group in range(groups):
        scored = [(penalty(total, len(tokens)), tokens) for total, tokens in finished[group] + alive[group]]
        best += sorted(scored, key=lambda hypothesis: -hypothesis[0])[:size]
    return sorted(best, key=lambda hypothesis: -hypothesis[0])


def labels_of(path: Sequence, blank: int) -> Sequence:
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != blank)


def ctc_probabilities(log_probs: np.ndarray, blank: int) -> dict[Sequence, float]:
    """The probability of all labels, summed over all paths."""
    total: dict[Sequence, float] = collections.defaultdict(float)
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        total[labels_of(path, blank)] += np.exp(sum(log_probs[t, symbol] for t, symbol in enumerate(path)))
    return total


def ctc_beam(
    log_probs: np.ndarray, blank: int, size: int, n_best: int, added: Callable[[Sequence], float] = lambda labels: 0.0
) -> list[tuple[float, float, Sequence]]:
    """Prefix search with a dictionary: (score, log-probability, labels), best first."""
    beam = {(): (1.0, 0.0)}  # probability of the paths that end with a blank, and with a label

    def score(item):
        labels, (blanks, others) = item
        return np.log(blanks + others) + added(labels)

    for frame in np.exp(log_probs):
        grown: dict[Sequence, list[float]] = collections.defaultdict(lambda: [0.0, 0.0])
        for labels, (blanks, others) in beam.items():
            grown[labels][0] += (blanks + others) * frame[blank]
            if labels:
                grown[labels][1] += others * frame[labels[-1]]
            for symbol in set(range(len(frame))) - {blank}:
                before = blanks if labels and symbol == labels[-1] else blanks + others
                grown[(*labels, symbol)][1] += before * frame[symbol]
        possible = {labels: sums for labels, sums in grown.items() if sum(sums) > 0}
        beam = dict(sorted(possible.items(), key=score, reverse=True)[:size])
    best = sorted(beam.items(), key=score, reverse=True)[:n_best]
    return [(score(item), float(np.log(sum(item[1]))), item[0]) for item in best]
