"""Recurrent cells, one per file. A cell computes one time step with pure functions (`seqjax.cells.contract`).

In the equations, `x` is the input of a step, `h` the hidden state before it, `h'` the hidden state after it, `*` the
element-wise product and `sigma` the logistic function. `I` is the input size and `H` the hidden size.
"""

from seqjax.cells.contract import Cell
from seqjax.cells.gru import GRUParams, gru
from seqjax.cells.initializers import chrono, forget_bias, identity, zeros_bias
from seqjax.cells.irnn import irnn
from seqjax.cells.jordan import JordanRNNParams, jordan_rnn
from seqjax.cells.learned_state import LearnedStateParams, learned_initial_state
from seqjax.cells.lstm import LSTMParams, LSTMState, lstm
from seqjax.cells.regularization import (
    LayerNormParams,
    ZoneoutState,
    layer_norm,
    recurrent_dropout,
    variational_dropout,
    weight_drop,
    zoneout,
)
from seqjax.cells.sequence import sequence_of
from seqjax.cells.simple_rnn import SimpleRNNParams, simple_rnn
from seqjax.cells.stack import stack

__all__ = [
    "Cell",
    "GRUParams",
    "JordanRNNParams",
    "LSTMParams",
    "LSTMState",
    "LayerNormParams",
    "LearnedStateParams",
    "SimpleRNNParams",
    "ZoneoutState",
    "chrono",
    "forget_bias",
    "gru",
    "identity",
    "irnn",
    "jordan_rnn",
    "layer_norm",
    "learned_initial_state",
    "lstm",
    "recurrent_dropout",
    "sequence_of",
    "simple_rnn",
    "stack",
    "variational_dropout",
    "weight_drop",
    "zeros_bias",
    "zoneout",
]
