"""Copying: an output distribution that can also take symbols of the source, by how much attention each gets.

See, Liu and Manning (2017), equation 9. Source and target share one numbering of symbols. With the attention weights a
over the source x and the probability g of generating a symbol rather than copying one,

    p(w) = g softmax(logits)[w] + (1 - g) sum_(s: x_s = w) a_s
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer


def with_copies(
    logits: Float[Array, "*B V"],
    weights: Float[Array, "*B S"],
    copy_logit: Float[Array, "*B"],
    sources: Integer[Array, "*#B S"],
    size: int,
) -> Float[Array, "*B W"]:
    """Computes the log-probabilities of the `W` = `size` symbols that can be generated or copied.

    Only symbols of the source can be copied, so everything except a softmax is computed at its `S` positions, not `W`.

    Args:
      logits: logits of the `V` symbols that can be generated, the first of the `W`.
      weights: attention weights.
      copy_logit: logit of generating a symbol, `g = sigma(copy_logit)`.
      sources: symbols of the source, from 0 to `W - 1`.
      size: number of symbols, at least `V`.

    >>> log_probs = with_copies(jnp.zeros(2), jnp.array([0.75, 0.25]), jnp.array(0.0), jnp.array([2, 0]), size=3)
    >>> [f"{p:.3f}" for p in jnp.exp(log_probs)]
    ['0.375', '0.250', '0.375']
    """
    written = jax.nn.log_softmax(logits) + jax.nn.log_sigmoid(copy_logit)[..., None]
    new = [(0, 0)] * (written.ndim - 1) + [(0, size - logits.shape[-1])]
    written = jnp.pad(written, new, constant_values=-jnp.inf)

    same = sources[..., :, None] == sources[..., None, :]
    # over all positions with the symbol at s
    share = jnp.einsum("...r,...rs->...s", weights, same.astype(weights.dtype))
    copied = jnp.where(share > 0, jnp.log(jnp.where(share > 0, share, 1.0)), -jnp.inf)
    copied += jax.nn.log_sigmoid(-copy_logit)[..., None]
    own = jnp.take_along_axis(written, sources, axis=-1)
    neither = jnp.isneginf(own) & jnp.isneginf(copied)  # where the gradient of logaddexp is NaN
    both = jnp.where(neither, -jnp.inf, jnp.logaddexp(jnp.where(neither, 0, own), copied))

    again = jnp.tril(same, -1).any(axis=-1)  # set each symbol once: repeats get indices that are out of range
    places = jnp.where(again, size + jnp.arange(sources.shape[-1]), sources)

    def put(row: Array, places: Array, values: Array) -> Array:
        return row.at[places].set(values, mode="drop", unique_indices=True)

    return jnp.vectorize(put, signature="(w),(s),(s)->(w)")(written, places, both)
