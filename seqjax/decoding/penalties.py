"""Length and coverage penalties, by which a beam search ranks finished hypotheses.

A length penalty is a function `(log_prob, length) -> score` of scalars that never decreases as the log-probability
rises. The log-probability of a hypothesis only falls while it grows, so its current log-probability, scored at the best
length still ahead, bounds every score that it can reach. With this bound a search stops early without changing its
result, for any penalty.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int

from seqjax.arguments import check_setting
from seqjax.decoding.contract import Context, State, as_argument

LengthPenalty = Callable[[Float[Array, ""], Int[Array, ""]], Float[Array, ""]]
CoveragePenalty = Callable[[Context, State], Float[Array, ""]]
Score = Callable[[Float[Array, "B K"], Int[Array, ""], State], Float[Array, "B K"]]


def no_penalty(log_prob: Float[Array, "*B"], length: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """Ranks by the log-probability of the whole sequence, which favours short ones.

    >>> no_penalty(jnp.float32(-6.0), jnp.int32(3))
    Array(-6., dtype=float32)
    """
    return log_prob


def mean_log_prob(log_prob: Float[Array, "*B"], length: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """Ranks by the mean log-probability per token, `eos` included.

    >>> mean_log_prob(jnp.float32(-6.0), jnp.int32(3))
    Array(-2., dtype=float32)
    """
    return log_prob / jnp.asarray(length, jnp.result_type(log_prob))


def gnmt_length(alpha: float | Float[Array, ""]) -> LengthPenalty:
    """Ranks by the log-probability divided by a power of the length; alpha 0 is the same as `no_penalty`.

    Wu et al. (2016), equation 14:

        s(Y) = log P(Y) / lp(Y),    lp(Y) = (5 + |Y|)^alpha / (5 + 1)^alpha

    >>> gnmt_length(1.0)(jnp.float32(-6.0), jnp.int32(7))
    Array(-3., dtype=float32)
    """
    return Partial(_gnmt_length, alpha)


def gnmt_coverage(
    beta: float | Float[Array, ""],
    attention: Callable[[Context, State], Float[Array, " S"]],
    mask: Callable[[Context], Bool[Array, " S"]] | None = None,
) -> CoveragePenalty:
    """Lowers the score of a hypothesis that has not attended to its whole source.

    Wu et al. (2016), equation 14, where p_ij is the attention to source position i when emitting token j:

        cp(X; Y) = beta sum_i log(min(sum_j p_ij, 1))

    Args:
      beta: weight of the penalty, at least 0.
      attention: returns sum_j p_ij for each of `S` source positions from the context and the state of one hypothesis;
        the decoder has to accumulate its attention weights in its state.
      mask: returns from the context a mask that is True at real source positions; None if none is padding.

    Returns:
      A function of one hypothesis, to pass to `beam_search`.

    Raises:
      ValueError: if beta is negative.

    >>> penalty = gnmt_coverage(0.5, attention=lambda context, state: state)
    >>> penalty(None, jnp.array([1.5, 1.0, jnp.exp(-2.0)]))
    Array(-1., dtype=float32)
    """
    check_setting("beta", beta, lambda beta: beta >= 0, "at least 0")
    mask = None if mask is None else as_argument("mask", mask)
    return Partial(_gnmt_coverage, beta, as_argument("attention", attention), mask)


def scoring(
    length_penalty: LengthPenalty, coverage_penalty: CoveragePenalty | None, context: Context, state: State
) -> Score:
    """Checks the penalties and combines them for all hypotheses: `(sums [B, K], length, state) -> scores`.

    Raises:
      TypeError: if a penalty does not return a scalar float.
    """
    got = {"length_penalty": jax.eval_shape(length_penalty, jnp.float32(0), jnp.int32(1))}
    if coverage_penalty is not None:
        one = jax.tree.map(lambda leaf: leaf[0], (context, state))
        got["coverage_penalty"] = jax.eval_shape(coverage_penalty, *one)
    for name, returned in got.items():
        if getattr(returned, "shape", None) != () or not jnp.issubdtype(returned.dtype, jnp.floating):
            raise TypeError(f"{name}: expected it to return a scalar float, got {returned}")

    def score(sums: Array, length: Array, state: State) -> Array:
        scores = jnp.vectorize(length_penalty)(sums, length)
        if coverage_penalty is not None:
            covered = jax.vmap(jax.vmap(coverage_penalty, in_axes=(None, 0)))(context, state)
            scores += covered.astype(scores.dtype)
        return jnp.where(jnp.isneginf(sums), -jnp.inf, scores)

    return score


def _gnmt_length(
    alpha: float | Float[Array, ""], log_prob: Float[Array, "*B"], length: Int[Array, "*B"]
) -> Float[Array, "*B"]:
    return log_prob / ((5.0 + jnp.asarray(length, jnp.result_type(log_prob))) / 6.0) ** alpha


def _gnmt_coverage(
    beta: float | Float[Array, ""], attention: Callable, mask: Callable | None, context: Context, state: State
) -> Float[Array, ""]:
    attended = attention(context, state)
    attended = jnp.clip(attended, jnp.finfo(attended.dtype).tiny, 1.0)  # keeps the penalty finite if a sum underflows
    return beta * jnp.sum(jnp.log(attended), where=None if mask is None else mask(context))
