"""Recurrent sequence models in JAX, as pure functions."""

from seqjax.cells import gru, lstm, simple_rnn
from seqjax.contract import Cell
from seqjax.decoding import beam_search, exhaustive_search, greedy_search, sample, temperature, top_k, top_p
from seqjax.initializers import chrono, forget_bias, zeros_bias
from seqjax.jordan import jordan_rnn
from seqjax.learned_state import learned_initial_state
from seqjax.recurrence import bidirectional, path_of, sequence_of, truncated_unroll, unroll
from seqjax.regularization import layer_norm, recurrent_dropout, variational_dropout, weight_drop, zoneout
from seqjax.stack import stack

__all__ = [
    "Cell",
    "beam_search",
    "bidirectional",
    "chrono",
    "exhaustive_search",
    "forget_bias",
    "greedy_search",
    "gru",
    "jordan_rnn",
    "layer_norm",
    "learned_initial_state",
    "lstm",
    "path_of",
    "recurrent_dropout",
    "sample",
    "sequence_of",
    "simple_rnn",
    "stack",
    "temperature",
    "top_k",
    "top_p",
    "truncated_unroll",
    "unroll",
    "variational_dropout",
    "weight_drop",
    "zeros_bias",
    "zoneout",
]
__version__ = "0.1.0"
