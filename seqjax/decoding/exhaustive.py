"""Exhaustive search: scores every sequence of a small model; the tests use it as the reference for other searches."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from seqjax.arguments import IntLike, as_count
from seqjax.decoding.contract import (
    Context,
    Decoded,
    Params,
    Processor,
    State,
    Step,
    advance,
    as_arguments,
    as_settings,
    check_decoded,
    check_search,
    first_tokens,
    repeat_state,
    settle,
    take,
)
from seqjax.decoding.penalties import CoveragePenalty, LengthPenalty, no_penalty, scoring

_MOST = 1 << 20  # sequences


def exhaustive_search(
    step: Step,
    params: Params,
    context: Context,
    state: State,
    *,
    bos: IntLike | Array | np.ndarray,
    eos: IntLike | None,
    max_length: IntLike,
    n_best: IntLike = 1,
    length_penalty: LengthPenalty = no_penalty,
    coverage_penalty: CoveragePenalty | None = None,
    processors: Sequence[Processor] = (),
    pad: IntLike = 0,
) -> Decoded:
    """Scores every sequence that ends with `eos` or at the maximum length, and returns the best.

    The score and the arguments are those of `beam_search`. The probabilities of all sequences sum to 1.

    Raises:
      TypeError: if `step`, a processor or a penalty returns something of the wrong type.
      ValueError: if shapes do not match, a setting is out of range, there are more than 2^20 sequences, or (outside
        `jit`) logits are NaN or processors leave no token in a row; the message lists these rows.

    >>> def fair_coin(params, context, state, token):
    ...     return jnp.zeros(2), state
    >>> found = exhaustive_search(fair_coin, None, None, jnp.zeros((1, 0)), bos=0, eos=1, max_length=2, n_best=3)
    >>> found.tokens[0].tolist(), jnp.exp(found.scores[0]).tolist()
    ([[1, 0], [0, 0], [0, 1]], [0.5, 0.25, 0.25])
    """
    penalties = {"length_penalty": length_penalty, "coverage_penalty": coverage_penalty}
    functions = as_arguments(step, processors, **penalties)
    settings = as_settings(n_best=n_best, eos=eos, max_length=max_length, pad=pad)
    found = _exhaustive_search(*functions, params, context, state, bos, **settings)
    return check_decoded(found, processors, step, params, context, state)


@partial(jax.jit, static_argnames=("n_best", "eos", "max_length", "pad"))
def _exhaustive_search(
    step, processors, length_penalty, coverage_penalty, params, context, state, bos, *, n_best, eos, max_length, pad
) -> Decoded:
    batch, vocabulary = check_search(step, processors, params, context, state, bos, eos, max_length)
    as_count("n_best", n_best)
    score = scoring(length_penalty, coverage_penalty, context, state)
    if vocabulary**max_length > _MOST:
        raise ValueError(f"max_length: expected at most {_MOST} sequences, got {vocabulary}^{max_length}")
    candidates = sum(vocabulary**length for length in range(1, max_length + 1))
    if n_best > candidates:
        raise ValueError(f"n_best: expected at most {candidates}, the number of sequences, got {n_best}")
    sums = log_probs = jnp.zeros((batch, 1))
    token, state = first_tokens(bos, (batch, 1)), repeat_state(state, 1)
    undefined = jnp.zeros((batch, 1), bool)
    prefixes = np.full((1, max_length), pad, np.int32)
    every = []  # (sequences, their lengths, scores, log-probabilities) of each length
    for t in range(max_length):
        history = jnp.broadcast_to(prefixes.T[:, None], (max_length, batch, len(prefixes)))
        predicted, state = advance(step, processors, params, context, state, token, history, jnp.int32(t), eos)
        undefined |= jnp.any(predicted.undefined & ~jnp.isneginf(sums), axis=1, keepdims=True)
        sums = (sums - predicted.shift)[..., None] + predicted.processed
        log_probs = (log_probs - predicted.normalizer)[..., None] + predicted.logits
        sums, log_probs = sums.reshape(batch, -1), log_probs.reshape(batch, -1)

        prefixes = np.repeat(prefixes, vocabulary, axis=0)
        prefixes[:, t] = np.tile(np.arange(vocabulary), len(prefixes) // vocabulary)
        token = jnp.broadcast_to(prefixes[:, t], (batch, len(prefixes)))
        state = jax.tree.map(lambda leaf: jnp.repeat(leaf, vocabulary, axis=1), state)
        ended = prefixes[:, t] == (-1 if eos is None else eos)
        scores = jnp.where(ended | (t == max_length - 1), score(sums, jnp.int32(t + 1), state), -jnp.inf)
        every.append((prefixes, np.full(len(prefixes), t + 1), scores, log_probs))
        sums = jnp.where(ended, -jnp.inf, sums)  # nothing follows eos

    tokens, lengths, scores, log_probs = zip(*every, strict=True)
    scores, best = lax.top_k(jnp.concatenate(scores, axis=1), n_best)
    tokens, lengths = jnp.concatenate(tokens)[best], jnp.concatenate(lengths).astype(jnp.int32)[best]
    return settle(tokens, lengths, take(jnp.concatenate(log_probs, axis=1), best), scores, undefined, pad)
