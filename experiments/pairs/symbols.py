"""Tokenizers: text to the symbol ids that a model reads, and back.

Symbols are characters, tokens between separators, or subwords (Sennrich, Haddow and Birch 2016). The ids of the special
symbols are those of `seqjax.data.SPECIALS`.
"""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from seqjax import data
from seqjax.data import BOS, EOS, PAD, UNK


class Symbols(Protocol):
    """A vocabulary, with the conversions between text and ids."""

    size: int

    def encode(self, text: str) -> np.ndarray: ...

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text before the first end symbol."""

    def pieces(self, text: str) -> list[str]:
        """Splits a text into its symbols, as labels to display."""

    def to_json(self) -> Any: ...


class Symbolizer(NamedTuple):
    """Builds `Symbols` from training texts, or restores them from the result of `to_json`."""

    from_texts: Callable[[Sequence[str]], Symbols]
    from_json: Callable[[Any], Symbols]


class Separated:
    """Symbols between separators, or single characters if the separator is empty."""

    def __init__(self, vocabulary: data.SymbolVocabulary, separator: str) -> None:
        self.vocabulary, self.separator = vocabulary, separator
        self.size = vocabulary.size

    def encode(self, text: str) -> np.ndarray:
        return self.vocabulary.encode(self.pieces(text), allow_unknown=True)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self.separator.join(self.vocabulary.decode(ids))

    def pieces(self, text: str) -> list[str]:
        return text.split(self.separator) if self.separator else list(text)

    def to_json(self) -> list[str]:
        return self.vocabulary.to_list()


class Subwords:
    """Subwords of a sentencepiece model; characters outside its vocabulary fall back to bytes."""

    def __init__(self, model: bytes) -> None:
        import sentencepiece

        self.model = model
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.size = self.processor.vocab_size()

    def encode(self, text: str) -> np.ndarray:
        return np.array(self.processor.encode(text), np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        ids = np.asarray(ids).tolist()
        return self.processor.decode(ids[: ids.index(EOS)] if EOS in ids else ids)

    def pieces(self, text: str) -> list[str]:
        return [piece.replace("\u2581", "\u00b7") for piece in self.processor.encode(text, out_type=str)]  # a space

    def to_json(self) -> str:
        return base64.b64encode(self.model).decode()


def separated(separator: str) -> Symbolizer:
    """Returns the symbolizer of symbols between separators, or of characters if the separator is empty."""

    def from_texts(texts: Iterable[str]) -> Separated:
        split = (text.split(separator) if separator else text for text in texts)
        return Separated(data.SymbolVocabulary.from_sequences(split), separator)

    return Symbolizer(from_texts, lambda names: Separated(data.SymbolVocabulary.from_list(names), separator))


def subwords(size: int) -> Symbolizer:
    """Returns the symbolizer of a byte-pair encoding of at most `size` symbols, with all 256 bytes as the fallback."""

    def from_texts(texts: Sequence[str]) -> Subwords:
        import sentencepiece

        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,  # small corpora yield fewer symbols
            byte_fallback=True,
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            minloglevel=2,
        )
        return Subwords(model.getvalue())

    return Symbolizer(from_texts, lambda model: Subwords(base64.b64decode(model)))
