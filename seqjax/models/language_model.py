"""One stream: a model of the next symbol given all previous symbols."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Integer

from seqjax.arguments import check_symbols
from seqjax.cells.contract import State
from seqjax.cells.regularization import variational_dropout
from seqjax.layers.linen import Recurrent, one_hot


class LanguageModel(nn.Module):
    """Predicts each symbol of a stream from the previous ones.

    Mikolov et al. (2010); Graves (2013). Symbols are one-hot vectors, so the input kernel of the first layer is
    their embedding. The carry after one batch is the input carry of the next batch of the same streams.

    Attributes:
      vocab_size: number of symbols, `V`.
      recurrent: the recurrent layers.
      dropout_rate: rate of `seqjax.variational_dropout` on the outputs of `recurrent`.

    >>> import seqjax
    >>> model = LanguageModel(vocab_size=5, recurrent=Recurrent(seqjax.gru(hidden_size=8)))
    >>> tokens = jnp.array([[0, 1, 2, 3]])
    >>> variables = model.init(jax.random.key(0), tokens)
    >>> carry, logits = model.apply(variables, tokens)
    >>> logits.shape, float(jax.nn.softmax(logits).sum())
    ((1, 4, 5), 4.0)
    """

    vocab_size: int
    recurrent: Recurrent
    dropout_rate: float = 0.0

    def setup(self) -> None:
        """Builds the output layer."""
        self.output = nn.Dense(self.vocab_size)

    def __call__(
        self,
        tokens: Integer[Array, "*B T"],
        carry: tuple[State, ...] | None = None,
        resets: Bool[Array, "*B T"] | None = None,
        deterministic: bool = True,
    ) -> tuple[tuple[State, ...], Float[Array, "*B T {self.vocab_size}"]]:
        """Returns the carry after the last step and the logits of each next symbol.

        Args:
          tokens: symbols of `B` streams over `T` steps.
          carry: the recurrent states before the first step; the initial states if None.
          resets: true where a new stream begins.
          deterministic: whether to disable all random operations, which draw from the collection "dropout".

        Raises:
          ValueError: outside `jit`, for a token that is no symbol; under `jit`, the logits after it are NaN.
        """
        check_symbols("tokens", tokens, self.vocab_size)
        xs = one_hot(tokens, self.vocab_size)
        carry, ys = self.recurrent(xs, resets=resets, initial_states=carry, deterministic=deterministic)
        if not deterministic:
            ys = variational_dropout(self.make_rng("dropout"), ys, self.dropout_rate, time_axis=-2)
        return carry, self.output(ys)

    def step(
        self, carry: tuple[State, ...], token: Int[Array, "*B"]
    ) -> tuple[tuple[State, ...], Float[Array, "*B {self.vocab_size}"]]:
        """Takes one decoding step: reads a symbol and returns the carry and the logits of the next symbol."""
        check_symbols("token", token, self.vocab_size)
        carry, y = self.recurrent.step(carry, one_hot(token, self.vocab_size, _float_type(carry)))
        return carry, self.output(y)


def _float_type(carry: tuple[State, ...]) -> Any:
    """Returns the type of the floats of a carry."""
    types = [leaf.dtype for leaf in jax.tree.leaves(carry) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return types[0] if types else jnp.float32
