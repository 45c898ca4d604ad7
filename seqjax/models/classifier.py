"""Many to one: a model of the class of a whole sequence."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Integer

from seqjax.cells.regularization import variational_dropout
from seqjax.layers.attention import Attention, new_alignment
from seqjax.layers.linen import Attend, Recurrent


class Classifier(nn.Module):
    """Tells the class of a sequence of symbols from what recurrent layers put out at all of its positions.

    Either the largest value of each feature over time, or the mean weighted by an attention whose query is learned
    (Yang et al. 2016, equations 5 to 7, where the attention is additive):

        z = max_t h_t   or   z = sum_t a_t h_t;   logits = W z + b

    A row of length 0 gives logits b. What stands in the padding reaches neither a result nor a gradient.

    Attributes:
      vocab_size: number of symbols, `V`.
      num_classes: number of classes, `C`.
      recurrent: the recurrent layers.
      embedding_size: size of an embedded symbol, `E`; if None it enters as a one-hot row of `V`, as in `LanguageModel`.
      attention: what weighs the positions; if None, the largest values are taken.
      dropout_rate: share of features dropped of embedded symbols, the same at all positions, and of z.

    >>> import seqjax
    >>> model = Classifier(9, 3, Recurrent(seqjax.lstm(hidden_size=8), bidirectional=True), embedding_size=4)
    >>> tokens, lengths = jnp.array([[1, 2, 3], [4, 0, 0]]), jnp.array([3, 1])
    >>> logits, variables = model.init_with_output(jax.random.key(0), tokens, lengths)
    >>> logits.shape
    (2, 3)
    """

    vocab_size: int
    num_classes: int
    recurrent: Recurrent
    embedding_size: int | None = None
    attention: Attention | None = None
    dropout_rate: float = 0.0

    def setup(self) -> None:
        """Makes the embedding, where there is one."""
        if self.embedding_size is not None:
            self.embedding = nn.Embed(self.vocab_size, self.embedding_size)

    def __call__(
        self, tokens: Integer[Array, "B T"], lengths: Integer[Array, "B"], *, deterministic: bool = True
    ) -> Float[Array, "B {self.num_classes}"]:
        """Returns the logits of each class.

        Args:
          tokens: symbols of `B` sequences, padded to `T` positions.
          lengths: how many positions of each are valid.
          deterministic: whether to run without what is random, which draws from the collection "dropout".
        """
        return self.classify(self.embed(tokens), lengths, deterministic=deterministic)

    def embed(self, tokens: Integer[Array, "B T"]) -> Float[Array, "B T E"]:
        """Returns what the recurrent layers read in place of each symbol."""
        if self.embedding_size is None:
            return jax.nn.one_hot(tokens, self.vocab_size, dtype=jnp.float32)
        return self.embedding(tokens)

    @nn.compact
    def classify(
        self, xs: Float[Array, "B T E"], lengths: Integer[Array, "B"], *, deterministic: bool = True
    ) -> Float[Array, "B {self.num_classes}"]:
        """Returns the logits of each class of embedded symbols, or of frames of any kind."""
        if not deterministic:
            xs = variational_dropout(self.make_rng("dropout"), xs, self.dropout_rate, time_axis=-2)
        _, ys = self.recurrent(xs, lengths=lengths, deterministic=deterministic)
        if self.attention is None:
            valid = jnp.arange(ys.shape[1]) < lengths[:, None]
            pooled = jnp.max(jnp.where(valid[..., None], ys, -jnp.inf), axis=1, initial=-jnp.inf)
            pooled = jnp.where(lengths[:, None] > 0, pooled, 0.0)
        else:
            attend = Attend(self.attention, query_size=ys.shape[-1], name="attend")
            query = self.param("query", nn.initializers.normal(1.0), ys.shape[-1:])
            memory = attend.remember(ys, lengths)
            pooled, _ = attend(memory, new_alignment(memory), jnp.broadcast_to(query, ys[:, 0].shape))
        pooled = nn.Dropout(self.dropout_rate)(pooled, deterministic=deterministic)
        return nn.Dense(self.num_classes, name="output")(pooled)
