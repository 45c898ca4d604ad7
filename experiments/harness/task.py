"""A task: the functions and numbers that the training loop needs from a script. They use no file, clock or flag."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import optax

from seqjax.training import LossFn

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Objective(NamedTuple):
    """What is optimized, and how."""

    init: Callable[[jax.Array], tuple[Any, Any]]  # key -> (params, carry)
    loss: LossFn
    optimizer: optax.GradientTransformation
    max_grad_norm: float


class Batches(NamedTuple):
    """The training data, as a function of the step alone."""

    batch: Callable[[int], Any]  # the batch of a training step, counted from 0, whatever ran before
    steps: int
    steps_per_epoch: int
    units_per_step: int  # counted by the progress bar
    unit: str  # what the progress bar calls a unit, in the singular


class Validation(NamedTuple):
    """What is computed on the validation set after each epoch."""

    metric: str  # drawn as the learning curve; both loss and evaluate return it
    evaluate: Callable[[Any], dict[str, float]]  # params -> scores
    sample: Callable[[Any, jax.Array], str]  # params, key -> text to look at
    figures: Callable[[Any], dict[str, "Figure"]] = lambda params: {}  # params -> figures by file name


class Test(NamedTuple):
    """What is computed on the test set after training; a score's name is 'measure' or 'measure, method'."""

    scores: Callable[[Any], dict[str, float]]  # params -> scores
    baselines: Callable[[], dict[str, float]]  # the same measures for other models
    higher_is_better: tuple[str, ...] = ()  # the measures for which higher is better
    ideal: Mapping[str, float] = MappingProxyType({})  # the best value of a measure that can be too low or too high


class Task(NamedTuple):
    """A task that `train` can run."""

    title: str  # in the table of results
    objective: Objective
    batches: Batches
    validation: Validation
    test: Test
    symbols: dict[str, Any]  # JSON: vocabularies and sizes, which a checkpoint needs besides the settings
