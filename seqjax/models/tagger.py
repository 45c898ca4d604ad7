"""Many to many, aligned: a tag for each word of a sentence, from its words and their letters."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Integer

from seqjax.arguments import check_symbols, is_symbol, where_defined, within
from seqjax.cells.regularization import variational_dropout
from seqjax.layers.crf import CRFParams
from seqjax.layers.linen import Embedding, Recurrent


class Tagger(nn.Module):
    """Scores each tag of each word from the words of the sentence and their letters.

    Lample et al. (2016); Plank, Sogaard and Goldberg (2016). Recurrent layers read the letters of a word; their final
    hidden states, forward and backward, are concatenated with the word's embedding. Other layers read these vectors,
    and a dense layer scores the tags. Without a conditional random field, the scores are independent logits for each
    word; with one, they are the `scores` of `seqjax.layers.crf`.

    Attributes:
      vocab_size: number of words.
      alphabet_size: number of letters.
      num_tags: number of tags, `K`.
      letters: the layers that read letters, in one or both directions.
      recurrent: the layers that read words.
      word_size: size of a word's embedding.
      letter_size: size of a letter's embedding.
      crf: whether a conditional random field chooses the tags jointly.
      dropout_rate: rate of `seqjax.variational_dropout` on the inputs and outputs of `recurrent`.

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
        """Builds the embeddings, the output layer and the conditional random field."""
        self.word_embedding = Embedding(self.vocab_size, self.word_size)
        self.letter_embedding = Embedding(self.alphabet_size, self.letter_size)
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
        deterministic: bool = True,
    ) -> tuple[Float[Array, "B T {self.num_tags}"], CRFParams | None]:
        """Returns the scores, and the parameters of the conditional random field if there is one.

        Args:
          words: words of `B` sentences, with any values in the padding.
          places: index of each word's spelling among the `U` spellings, with any values in the padding.
          spellings: spellings of distinct words, padded to `L` letters with any values.
          spelling_lengths: number of letters in each spelling.
          lengths: number of words in each sentence.
          deterministic: whether to disable all random operations, which draw from the collection "dropout".

        Raises:
          ValueError: outside `jit`, for a word, a place or a letter that is out of range; under `jit`, the scores that
            depend on it are NaN.
        """
        words_valid = within(lengths, words.shape[1])
        letters_valid = within(spelling_lengths, spellings.shape[1])
        check_symbols("words", words, self.vocab_size, words_valid)
        check_symbols("places", places, len(spellings), words_valid)
        check_symbols("spellings", spellings, self.alphabet_size, letters_valid)
        words, places = jnp.where(words_valid, words, 0), jnp.where(words_valid, places, 0)
        spellings = jnp.where(letters_valid, spellings, 0)
        states, _ = self.letters(
            self.letter_embedding(spellings), lengths=spelling_lengths, deterministic=deterministic
        )
        both_ways = states[-1] if self.letters.bidirectional else (states[-1],)
        read = jnp.concatenate([getattr(state, "h", state) for state in both_ways], axis=-1)
        read = where_defined(is_symbol(places, len(read))[..., None], read[places])
        xs = self._drop(jnp.concatenate([self.word_embedding(words), read], axis=-1), deterministic)
        _, ys = self.recurrent(xs, lengths=lengths, deterministic=deterministic)
        return self.output(self._drop(ys, deterministic)), self.field if self.crf else None

    def _drop(self, xs: Array, deterministic: bool) -> Array:
        if deterministic:
            return xs
        return variational_dropout(self.make_rng("dropout"), xs, self.dropout_rate, time_axis=-2)
