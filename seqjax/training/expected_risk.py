"""Minimum risk training (Shen et al. 2016): the expected error of a model's outputs, as a loss.

The candidates `y` of an example are sampled or found by beam search; the risk of each is a measure of error, such as
its edit distance to the reference. In the shapes, `n` is the number of candidates, `L` their padded length and `*B` any
batch axes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from seqjax.arguments import IntLike, at_least, check_setting, clip_lengths, within


def edit_distance(
    a: Integer[Array, "N"],
    a_length: Integer[Array, ""] | IntLike,
    b: Integer[Array, "M"],
    b_length: Integer[Array, ""] | IntLike,
) -> Int[Array, ""]:
    """Counts the insertions, deletions and substitutions that turn one sequence into another (Levenshtein 1966).

    For the first `i` symbols of `a` and the first `j` of `b`,

        D[i, j] = min(D[i-1, j] + 1, D[i-1, j-1] + (a[i] != b[j]), D[i, j-1] + 1),    D[i, 0] = i,  D[0, j] = j

    A scan computes the table row by row. Let `c[j]` be the minimum of the first two terms, and `c[0] = i`. With the
    last term, the row is `D[i, j] = min over k <= j of c[k] + j - k`, that is, `j` plus the cumulative minimum of
    `c[k] - k`.

    Takes one pair; use `jax.vmap` for more. Values in the padding have no effect.

    Args:
      a: symbols, padded to `N`.
      a_length: number of valid symbols; above `N`, it counts as `N`.
      b: symbols, padded to `M`.
      b_length: number of valid symbols; above `M`, it counts as `M`.

    Raises:
      ValueError: if `a` or `b` does not have exactly one axis.

    >>> edit_distance(jnp.array([1, 2, 3, 4]), 4, jnp.array([2, 3, 5, 0]), 3)
    Array(2, dtype=int32)
    """
    for name, sequence in (("a", a), ("b", b)):
        if sequence.ndim != 1:
            raise ValueError(f"{name}: expected one axis, got the shape {sequence.shape}")
    a, b = at_least(a, jnp.int32), at_least(b, jnp.int32)
    a_length, b_length = clip_lengths(a_length, a.shape[0]), clip_lengths(b_length, b.shape[0])
    columns = jnp.arange(b.shape[0] + 1, dtype=jnp.int32)

    def next_row(row: Array, step: tuple[Array, Array]) -> tuple[Array, None]:
        i, symbol = step
        c = jnp.minimum(row[1:] + 1, row[:-1] + jnp.where(b != symbol, 1, 0))
        c = jnp.concatenate([i[None], c])
        return jnp.where(i <= a_length, jax.lax.cummin(c - columns) + columns, row), None

    rows = jnp.arange(1, a.shape[0] + 1, dtype=jnp.int32)
    row, _ = jax.lax.scan(next_row, columns, (rows, a))
    return row[b_length]


def first_of_equal(tokens: Integer[Array, "*B n L"], lengths: Integer[Array, "*B n"]) -> Bool[Array, "*B n"]:
    """Marks the candidates that differ from all earlier ones, so that one sampled twice counts once.

    Raises:
      ValueError: if the shapes do not match.

    >>> first_of_equal(jnp.array([[5, 6], [5, 7], [5, 6], [5, 9]]), jnp.array([2, 1, 2, 1]))
    Array([ True,  True, False, False], dtype=bool)
    """
    if tokens.shape[:-1] != lengths.shape:
        raise ValueError(f"lengths: expected shape {tokens.shape[:-1]}, one per candidate, got {lengths.shape}")
    lengths = clip_lengths(lengths, tokens.shape[-1])
    padding = ~within(lengths, tokens.shape[-1])
    same = (tokens[..., :, None, :] == tokens[..., None, :, :]) | padding[..., :, None, :]
    equal = same.all(axis=-1) & (lengths[..., :, None] == lengths[..., None, :])
    return ~jnp.tril(equal, k=-1).any(axis=-1)


def expected_risk(
    log_probs: Float[Array, "*B n"],
    risks: Float[Array, "*B n"] | Integer[Array, "*B n"],
    *,
    sharpness: float | Float[Array, ""] = 5e-3,
    mask: Bool[Array, "*B n"] | None = None,
) -> Float[Array, "*B"]:
    """Computes the mean risk of the candidates under the model's distribution over them.

    Shen et al. (2016), equations 9 and 11, with `a` for the sharpness:

        Q(y) = p(y)^a / sum_y' p(y')^a
        R = sum_y Q(y) risk(y),    dR / dlog p(y) = a Q(y) (risk(y) - R)

    Candidates that `mask` excludes affect neither the risk nor its gradient, whatever their values. The risk of an
    example without any valid candidate is 0.

    Args:
      log_probs: log p(y) of each candidate in nats.
      risks: risk of each candidate; no gradient flows through it.
      sharpness: `a`, above 0. Shen et al. found 5e-3 best.
      mask: true for the candidates that count, as returned by `first_of_equal`; all count if None.

    Raises:
      ValueError: if the shapes do not match or the sharpness is not above 0.

    >>> expected_risk(jnp.log(jnp.array([0.6, 0.2])), jnp.array([0.0, 4.0]), sharpness=1.0).round(4)
    Array(1., dtype=float32)
    >>> round(float(expected_risk(jnp.log(jnp.array([0.6, 0.2])), jnp.array([0.0, 4.0]))), 4)
    1.9945
    """
    for name, array in (("risks", risks), ("mask", mask)):
        if array is not None and array.shape != log_probs.shape:
            raise ValueError(f"{name}: expected the shape {log_probs.shape} of log_probs, got {array.shape}")
    check_setting("sharpness", sharpness, lambda a: a > 0.0, "a number above 0")
    risks = jax.lax.stop_gradient(at_least(risks, log_probs.dtype))
    if mask is None:
        return (jax.nn.softmax(sharpness * log_probs) * risks).sum(axis=-1)
    excluded = jnp.where(mask.any(axis=-1, keepdims=True), -jnp.inf, 0.0)  # a softmax over nothing would be NaN
    logits = jnp.where(mask, sharpness * jnp.where(mask, log_probs, 0.0), excluded)
    return (jax.nn.softmax(logits) * jnp.where(mask, risks, 0)).sum(axis=-1)
