"""Recurrent sequence models in JAX, as pure functions."""

from seqjax.cells import (
    Cell,
    chrono,
    forget_bias,
    gru,
    jordan_rnn,
    layer_norm,
    learned_initial_state,
    lstm,
    recurrent_dropout,
    sequence_of,
    simple_rnn,
    stack,
    variational_dropout,
    weight_drop,
    zeros_bias,
    zoneout,
)
from seqjax.decoding import beam_search, exhaustive_search, greedy_search, sample, temperature, top_k, top_p
from seqjax.recurrence import bidirectional, path_of, truncated_unroll, unroll

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
