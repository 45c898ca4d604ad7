"""Beam search: extends several hypotheses side by side until none of them can beat the finished ones.

At each step the `K` hypotheses of an example and the `V` tokens make K V candidates.

- The best K candidates that do not end with `eos` stay alive, so that finished hypotheses do not shrink the beam.
- A candidate that ends with `eos` is finished if it is among the best K of all. A beam of 1 is therefore greedy search.
- Hypotheses alive at the maximum length finish there, without `eos`, and are ranked by the same rule as the others.
- An example is done when the best score that its living hypotheses can still reach (see `penalties`) is no better than
  the worst of its `n_best` finished ones. The loop ends when all examples are done. The results of an example
  no longer change once it is done.

Each step records the token and the parent of every hypothesis and reorders only the states; the sequences are read
backwards from this record once, at the end. The best of the K V candidates are among the best K + 1 tokens of each
hypothesis, so a step needs the normaliser of each softmax over V, but not its V values.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from seqjax.arguments import IntLike, as_count
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
    check_decoded,
    check_search,
    first_tokens,
    repeat_state,
    settle,
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
    beam_size: IntLike,
    bos: IntLike | Array | np.ndarray,
    eos: IntLike | None,
    max_length: IntLike,
    n_best: IntLike = 1,
    length_penalty: LengthPenalty = no_penalty,
    coverage_penalty: CoveragePenalty | None = None,
    processors: Sequence[Processor] = (),
    pad: IntLike = 0,
) -> Decoded:
    """Keeps the most probable hypotheses of each length and returns the best that finished.

    Graves (2012), section 3; Sutskever et al. (2014), section 3.2. The score of a finished sequence is

        s(y) = length_penalty(sum_t log p(y_t | y_<t, context), |y|) + coverage_penalty(context, state)

    where log p is the model's log-probability after the processors, not renormalised: a constraint excludes sequences
    without changing the scores of the others. With `beam_size` V^L the search never drops a hypothesis.

    Args:
      step: the model, a function of one hypothesis: `(params, context, state, token) -> (logits [V], state)`. Define
        it once, and let it read its weights from `params` only; see `seqjax.decoding.contract`.
      params: the first argument of `step`; new values do not cause recompilation.
      context: per-example input of `step`; each leaf has a leading batch axis. May be None. Never repeated or
        reordered.
      state: the state before the first token; each leaf has a leading batch axis.
      beam_size: the number `K` of hypotheses per example.
      bos: the start token, one for all examples or one for each.
      eos: the token that ends a sequence; None if only `max_length` does.
      max_length: the maximum number `L` of tokens, `eos` included.
      n_best: how many sequences to return, at most `beam_size`; a larger value can make the search stop later.
      length_penalty: `(log_prob, length) -> score` of scalars; must not fall as the log-probability rises.
      coverage_penalty: `(context, state) -> []` of one hypothesis, added to its score when it finishes; never positive.
      processors: functions of the logits; see `seqjax.decoding.processors` and `seqjax.decoding.constraints`; the
        latter include a minimum length.
      pad: the token that fills positions after the end.

    Returns:
      The `n_best` sequences of each example, best first.

    Raises:
      TypeError: if `step`, a processor or a penalty returns something of the wrong type.
      ValueError: if shapes do not match, a setting is out of range, or (outside `jit`) logits are NaN or processors
        leave no token in a row; the message lists these rows.

    >>> chain = jnp.array([[0.01, 0.01, 0.54, 0.44], [0.25] * 4, [0.3, 0.4, 0.2, 0.1], [0.05, 0.9, 0.03, 0.02]])
    >>> def step(params, context, state, token):
    ...     return jnp.log(params[token]), state
    >>> for beam_size in 1, 2:  # the greedy choice 2, 1 has probability 0.54 * 0.4, but 3, 1 has 0.44 * 0.9
    ...     found = beam_search(step, chain, None, jnp.zeros((1, 0)), beam_size=beam_size, bos=0, eos=1, max_length=4)
    ...     print(found.tokens[0, 0], f"{jnp.exp(found.scores[0, 0]):.3f}")
    [2 1 0 0] 0.216
    [3 1 0 0] 0.396
    """
    penalties = {"length_penalty": length_penalty, "coverage_penalty": coverage_penalty}
    functions = as_arguments(step, processors, **penalties)
    settings = as_settings(beam_size=beam_size, n_best=n_best, eos=eos, max_length=max_length, pad=pad)
    found = _beam_search(*functions, params, context, state, bos, **settings)
    return check_decoded(found, processors, step, params, context, state)


class Finished(NamedTuple):
    """The best finished hypotheses, best first; places not yet filled have score minus infinity."""

    scores: Float[Array, "B n"]
    log_probs: Float[Array, "B n"]
    steps: Int32[Array, "B n"]  # the number of recorded tokens; a final `eos` is not recorded
    slots: Int32[Array, "B n"]  # the place in the beam of the last recorded token


class Beam(NamedTuple):
    """The `K` living hypotheses of each example, which compete with each other, and the best finished ones."""

    sums: Float[Array, "B K"]  # of processed log-probabilities; minus infinity where there are fewer than K
    log_probs: Float[Array, "B K"]  # under the model
    token: Int32[Array, "B K"]  # the last one
    tokens: Int32[Array, "L B K"]  # the record: the token taken at each step by the hypothesis then at this place
    parents: Int32[Array, "L B K"]  # the place of its parent before that step
    history: Int32[Array, "L B K"]  # all tokens of the living hypotheses; XLA drops it if no processor reads it
    finished: Finished
    undefined: Bool[Array, " B"]  # whether a logit of a living hypothesis was NaN or plus infinity


class _Loop(NamedTuple):
    t: Int32[Array, ""]
    state: State
    beam: Beam


@partial(jax.jit, static_argnames=("beam_size", "n_best", "eos", "max_length", "pad"))
def _beam_search(
    step, processors, length_penalty, coverage_penalty, params, context, state, bos,
    *, beam_size, n_best, eos, max_length, pad,
) -> Decoded:  # fmt: skip
    as_count("beam_size", beam_size)
    if not 1 <= n_best <= beam_size:
        raise ValueError(f"n_best: expected at least 1 and at most beam_size, {beam_size}, got {n_best}")
    batch, _ = check_search(step, processors, params, context, state, bos, eos, max_length)
    score = scoring(length_penalty, coverage_penalty, context, state)

    def goes_on(loop: _Loop) -> Bool[Array, ""]:
        return (loop.t < max_length) & jnp.any(may_improve(loop.beam, loop.t, max_length, length_penalty))

    def advance_all(loop: _Loop) -> _Loop:
        beam = loop.beam
        predicted, state = advance(step, processors, params, context, loop.state, beam.token, beam.history, loop.t, eos)
        improves = may_improve(beam, loop.t, max_length, length_penalty)
        beam, choice = grow(beam, predicted, predicted.processed, improves, state, loop.t, score, eos)
        return _Loop(loop.t + 1, reorder(state, choice.parent), beam)

    start = new_beam(first_tokens(bos, (batch, beam_size)), n_best, max_length)
    t, state, beam = lax.while_loop(goes_on, advance_all, _Loop(jnp.int32(0), repeat_state(state, beam_size), start))
    return read_off(complete(beam, state, t, score), t, eos, pad)


class Choice(NamedTuple):
    """The candidates that stay alive, best first, and the hypotheses that may end now."""

    alive: Bool[Array, "B K"]  # false where there were too few candidates
    parent: Int32[Array, "B K"]
    token: Int32[Array, "B K"]
    ends: Bool[Array, "B K"]  # for the hypothesis at this place before the step


def new_beam(bos: Int32[Array, "B K"], n_best: int, max_length: int) -> Beam:
    """Builds a beam with only the first place alive, because equal hypotheses would all stay equal."""
    first = jnp.broadcast_to(jnp.arange(bos.shape[1]) == 0, bos.shape)
    record = jnp.zeros((max_length, *bos.shape), jnp.int32)
    shape = (bos.shape[0], n_best)
    nothing = jnp.full(shape, -jnp.inf)
    finished = Finished(nothing, nothing, jnp.full(shape, -1, jnp.int32), jnp.zeros(shape, jnp.int32))
    undefined = jnp.zeros(bos.shape[0], bool)
    return Beam(jnp.where(first, 0.0, -jnp.inf), jnp.zeros(bos.shape), bos, record, record, record, finished, undefined)


def may_improve(beam: Beam, t: Int32[Array, ""], max_length: int, length_penalty: LengthPenalty) -> Bool[Array, " B"]:
    """Checks in which rows a living hypothesis of `t` tokens can still beat the worst finished one."""
    lengths = 1 + jnp.arange(max_length, dtype=jnp.int32)[None]
    best = jnp.max(beam.sums, axis=1, keepdims=True)
    reachable = jnp.where(jnp.isneginf(best), best, jnp.vectorize(length_penalty)(best, lengths))
    reachable = jnp.max(reachable, axis=1, where=lengths > t, initial=-jnp.inf)
    return (reachable > beam.finished.scores[:, -1]) & ~beam.undefined


def choose(sums: Float[Array, "B K"], ranking: Float[Array, "B K V"], eos: int | None) -> Choice:
    """Ranks candidates by `sums + ranking`; ties go to the earlier hypothesis, then to the lower token."""
    batch, size, vocabulary = ranking.shape
    best, place = largest_sums(sums, ranking, size, without=eos)
    parent, token = jnp.divmod(place, vocabulary)
    if eos is None:
        return Choice(~jnp.isneginf(best), parent, token, jnp.zeros((batch, size), bool))
    ending = sums + ranking[..., eos]
    candidates = jnp.concatenate([best, ending], axis=1)[..., None]
    flat = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32) * vocabulary + eos, (batch, size))
    order = jnp.concatenate([place, flat], axis=1)[..., None]
    ahead = (candidates > ending[:, None]) | ((candidates == ending[:, None]) & (order < flat[:, None]))
    return Choice(~jnp.isneginf(best), parent, token, (jnp.sum(ahead, axis=1) < size) & ~jnp.isneginf(ending))


def grow(
    beam: Beam,
    predicted: Prediction,
    ranking: Float[Array, "B K V"],
    improves: Bool[Array, " B"],
    state: State,
    t: Int32[Array, ""],
    score: Score,
    eos: int | None,
) -> tuple[Beam, Choice]:
    """Extends the beam from `t` to `t + 1` tokens; `ranking` chooses the candidates, `predicted` scores them.

    Undefined logits count in the rows that may still improve, and not for hypotheses that are not alive.
    """
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
        undefined=beam.undefined | (improves & jnp.any(predicted.undefined & ~jnp.isneginf(beam.sums), axis=1)),
    ), choice


def reorder(state: State, parent: Int32[Array, "B K"]) -> State:
    """Gathers for each hypothesis the state of its parent."""

    def of_example(leaf: Array, parent: Array) -> Array:
        return leaf.at[parent].get(mode="promise_in_bounds")

    return jax.tree.map(lambda leaf: jax.vmap(of_example)(leaf, parent), state)


def complete(beam: Beam, state: State, t: Int32[Array, ""], score: Score) -> Beam:
    """Finishes the hypotheses alive at the maximum length; if the search stopped earlier, none can still win."""
    max_length = len(beam.tokens)
    scores = score(jnp.where(t == max_length, beam.sums, -jnp.inf), jnp.int32(max_length), state)
    return beam._replace(finished=_finish(beam.finished, scores, beam.log_probs, jnp.int32(max_length)))


def read_off(beam: Beam, t: Int32[Array, ""], eos: int | None, pad: int) -> Decoded:
    """Reads the finished hypotheses from the record of `t` steps."""
    steps, max_length = beam.finished.steps, len(beam.tokens)
    tokens = follow(beam.tokens, beam.parents, beam.finished.slots, steps, t, pad)
    if eos is not None:
        ends = jnp.broadcast_to(jnp.arange(max_length, dtype=jnp.int32), tokens.shape) == steps[..., None]
        tokens = jnp.where(ends, eos, tokens)
    lengths = jnp.minimum(steps + 1, max_length)
    return settle(tokens, lengths, beam.finished.log_probs, beam.finished.scores, beam.undefined[:, None], pad)


def follow(
    tokens: Int32[Array, "L B K"],
    parents: Int32[Array, "L B K"],
    slots: Int32[Array, "B n"],
    steps: Int32[Array, "B n"],
    t: Int32[Array, ""],
    pad: int,
) -> Int32[Array, "B n L"]:
    """Reads the record backwards from step `t`, for hypotheses of `steps` tokens whose last ones are at `slots`."""

    def back(i: int | Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
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
    """Merges newly finished hypotheses into the best finished ones; ties go to those that finished first."""
    slots = jnp.broadcast_to(jnp.arange(scores.shape[1], dtype=jnp.int32), scores.shape)
    new = Finished(scores, log_probs, jnp.full(scores.shape, steps), slots)
    merged = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), finished, new)
    _, order = lax.top_k(merged.scores, finished.scores.shape[1])
    return jax.tree.map(lambda leaf: take(leaf, order), merged)
