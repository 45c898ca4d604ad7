"""Data: vocabularies, batches of streams and of length-bucketed pairs, drawings, readers for files and TFDS data."""

from seqjax.data.buckets import (
    Bucket,
    PairBatch,
    evaluation_pair_batches,
    make_buckets,
    pair_batch,
    pair_batches_per_epoch,
)
from seqjax.data.labelled import LabelledSplits, read_labelled_dataset, read_labelled_folder, split_labelled
from seqjax.data.pairs import PairSplits, read_pair_dataset
from seqjax.data.series import Series, SeriesTable, read_series, read_series_dataset
from seqjax.data.spellings import Lexicon, WordBatch, make_lexicon, spell
from seqjax.data.streams import StreamBatch, batches_per_epoch, evaluation_batches, stream_batch
from seqjax.data.stroke_batches import (
    StrokeBatch,
    StrokeFrame,
    Strokes,
    dequantize,
    evaluation_stroke_batches,
    fit_stroke_frame,
    gather_strokes,
    stroke_batch,
)
from seqjax.data.strokes import Drawing, DrawingSplits, read_drawing_dataset, read_ndjson, to_movements, to_points
from seqjax.data.tags import TaggedSentence, TagSplits, read_tag_dataset
from seqjax.data.text import TextSplits, read_text_dataset, read_text_file, split_text
from seqjax.data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, UNKNOWN, CharVocabulary, SymbolVocabulary

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "SPECIALS",
    "UNK",
    "UNKNOWN",
    "Bucket",
    "CharVocabulary",
    "Drawing",
    "DrawingSplits",
    "LabelledSplits",
    "Lexicon",
    "PairBatch",
    "PairSplits",
    "Series",
    "SeriesTable",
    "StreamBatch",
    "StrokeBatch",
    "StrokeFrame",
    "Strokes",
    "SymbolVocabulary",
    "TagSplits",
    "TaggedSentence",
    "TextSplits",
    "WordBatch",
    "batches_per_epoch",
    "dequantize",
    "evaluation_batches",
    "evaluation_pair_batches",
    "evaluation_stroke_batches",
    "fit_stroke_frame",
    "gather_strokes",
    "make_buckets",
    "make_lexicon",
    "pair_batch",
    "pair_batches_per_epoch",
    "read_drawing_dataset",
    "read_labelled_dataset",
    "read_labelled_folder",
    "read_ndjson",
    "read_pair_dataset",
    "read_series",
    "read_series_dataset",
    "read_tag_dataset",
    "read_text_dataset",
    "read_text_file",
    "spell",
    "split_labelled",
    "split_text",
    "stream_batch",
    "stroke_batch",
    "to_movements",
    "to_points",
]
