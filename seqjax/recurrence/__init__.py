"""Cells over time: unrolling, both directions, truncation, and diagnostics of the gradients through time."""

from seqjax.recurrence.bidirectional import bidirectional
from seqjax.recurrence.truncation import truncated_unroll
from seqjax.recurrence.unroll import Path, path_of, unroll

__all__ = ["Path", "bidirectional", "path_of", "truncated_unroll", "unroll"]
