"""How a text becomes the symbols that a model reads, and symbols a text again.

Characters, what stands between spaces, or subwords (Sennrich, Haddow and Birch 2016). All number their special symbols
as `seqjax.data.SPECIALS` does.
"""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from seqjax import data
from seqjax.data import BOS, EOS, PAD, UNK


class Symbols(Protocol):
    """The symbols that a model knows."""

    size: int

    def encode(self, text: str) -> np.ndarray: ...

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Gives the text up to the end."""

    def pieces(self, text: str) -> list[str]:
        """Gives a label to each symbol of a text."""

    def to_json(self) -> Any: ...


class Symbolizer(NamedTuple):
    """How symbols are chosen by the training texts, and read from what `to_json` gave."""

    from_texts: Callable[[Sequence[str]], Symbols]
    from_json: Callable[[Any], Symbols]


class Separated:
    """Symbols between separators; without a separator, characters."""

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
    """Pieces of words, as a sentencepiece model has them; what it cannot spell is read byte by byte."""

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
    """Symbols between separators, those of the training texts; characters where the separator is empty."""

    def from_texts(texts: Iterable[str]) -> Separated:
        split = (text.split(separator) if separator else text for text in texts)
        return Separated(data.SymbolVocabulary.from_sequences(split), separator)

    return Symbolizer(from_texts, lambda names: Separated(data.SymbolVocabulary.from_list(names), separator))


def subwords(size: int) -> Symbolizer:
    """At most so many pairs of symbols that often stand together, joined again and again, and all 256 bytes."""

    def from_texts(texts: Sequence[str]) -> Subwords:
        import sentencepiece

        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,  # few texts have fewer
            byte_fallback=True,
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            minloglevel=2,
        )
        return Subwords(model.getvalue())

    return Symbolizer(from_texts, lambda model: Subwords(base64.b64decode(model)))
