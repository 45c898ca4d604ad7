"""Logits processors that reshape or truncate the distribution of the next token.

Each factory returns a processor, `(context, history, logits) -> logits`; a search applies a chain of them in order. A
token that is cut gets minus infinity. At least one token is always kept, and tokens with equal logits are kept or cut
together. A new value of a setting does not recompile a search, except for the `k` of `top_k`; under `jit` a setting may
be traced. Probabilities that equal a threshold except for rounding errors count as equal to it.

`p` is the softmax of the input logits, and `H(p)` its entropy in nats.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float

from seqjax.arguments import IntLike, as_count, check_setting
from seqjax.decoding.contract import Context, History, Processor

Setting = float | Float[Array, ""]  # an array under jit


def temperature(value: Setting) -> Processor:
    """Divides the logits by a temperature, which sharpens the distribution below 1 and flattens it above 1.

    Raises:
      ValueError: if the temperature is not above 0. (For sampling at 0, use `greedy_search`.)

    >>> temperature(0.5)(None, None, jnp.array([0.0, -1.0]))
    Array([ 0., -2.], dtype=float32)
    """
    check_setting("value", value, lambda value: value > 0, "a temperature above 0")
    return Partial(_temperature, value)


@functools.lru_cache(maxsize=None, typed=True)  # one function per k, so that a search does not recompile
def top_k(k: IntLike) -> Processor:
    """Keeps the k most probable tokens (Fan, Lewis and Dauphin 2018), or all tokens if there are fewer.

    Raises:
      ValueError: if k is below 1.

    >>> top_k(2)(None, None, jnp.array([1.0, 3.0, 2.0]))
    Array([-inf,   3.,   2.], dtype=float32)
    """
    k = as_count("k", k)

    def process(context: Context, history: History | None, logits: Float[Array, " V"]) -> Float[Array, " V"]:
        kept, _ = jax.lax.top_k(logits, min(k, logits.size))
        return _cut(logits, logits < kept[-1])

    return process


def top_p(p: Setting) -> Processor:
    """Keeps the nucleus: the smallest set of most probable tokens whose total probability is at least p; all if p is 1.

    Holtzman et al. (2020), equation 3.

    Raises:
      ValueError: if p is outside (0, 1].

    >>> top_p(0.7)(None, None, jnp.array([2.0, 0.0, 1.0]))
    Array([  2., -inf,   1.], dtype=float32)
    """
    _check_share("p", p)
    return Partial(_top_p, p)


def min_p(p: Setting) -> Processor:
    """Keeps the tokens whose probability is at least p times the maximum (Nguyen et al. 2025).

    Raises:
      ValueError: if p is outside (0, 1].

    >>> min_p(0.3)(None, None, jnp.array([2.0, 0.0, 1.0]))
    Array([  2., -inf,   1.], dtype=float32)
    """
    _check_share("p", p)
    return Partial(_min_p, p)


def typical(mass: Setting) -> Processor:
    """Keeps the tokens whose surprisal is closest to the entropy, until their total probability reaches `mass`.

    Meister et al. (2023), equation 9: tokens are added in ascending order of |H(p) + log p|; all are if `mass` is 1.

    Raises:
      ValueError: if the mass is outside (0, 1].

    >>> typical(0.5)(None, None, jnp.array([1.0, 0.0, 0.0, 0.0]))
    Array([-inf,   0.,   0.,   0.], dtype=float32)
    """
    _check_share("mass", mass)
    return Partial(_typical, mass)


def epsilon_cutoff(epsilon: Setting) -> Processor:
    """Cuts the tokens whose probability is below epsilon (Hewitt, Manning and Liang 2022, section 3.1).

    Raises:
      ValueError: if epsilon is outside (0, 1].

    >>> epsilon_cutoff(0.2)(None, None, jnp.array([2.0, 0.0, 1.0]))
    Array([  2., -inf,   1.], dtype=float32)
    """
    _check_share("epsilon", epsilon)
    return Partial(_epsilon_cutoff, epsilon)


def eta_cutoff(epsilon: Setting) -> Processor:
    """Cuts the tokens whose probability is below a bound that falls as the entropy rises.

    Hewitt, Manning and Liang (2022), equation 5: p < eta, eta = min(epsilon, sqrt(epsilon) exp(-H(p))).

    Raises:
      ValueError: if epsilon is outside (0, 1].

    >>> eta_cutoff(0.2)(None, None, jnp.array([2.0, 0.0, 1.0]))
    Array([  2., -inf,   1.], dtype=float32)
    """
    _check_share("epsilon", epsilon)
    return Partial(_eta_cutoff, epsilon)


def _of_logits(function: Callable[[Setting, Array], Array]) -> Callable[[Setting, Context, History, Array], Array]:
    """Wraps a function of a setting and the logits as a processor that ignores context and history."""

    def processor(setting: Setting, context: Context, history: History | None, logits: Array) -> Array:
        return function(setting, logits)

    return processor


@_of_logits
def _temperature(value: Setting, logits: Float[Array, " V"]) -> Float[Array, " V"]:
    return logits / value


@_of_logits
def _top_p(p: Setting, logits: Float[Array, " V"]) -> Float[Array, " V"]:
    descending = jnp.sort(logits, descending=True)
    return _cut(logits, logits < _last_within(p, jax.nn.softmax(descending), descending))


@_of_logits
def _min_p(p: Setting, logits: Float[Array, " V"]) -> Float[Array, " V"]:
    return _cut(logits, logits < jnp.max(logits) + jnp.log(p) - _rounding(logits))


@_of_logits
def _typical(mass: Setting, logits: Float[Array, " V"]) -> Float[Array, " V"]:
    log_probs = jax.nn.log_softmax(logits)
    distance = jnp.abs(log_probs + _entropy(log_probs))
    order = jnp.argsort(distance)
    return _cut(logits, distance > _last_within(mass, jnp.exp(log_probs)[order], distance[order]))


@_of_logits
def _epsilon_cutoff(epsilon: Setting, logits: Float[Array, " V"]) -> Float[Array, " V"]:
    return _cut_below(jnp.log(epsilon), logits)


@_of_logits
def _eta_cutoff(epsilon: Setting, logits: Float[Array, " V"]) -> Float[Array, " V"]:
    entropy = _entropy(jax.nn.log_softmax(logits))
    return _cut_below(jnp.minimum(jnp.log(epsilon), jnp.log(epsilon) / 2 - entropy), logits)


def _cut(logits: Float[Array, " V"], where: Bool[Array, " V"]) -> Float[Array, " V"]:
    return jnp.where(where, -jnp.inf, logits)


def _cut_below(log_prob: Float[Array, ""], logits: Float[Array, " V"]) -> Float[Array, " V"]:
    below = jax.nn.log_softmax(logits) < log_prob - _rounding(logits)
    return _cut(logits, below & (logits < jnp.max(logits)))


def _last_within(mass: Setting, probs: Float[Array, " V"], values: Float[Array, " V"]) -> Float[Array, ""]:
    """Returns the last value of the shortest prefix whose probabilities sum to at least the mass.

    A mass of 1 takes all values: probabilities that are too small for the sum count too.
    """
    before = jnp.cumsum(probs) - probs
    return values[jnp.sum((before < mass - _rounding(probs)) | (mass >= 1)) - 1]


def _rounding(values: Float[Array, " V"]) -> float:
    """Returns a bound of the rounding error of a probability, its logarithm or a sum of probabilities."""
    return 16 * float(jnp.finfo(values.dtype).eps)


def _entropy(log_probs: Float[Array, " V"]) -> Float[Array, ""]:
    return jnp.sum(jax.scipy.special.entr(jnp.exp(log_probs)))


def _check_share(name: str, value: Setting) -> None:
    check_setting(name, value, lambda value: 0 < value <= 1, "a number above 0 and at most 1")
