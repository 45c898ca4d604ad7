"""Processors of logits that reshape or cut the distribution of the next token.

Each factory returns a processor, `(context, history, logits) -> logits`; a search applies a chain of them in the order
given. What is cut gets minus infinity; some token always stays, and tokens of equal logits stay or go together. New
values of a setting do not recompile a search, except for the `k` of `top_k`.

`p` is the softmax of the logits that enter, `H(p)` its entropy in nats.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float

from seqjax.decoding.contract import Context, History, Processor, check_count

Setting = float | Float[Array, ""]  # an array under jit


def temperature(value: float) -> Processor:
    """Divides the logits by a temperature: below 1 the distribution gets sharper, above 1 flatter.

    Raises:
      ValueError: if the temperature is not above 0. (At 0, sampling is `greedy_search`.)

    >>> temperature(0.5)(None, None, jnp.array([0.0, -1.0]))
    Array([ 0., -2.], dtype=float32)
    """
    if not value > 0:
        raise ValueError(f"value: expected a temperature above 0, got {value}")
    return Partial(_temperature, value)


@functools.lru_cache(maxsize=None, typed=True)  # one function for each k, so that a search does not compile anew
def top_k(k: int) -> Processor:
    """Keeps the k most probable tokens (Fan, Lewis and Dauphin 2018), all of them where there are fewer.

    Raises:
      ValueError: if k is below 1.

    >>> top_k(2)(None, None, jnp.array([1.0, 3.0, 2.0]))
    Array([-inf,   3.,   2.], dtype=float32)
    """
    check_count("k", k)

    def process(context: Context, history: History | None, logits: Float[Array, " V"]) -> Float[Array, " V"]:
        kept, _ = jax.lax.top_k(logits, min(k, logits.size))
        return _cut(logits, logits < kept[-1])

    return process


def top_p(p: float) -> Processor:
    """Keeps the nucleus: the fewest most probable tokens that have at least the probability p together.

    Holtzman et al. (2020), equation 3.

    Raises:
      ValueError: if p is outside (0, 1].

    >>> top_p(0.7)(None, None, jnp.array([2.0, 0.0, 1.0]))
    Array([  2., -inf,   1.], dtype=float32)
    """
    _check_share("p", p)
    return Partial(_top_p, p)


def min_p(p: float) -> Processor:
    """Keeps the tokens that have at least the share p of the greatest probability (Nguyen et al. 2025).

    Raises:
      ValueError: if p is outside (0, 1].

    >>> min_p(0.3)(None, None, jnp.array([2.0, 0.0, 1.0]))
    Array([  2., -inf,   1.], dtype=float32)
    """
    _check_share("p", p)
    return Partial(_min_p, p)


def typical(mass: float) -> Processor:
    """Keeps the tokens whose surprisal is nearest to the entropy, the fewest that have the probability `mass` together.

    Meister et al. (2023), equation 9: the tokens in order of |H(p) + log p|.

    Raises:
      ValueError: if the mass is outside (0, 1].

    >>> typical(0.5)(None, None, jnp.array([1.0, 0.0, 0.0, 0.0]))
    Array([-inf,   0.,   0.,   0.], dtype=float32)
    """
    _check_share("mass", mass)
    return Partial(_typical, mass)


def epsilon_cutoff(epsilon: float) -> Processor:
    """Cuts the tokens of a probability below epsilon (Hewitt, Manning and Liang 2022, section 3.1).

    Raises:
      ValueError: if epsilon is outside (0, 1].

    >>> epsilon_cutoff(0.2)(None, None, jnp.array([2.0, 0.0, 1.0]))
    Array([  2., -inf,   1.], dtype=float32)
    """
    _check_share("epsilon", epsilon)
    return Partial(_epsilon_cutoff, epsilon)


def eta_cutoff(epsilon: float) -> Processor:
    """Cuts the tokens of a probability below a bound that falls where the distribution is flat.

    Hewitt, Manning and Liang (2022), equation 5: p < eta, eta = min(epsilon, sqrt(epsilon) exp(-H(p))).

    Raises:
      ValueError: if epsilon is outside (0, 1].

    >>> eta_cutoff(0.2)(None, None, jnp.array([2.0, 0.0, 1.0]))
    Array([  2., -inf,   1.], dtype=float32)
    """
    _check_share("epsilon", epsilon)
    return Partial(_eta_cutoff, epsilon)


def _of_logits(function: Callable[[Setting, Array], Array]) -> Callable[[Setting, Context, History, Array], Array]:
    """Makes a function of a setting and the logits take context and history as well, which it does not look at."""

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
    return _cut(logits, logits < jnp.max(logits) + jnp.log(p))


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
    return _cut(logits, (jax.nn.log_softmax(logits) < log_prob) & (logits < jnp.max(logits)))


def _last_within(mass: Setting, probs: Float[Array, " V"], values: Float[Array, " V"]) -> Float[Array, ""]:
    """Of values in an order, gives the last one of the fewest whose probabilities sum to at least the mass."""
    before = jnp.cumsum(probs) - probs
    return values[jnp.sum(before < mass) - 1]


def _entropy(log_probs: Float[Array, " V"]) -> Float[Array, ""]:
    return jnp.sum(jax.scipy.special.entr(jnp.exp(log_probs)))


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"{name}: expected a number above 0 and at most 1, got {value}")
