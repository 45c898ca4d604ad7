"""Output distributions: parameters from features, log-density, a draw, mean and quantiles, as pure functions."""

from seqjax.distributions.bernoulli import bernoulli
from seqjax.distributions.categorical import categorical
from seqjax.distributions.contract import Distribution, mean_log_likelihood, parameters_of
from seqjax.distributions.gaussian import gaussian
from seqjax.distributions.handwriting import handwriting
from seqjax.distributions.negative_binomial import negative_binomial
from seqjax.distributions.sketch import sketch
from seqjax.distributions.student_t import student_t

__all__ = [
    "Distribution",
    "bernoulli",
    "categorical",
    "gaussian",
    "handwriting",
    "mean_log_likelihood",
    "negative_binomial",
    "parameters_of",
    "sketch",
    "student_t",
]
