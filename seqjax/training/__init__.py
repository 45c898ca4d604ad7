"""Training: clipped and guarded steps, losses, teacher forcing, checkpoints."""

from seqjax.training.dynamic_evaluation import DynamicEvalState, gradient_rms, make_dynamic_eval_step
from seqjax.training.expected_risk import edit_distance, expected_risk, first_of_equal
from seqjax.training.losses import bits_per_character, mean_nll, nll_sum_and_count, perplexity, token_nll
from seqjax.training.step import LossFn, TrainState, init_train_state, make_eval_step, make_train_step
from seqjax.training.teacher_forcing import Forced, inverse_sigmoid_decay, teacher_forcing

__all__ = [
    "DynamicEvalState",
    "Forced",
    "LossFn",
    "TrainState",
    "bits_per_character",
    "edit_distance",
    "expected_risk",
    "first_of_equal",
    "gradient_rms",
    "init_train_state",
    "inverse_sigmoid_decay",
    "make_dynamic_eval_step",
    "make_eval_step",
    "make_train_step",
    "mean_nll",
    "nll_sum_and_count",
    "perplexity",
    "teacher_forcing",
    "token_nll",
]
