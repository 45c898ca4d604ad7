"""Many to one: a classifier of whole sequences."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Integer

from seqjax.arguments import check_symbols, within
from seqjax.cells.regularization import variational_dropout
from seqjax.layers.attention import Attention, new_alignment
from seqjax.layers.linen import Attend, Embedding, Recurrent, one_hot


class Classifier(nn.Module):
    """Classifies a sequence by pooling the outputs of recurrent layers over all positions.

    Pooling takes the maximum of each feature over time, or the mean weighted by an attention with a learned query
    (Yang et al. 2016, equations 5 to 7, if the attention is additive):

        z = max_t h_t   or   z = sum_t a_t h_t;   logits = W z + b

    A row of length 0 has the logits b. Values in the padding affect neither results nor gradients.

    Attributes:
      vocab_size: number of symbols, `V`.
      num_classes: number of classes, `C`.
      recurrent: the recurrent layers.
      embedding_size: size of an embedded symbol, `E`; if None, symbols are one-hot of size `V`, as in `LanguageModel`.
      attention: the attention that pools; max pooling if None.
      dropout_rate: dropout rate of z and of the embedded symbols, with one mask for all positions of a sequence.

    >>> import jax
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
        """Builds the embedding, if there is one."""
        if self.embedding_size is not None:
            self.embedding = Embedding(self.vocab_size, self.embedding_size)

    def __call__(
        self, tokens: Integer[Array, "B T"], lengths: Integer[Array, "B"], deterministic: bool = True
    ) -> Float[Array, "B {self.num_classes}"]:
        """Returns the logits of each class.

        Args:
          tokens: symbols of `B` sequences, padded to `T` positions with any values.
          lengths: number of valid positions in each; above `T`, it counts as `T`.
          deterministic: whether to disable all random operations, which draw from the collection "dropout".

        Raises:
          ValueError: outside `jit`, for a token that is no symbol; under `jit`, the logits of its row are NaN.
        """
        valid = within(lengths, tokens.shape[1])
        check_symbols("tokens", tokens, self.vocab_size, valid)
        return self.classify(self.embed(jnp.where(valid, tokens, 0)), lengths, deterministic)

    def embed(self, tokens: Integer[Array, "B T"]) -> Float[Array, "B T E"]:
        """Returns the embedding or the one-hot vector of each symbol, which the recurrent layers read."""
        if self.embedding_size is None:
            return one_hot(tokens, self.vocab_size)
        return self.embedding(tokens)

    @nn.compact
    def classify(
        self, xs: Float[Array, "B T E"], lengths: Integer[Array, "B"], deterministic: bool = True
    ) -> Float[Array, "B {self.num_classes}"]:
        """Returns the logits of each class, from embedded symbols or any other frames."""
        if not deterministic:
            xs = variational_dropout(self.make_rng("dropout"), xs, self.dropout_rate, time_axis=-2)
        _, ys = self.recurrent(xs, lengths=lengths, deterministic=deterministic)
        if self.attention is None:
            valid = within(lengths, ys.shape[1])
            pooled = jnp.max(jnp.where(valid[..., None], ys, -jnp.inf), axis=1, initial=-jnp.inf)
            pooled = jnp.where(lengths[:, None] > 0, pooled, 0.0)
        else:
            attend = Attend(self.attention, query_size=ys.shape[-1], name="attend")
            query = self.param("query", nn.initializers.normal(1.0), ys.shape[-1:], jnp.float32)
            memory = attend.remember(ys, lengths)
            pooled, _ = attend(memory, new_alignment(memory), jnp.broadcast_to(query, ys[:, 0].shape))
        pooled = nn.Dropout(self.dropout_rate)(pooled, deterministic=deterministic)
        return nn.Dense(self.num_classes, name="output")(pooled)
