"""Beam search: several hypotheses side by side, stopped as soon as none of them can overtake what is finished.

At each step the `K` hypotheses of an example and the `V` tokens make K V candidates.

- The best K candidates that do not end live on, so that hypotheses which finish do not shrink the beam.
- A candidate that ends with `eos` is finished if it is among the best K of all. So a beam of 1 is greedy search.
- What is alive at the greatest length is finished there, without `eos`, and ranked by the same rule as the others.
- An example is done when the best score that anything alive can still reach (see `penalties`) is no better than the
  worst of its `n_best` finished ones. The loop ends when all are done; until then it cannot change those that are.

The token that a hypothesis took and the one it grew from are recorded at every step, and sequences are read off
backwards once, at the end; a step reorders the states and nothing else. The best of K V candidates are among the best
K + 1 tokens of each hypothesis: these need the sum of a softmax over V, but not its V values.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from seqjax.decoding.contract import (
    Context,
    Decoded,
    Params,
    Prediction,
    Processor,
    State,
    Step,
    advance,
    as_arguments,
    as_settings,
    check_count,
    check_search,
    check_sequences,
    first_tokens,
    repeat_state,
    take,
)
from seqjax.decoding.penalties import CoveragePenalty, LengthPenalty, Score, no_penalty, scoring
from seqjax.decoding.selection import largest_sums


def beam_search(
    step: Step,
    params: Params,
    context: Context,
    state: State,
    *,
    beam_size: int,
    bos: int | Array | np.ndarray,
    eos: int | None,
    max_length: int,
    n_best: int = 1,
    length_penalty: LengthPenalty = no_penalty,
    coverage_penalty: CoveragePenalty | None = None,
    processors: Sequence[Processor] = (),
    pad: int = 0,
) -> Decoded:
    """Keeps the most probable hypotheses of each length and returns the best that finished.

    Graves (2012), section 3; Sutskever et al. (2014), section 3.2. The score of a finished sequence is

        s(y) = length_penalty(sum_t log p(y_t | y_<t, context), |y|) + coverage_penalty(context, state)

    where log p is what the processors make of the model's log-probabilities, not normalised again: a constraint
    excludes sequences and leaves the scores of the others alone. With `beam_size` V^L nothing is ever dropped.

    Args:
      step: the model, a function of one hypothesis: `(params, context, state, token) -> (logits [V], state)`.
      params: the first argument of `step`; new values do not compile anew.
      context: what `step` needs of each example; each leaf leads with the batch axis. May be None. Never repeated or
        reordered.
      state: the state before the first token; each leaf leads with the batch axis.
      beam_size: the number `K` of hypotheses of each example.
      bos: the token to begin with, one for all examples or one each.
      eos: the token that ends a sequence; None if only `max_length` does.
      max_length: the greatest number `L` of tokens, `eos` included.
      n_best: how many sequences to return, at most `beam_size`; the more, the later the search can stop.
      length_penalty: `(log_prob, length) -> score` of scalars, never falling as the log-probability rises.
      coverage_penalty: `(context, state) -> []` of one hypothesis, added to its score when it finishes; never positive.
      processors: functions of the logits, see `seqjax.decoding.processors` and `seqjax.decoding.constraints`; a least
        length is one of them.
      pad: what stands after the end.

    Returns:
      The `n_best` sequences of each example, best first.

    Raises:
      TypeError: if `step`, a processor or a penalty returns something of the wrong type.
      ValueError: if shapes or settings do not fit, or (outside `jit`) if processors leave no token; names the rows.

    >>> chain = jnp.array([[0.01, 0.01, 0.54, 0.44], [0.25] * 4, [0.3, 0.4, 0.2, 0.1], [0.05, 0.9, 0.03, 0.02]])
    >>> def step(params, context, state, token):
    ...     return jnp.log(params[token]), state
    >>> for beam_size in 1, 2:  # the greedy choice 2, 1 has the probability 0.54 * 0.4, but 3, 1 has 0.44 * 0.9
    ...     found = beam_search(step, chain, None, jnp.zeros((1, 0)), beam_size=beam_size, bos=0, eos=1, max_length=4)
    ...     print(found.tokens[0, 0], f"{jnp.exp(found.scores[0, 0]):.3f}")
    [2 1 0 0] 0.216
    [3 1 0 0] 0.396
    """
    penalties = {"length_penalty": length_penalty, "coverage_penalty": coverage_penalty}
    functions = as_arguments(step, processors, **penalties)
    settings = as_settings(beam_size=beam_size, n_best=n_best, eos=eos, max_length=max_length, pad=pad)
    return check_sequences(_beam_search(*functions, params, context, state, bos, **settings), processors)


class Finished(NamedTuple):
    """The best finished hypotheses, best first; of score minus infinity where there is none yet."""

    scores: Float[Array, "B n"]
    log_probs: Float[Array, "B n"]
    steps: Int32[Array, "B n"]  # how many of its tokens are on record, which an `eos` that follows is not
    slots: Int32[Array, "B n"]  # and at which place in the beam the last of them is


class Beam(NamedTuple):
    """`K` living hypotheses of each example that compete with one another, and what is left of those that finished."""

    sums: Float[Array, "B K"]  # of processed log-probabilities; minus infinity where there are fewer than K
    log_probs: Float[Array, "B K"]  # under the model
    token: Int32[Array, "B K"]  # the last one
    tokens: Int32[Array, "L B K"]  # on record: the token taken at each step by the hypothesis that then had this place
    parents: Int32[Array, "L B K"]  # and its place before that step
    history: Int32[Array, "L B K"]  # all tokens of what is alive, for processors; XLA drops it if none of them looks
    finished: Finished


class _Loop(NamedTuple):
    t: Int32[Array, ""]
    state: State
    beam: Beam


@partial(jax.jit, static_argnames=("beam_size", "n_best", "eos", "max_length", "pad"))
def _beam_search(
    step, processors, length_penalty, coverage_penalty, params, context, state, bos,
    *, beam_size, n_best, eos, max_length, pad,
) -> Decoded:  # fmt: skip
    check_count("beam_size", beam_size)
    if not 1 <= n_best <= beam_size:
        raise ValueError(f"n_best: expected at least 1 and at most beam_size, {beam_size}, got {n_best}")
    batch, _ = check_search(step, processors, params, context, state, bos, eos, max_length)
    score = scoring(length_penalty, coverage_penalty, context, state)

    def goes_on(loop: _Loop) -> Bool[Array, ""]:
        return (loop.t < max_length) & may_improve(loop.beam, loop.t, max_length, length_penalty)

    def advance_all(loop: _Loop) -> _Loop:
        beam = loop.beam
        predicted, state = advance(step, processors, params, context, loop.state, beam.token, beam.history, loop.t)
        beam, choice = grow(beam, predicted, predicted.processed, state, loop.t, score, eos)
        return _Loop(loop.t + 1, reorder(state, choice.parent), beam)

    start = new_beam(first_tokens(bos, (batch, beam_size)), n_best, max_length)
    t, state, beam = lax.while_loop(goes_on, advance_all, _Loop(jnp.int32(0), repeat_state(state, beam_size), start))
    return read_off(complete(beam, state, t, score), t, eos, pad)


class Choice(NamedTuple):
    """Which candidates live on, best first, and which hypotheses may end now."""

    alive: Bool[Array, "B K"]  # false where there were too few candidates
    parent: Int32[Array, "B K"]
    token: Int32[Array, "B K"]
    ends: Bool[Array, "B K"]  # for the hypothesis at this place before the step


def new_beam(bos: Int32[Array, "B K"], n_best: int, max_length: int) -> Beam:
    """Makes a beam of which only the first place is alive; from equal hypotheses, all would stay equal."""
    first = jnp.broadcast_to(jnp.arange(bos.shape[1]) == 0, bos.shape)
    record = jnp.zeros((max_length, *bos.shape), jnp.int32)
    shape = (bos.shape[0], n_best)
    nothing = jnp.full(shape, -jnp.inf)
    finished = Finished(nothing, nothing, jnp.full(shape, -1, jnp.int32), jnp.zeros(shape, jnp.int32))
    return Beam(jnp.where(first, 0.0, -jnp.inf), jnp.zeros(bos.shape), bos, record, record, record, finished)


def may_improve(beam: Beam, t: Int32[Array, ""], max_length: int, length_penalty: LengthPenalty) -> Bool[Array, ""]:
    """Says whether in any row something alive, `t` tokens long, can still overtake the worst of the finished."""
    lengths = 1 + jnp.arange(max_length)
    best = jnp.max(beam.sums, axis=1, keepdims=True)
    reachable = jnp.where(jnp.isneginf(best), best, jnp.vectorize(length_penalty)(best, lengths))
    reachable = jnp.max(reachable, axis=1, where=lengths > t, initial=-jnp.inf)
    return jnp.any(reachable > beam.finished.scores[:, -1])


def choose(sums: Float[Array, "B K"], ranking: Float[Array, "B K V"], eos: int | None) -> Choice:
    """Ranks candidates by `sums + ranking`; of equal ones the earlier hypothesis comes first, then the lower token."""
    batch, size, vocabulary = ranking.shape
    best, place = largest_sums(sums, ranking, size, without=eos)
    parent, token = jnp.divmod(place, vocabulary)
    if eos is None:
        return Choice(~jnp.isneginf(best), parent, token, jnp.zeros((batch, size), bool))
    ending = sums + ranking[..., eos]
    candidates = jnp.concatenate([best, ending], axis=1)[..., None]
    flat = jnp.arange(size) * vocabulary + eos
    order = jnp.concatenate([place, jnp.broadcast_to(flat, (batch, size))], axis=1)[..., None]
    ahead = (candidates > ending[:, None]) | ((candidates == ending[:, None]) & (order < flat))
    return Choice(~jnp.isneginf(best), parent, token, (jnp.sum(ahead, axis=1) < size) & ~jnp.isneginf(ending))


def grow(
    beam: Beam,
    predicted: Prediction,
    ranking: Float[Array, "B K V"],
    state: State,
    t: Int32[Array, ""],
    score: Score,
    eos: int | None,
) -> tuple[Beam, Choice]:
    """Takes the step from `t` to `t + 1` tokens: `ranking` chooses, but only `predicted` counts."""
    batch, size, vocabulary = ranking.shape
    sums, log_probs = beam.sums - predicted.shift, beam.log_probs - predicted.normalizer
    choice = choose(sums, ranking, eos)
    finished = beam.finished
    if eos is not None:
        ended = jnp.where(choice.ends, sums + predicted.processed[..., eos], -jnp.inf)
        finished = _finish(finished, score(ended, t + 1, state), log_probs + predicted.logits[..., eos], t)
    place = choice.parent * vocabulary + choice.token
    sums = take(sums, choice.parent) + take(predicted.processed.reshape(batch, -1), place)
    log_probs = take(log_probs, choice.parent) + take(predicted.logits.reshape(batch, -1), place)
    history = take(beam.history, jnp.broadcast_to(choice.parent, beam.history.shape))
    return Beam(
        sums=jnp.where(choice.alive, sums, -jnp.inf),
        log_probs=log_probs,
        token=choice.token,
        tokens=beam.tokens.at[t].set(choice.token),
        parents=beam.parents.at[t].set(choice.parent),
        history=history.at[t].set(choice.token),
        finished=finished,
    ), choice


def reorder(state: State, parent: Int32[Array, "B K"]) -> State:
    """Gives each hypothesis the state of the one it grew from."""

    def of_example(leaf: Array, parent: Array) -> Array:
        return leaf.at[parent].get(mode="promise_in_bounds")

    return jax.tree.map(lambda leaf: jax.vmap(of_example)(leaf, parent), state)


def complete(beam: Beam, state: State, t: Int32[Array, ""], score: Score) -> Beam:
    """Finishes what is alive at the greatest length; where the search stopped before, nothing alive is good enough."""
    max_length = len(beam.tokens)
    scores = score(jnp.where(t == max_length, beam.sums, -jnp.inf), jnp.int32(max_length), state)
    return beam._replace(finished=_finish(beam.finished, scores, beam.log_probs, jnp.int32(max_length)))


def read_off(beam: Beam, t: Int32[Array, ""], eos: int | None, pad: int) -> Decoded:
    """Reads the finished hypotheses off the record of `t` steps."""
    steps, max_length = beam.finished.steps, len(beam.tokens)
    tokens = follow(beam.tokens, beam.parents, beam.finished.slots, steps, t, pad)
    if eos is not None:
        tokens = jnp.where(jnp.arange(max_length) == steps[..., None], eos, tokens)
    lengths = jnp.minimum(steps + 1, max_length)
    return Decoded(tokens, lengths, beam.finished.log_probs, beam.finished.scores)


def follow(
    tokens: Int32[Array, "L B K"],
    parents: Int32[Array, "L B K"],
    slots: Int32[Array, "B n"],
    steps: Int32[Array, "B n"],
    t: Int32[Array, ""],
    pad: int,
) -> Int32[Array, "B n L"]:
    """Reads a record backwards from step `t`, for hypotheses of so many steps whose last tokens are at these slots."""

    def back(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        read, slots = carry
        step = t - 1 - i
        recorded = step < steps
        read = read.at[step].set(jnp.where(recorded, take(tokens[step], slots), pad))
        return read, jnp.where(recorded, take(parents[step], slots), slots)

    read = jnp.full((len(tokens), *slots.shape), pad, jnp.int32)
    read, _ = lax.fori_loop(0, t, back, (read, slots))
    return jnp.moveaxis(read, 0, -1)


def _finish(
    finished: Finished, scores: Float[Array, "B K"], log_probs: Float[Array, "B K"], steps: Int32[Array, ""]
) -> Finished:
    """Merges a beam of hypotheses into the best finished ones; of equal scores those that finished first stay first."""
    slots = jnp.broadcast_to(jnp.arange(scores.shape[1], dtype=jnp.int32), scores.shape)
    new = Finished(scores, log_probs, jnp.full(scores.shape, steps), slots)
    merged = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), finished, new)
    _, order = lax.top_k(merged.scores, finished.scores.shape[1])
    return jax.tree.map(lambda leaf: take(leaf, order), merged)
