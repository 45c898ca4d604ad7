"""Diverse beam search: groups of hypotheses, each avoiding the tokens that earlier groups chose at the same step."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from seqjax.arguments import IntLike, as_count, check_setting
from seqjax.decoding.beam import Beam, Choice, complete, grow, may_improve, new_beam, read_off, reorder
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


def diverse_beam_search(
    step: Step,
    params: Params,
    context: Context,
    state: State,
    *,
    beam_size: IntLike,
    groups: IntLike,
    diversity: float | Float[Array, ""],
    bos: IntLike | Array | np.ndarray,
    eos: IntLike | None,
    max_length: IntLike,
    length_penalty: LengthPenalty = no_penalty,
    coverage_penalty: CoveragePenalty | None = None,
    processors: Sequence[Processor] = (),
    pad: IntLike = 0,
) -> Decoded:
    """Searches with several beams that differ from each other, extended one after another at each step.

    Vijayakumar et al. (2018), equation 7 with Hamming diversity (section 4): group g ranks its candidates by

        sum_{s<=t} log p(y_s | y_<s, context) - diversity * (how often groups before g chose the token y_t at step t)

    The penalty affects only which candidates stay alive; the scores are those of `beam_search`. The first group is a
    beam search with `beam_size / groups` hypotheses. The arguments not listed here are those of `beam_search`.

    Args:
      beam_size: the total number of hypotheses in all groups.
      groups: the number of groups; divides `beam_size`.
      diversity: the penalty in nats for each earlier use of a candidate's token, at least 0.

    Returns:
      The best `beam_size / groups` sequences of each group, merged, best first. Groups may find the same sequence.

    Raises:
      TypeError: if `step`, a processor or a penalty returns something of the wrong type.
      ValueError: if shapes do not match, a setting is out of range, or (outside `jit`) logits are NaN or processors
        leave no token in a row; the message lists these rows.

    >>> def step(params, context, state, token):
    ...     return jnp.log(jnp.array([0.5, 0.3, 0.2])), state
    >>> settings = {"beam_size": 2, "groups": 2, "bos": 0, "eos": None, "max_length": 3}
    >>> diverse_beam_search(step, None, None, jnp.zeros((1, 0)), diversity=0.0, **settings).tokens[0].tolist()
    [[0, 0, 0], [0, 0, 0]]
    >>> diverse_beam_search(step, None, None, jnp.zeros((1, 0)), diversity=1.0, **settings).tokens[0].tolist()
    [[0, 0, 0], [1, 1, 1]]
    """
    check_setting("diversity", diversity, lambda diversity: 0 <= diversity < math.inf, "at least 0 and finite")
    penalties = {"length_penalty": length_penalty, "coverage_penalty": coverage_penalty}
    functions = as_arguments(step, processors, **penalties)
    settings = as_settings(beam_size=beam_size, groups=groups, eos=eos, max_length=max_length, pad=pad)
    found = _diverse_beam_search(*functions, params, context, state, bos, diversity, **settings)
    return check_decoded(found, processors, step, params, context, state)


class _Loop(NamedTuple):
    t: Int32[Array, ""]
    state: State
    beams: tuple[Beam, ...]


@partial(jax.jit, static_argnames=("beam_size", "groups", "eos", "max_length", "pad"))
def _diverse_beam_search(
    step, processors, length_penalty, coverage_penalty, params, context, state, bos, diversity,
    *, beam_size, groups, eos, max_length, pad,
) -> Decoded:  # fmt: skip
    as_count("beam_size", beam_size)
    as_count("groups", groups)
    if beam_size % groups:
        raise ValueError(f"groups: expected a divisor of beam_size, {beam_size}, got {groups}")
    batch, vocabulary = check_search(step, processors, params, context, state, bos, eos, max_length)
    score = scoring(length_penalty, coverage_penalty, context, state)
    size = beam_size // groups
    slots = [slice(first, first + size) for first in range(0, beam_size, size)]

    def improves(loop: _Loop) -> Bool[Array, " B"]:
        each = [may_improve(beam, loop.t, max_length, length_penalty) for beam in loop.beams]
        return jnp.any(jnp.stack(each), axis=0)

    def goes_on(loop: _Loop) -> Bool[Array, ""]:
        return (loop.t < max_length) & jnp.any(improves(loop))

    def advance_all(loop: _Loop) -> _Loop:
        token = jnp.concatenate([beam.token for beam in loop.beams], axis=1)
        history = jnp.concatenate([beam.history for beam in loop.beams], axis=2)
        predicted, state = advance(step, processors, params, context, loop.state, token, history, loop.t, eos)
        used = jnp.zeros((batch, 1, vocabulary))
        beams, parents = [], []
        for beam, mine in zip(loop.beams, slots, strict=True):
            of_group, state_of_group = jax.tree.map(lambda leaf, mine=mine: leaf[:, mine], (predicted, state))
            ranking = of_group.processed - diversity * used
            beam, choice = grow(beam, of_group, ranking, improves(loop), state_of_group, loop.t, score, eos)
            used += _uses(choice, eos, vocabulary)
            beams.append(beam)
            parents.append(mine.start + choice.parent)
        return _Loop(loop.t + 1, reorder(state, jnp.concatenate(parents, axis=1)), tuple(beams))

    start = new_beam(first_tokens(bos, (batch, size)), size, max_length)
    loop = _Loop(jnp.int32(0), repeat_state(state, beam_size), (start,) * groups)
    t, state, beams = lax.while_loop(goes_on, advance_all, loop)
    found = [
        read_off(complete(beam, jax.tree.map(lambda leaf, mine=mine: leaf[:, mine], state), t, score), t, eos, pad)
        for beam, mine in zip(beams, slots, strict=True)
    ]
    found = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *found)
    scores, order = lax.top_k(found.scores, beam_size)
    tokens = jnp.take_along_axis(found.tokens, order[..., None], axis=1)
    undefined = jnp.any(jnp.isnan(found.scores), axis=1, keepdims=True)
    return settle(tokens, take(found.lengths, order), take(found.log_probs, order), scores, undefined, pad)


def _uses(choice: Choice, eos: IntLike | None, vocabulary: int) -> Float[Array, "B 1 V"]:
    """Counts how often a group chose each token."""
    tokens = jnp.where(choice.alive, choice.token, vocabulary)  # one_hot is all zeros outside the vocabulary
    used = jnp.sum(jax.nn.one_hot(tokens, vocabulary), axis=1, keepdims=True)
    if eos is None:
        return used
    return used.at[:, 0, eos].add(jnp.sum(choice.ends, axis=1, dtype=used.dtype))
