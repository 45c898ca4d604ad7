"""Data: character vocabularies, contiguous-stream batches, and the text of files and TFDS data sets."""

from seqjax.data.streams import StreamBatch, batches_per_epoch, evaluation_batches, stream_batch
from seqjax.data.text import TextSplits, read_text_dataset, read_text_file, split_text
from seqjax.data.vocabulary import UNKNOWN, CharVocabulary

__all__ = [
    "UNKNOWN",
    "CharVocabulary",
    "StreamBatch",
    "TextSplits",
    "batches_per_epoch",
    "evaluation_batches",
    "read_text_dataset",
    "read_text_file",
    "split_text",
    "stream_batch",
]
