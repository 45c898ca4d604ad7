"""Many to many in step: a tag for each word of a sentence, from the words on both sides and their letters."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Integer

from seqjax.cells.regularization import variational_dropout
from seqjax.layers.crf import CRFParams
from seqjax.layers.linen import Recurrent


class Tagger(nn.Module):
    """Scores each tag of each word, read both ways, by the word and by its letters.

    Lample et al. (2016); Plank, Sogaard and Goldberg (2016). A word is its embedding and the final states, forward and
    backward, of layers that read its letters; other layers read the words so joined, and a dense layer scores the tags.
    Without a field the scores are logits, each word for itself; with one they are the `scores` of `seqjax.layers.crf`.

    Attributes:
      vocab_size: number of words.
      alphabet_size: number of letters.
      num_tags: number of tags, `K`.
      letters: the layers that read letters, both ways or one.
      recurrent: the layers that read words.
      word_size: size of an embedded word.
      letter_size: size of an embedded letter.
      crf: whether tags are chosen together, by a conditional random field.
      dropout_rate: rate of `seqjax.variational_dropout` on the words and on what is read of them.

    >>> import jax
    >>> import seqjax
    >>> letters, recurrent = (Recurrent(seqjax.gru(hidden_size=8), bidirectional=True) for _ in range(2))
    >>> model = Tagger(9, 7, 5, letters, recurrent, word_size=8, letter_size=4, crf=True)
    >>> words, places, lengths = jnp.array([[1, 2, 1]]), jnp.array([[0, 1, 0]]), jnp.array([3])
    >>> batch = words, places, jnp.ones((2, 6), int), jnp.array([6, 2]), lengths
    >>> (scores, field), variables = model.init_with_output(jax.random.key(0), *batch)
    >>> scores.shape, field.transitions.shape
    ((1, 3, 5), (5, 5))
    """

    vocab_size: int
    alphabet_size: int
    num_tags: int
    letters: Recurrent
    recurrent: Recurrent
    word_size: int
    letter_size: int
    crf: bool = False
    dropout_rate: float = 0.0

    def setup(self) -> None:
        """Makes embeddings, output layer and field."""
        self.word_embedding = nn.Embed(self.vocab_size, self.word_size)
        self.letter_embedding = nn.Embed(self.alphabet_size, self.letter_size)
        self.output = nn.Dense(self.num_tags)
        if self.crf:
            tags, zeros = self.num_tags, nn.initializers.zeros
            self.field = CRFParams(
                start=self.param("start", zeros, (tags,), jnp.float32),
                transitions=self.param("transitions", zeros, (tags, tags), jnp.float32),
                end=self.param("end", zeros, (tags,), jnp.float32),
            )

    def __call__(
        self,
        words: Integer[Array, "B T"],
        places: Integer[Array, "B T"],
        spellings: Integer[Array, "U L"],
        spelling_lengths: Integer[Array, "U"],
        lengths: Integer[Array, "B"],
        *,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "B T {self.num_tags}"], CRFParams | None]:
        """Returns the scores, and the field if there is one.

        Args:
          words: of `B` sentences, anything within the vocabulary in the padding.
          places: which of `U` spellings each word has.
          spellings: of distinct words, `L` letters.
          spelling_lengths: how many letters each has.
          lengths: how many words each sentence has.
          deterministic: whether to run without what is random, which draws from the collection "dropout".
        """
        states, _ = self.letters(
            self.letter_embedding(spellings), lengths=spelling_lengths, deterministic=deterministic
        )
        both_ways = states[-1] if self.letters.bidirectional else (states[-1],)
        read = jnp.concatenate([getattr(state, "h", state) for state in both_ways], axis=-1)
        xs = self._drop(jnp.concatenate([self.word_embedding(words), read[places]], axis=-1), deterministic)
        _, ys = self.recurrent(xs, lengths=lengths, deterministic=deterministic)
        return self.output(self._drop(ys, deterministic)), self.field if self.crf else None

    def _drop(self, xs: Array, deterministic: bool) -> Array:
        if deterministic:
            return xs
        return variational_dropout(self.make_rng("dropout"), xs, self.dropout_rate, time_axis=-2)
