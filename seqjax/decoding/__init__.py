"""Searches for the most probable sequences of a model given as a step function; see `seqjax.decoding.contract`.

`rollout` samples sequences of numbers.
"""

from seqjax.decoding.beam import beam_search
from seqjax.decoding.constraints import (
    ban,
    finite_state,
    force,
    keypad,
    min_length,
    no_repeat_ngram,
    repetition_penalty,
    trie,
)
from seqjax.decoding.contract import Decoded, History
from seqjax.decoding.ctc import CTCLoss, LanguageModel, ctc_beam_search, ctc_greedy_search, ctc_loss
from seqjax.decoding.diverse import diverse_beam_search
from seqjax.decoding.ensemble import ensemble
from seqjax.decoding.exhaustive import exhaustive_search
from seqjax.decoding.penalties import gnmt_coverage, gnmt_length, mean_log_prob, no_penalty
from seqjax.decoding.processors import (
    epsilon_cutoff,
    eta_cutoff,
    min_p,
    temperature,
    top_k,
    top_p,
    typical,
)
from seqjax.decoding.rollout import Rollout, rollout
from seqjax.decoding.sampling import greedy_search, sample
from seqjax.decoding.stochastic import stochastic_beam_search

__all__ = [
    "CTCLoss",
    "Decoded",
    "History",
    "LanguageModel",
    "Rollout",
    "ban",
    "beam_search",
    "ctc_beam_search",
    "ctc_greedy_search",
    "ctc_loss",
    "diverse_beam_search",
    "ensemble",
    "epsilon_cutoff",
    "eta_cutoff",
    "exhaustive_search",
    "finite_state",
    "force",
    "gnmt_coverage",
    "gnmt_length",
    "greedy_search",
    "keypad",
    "mean_log_prob",
    "min_length",
    "min_p",
    "no_penalty",
    "no_repeat_ngram",
    "repetition_penalty",
    "rollout",
    "sample",
    "stochastic_beam_search",
    "temperature",
    "top_k",
    "top_p",
    "trie",
    "typical",
]
