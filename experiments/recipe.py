"""How every model here is trained: AdamW, a linear warm-up and the decay of a cosine, gradients clipped by their norm.

Loshchilov and Hutter (2019) for the optimizer, Pascanu, Mikolov and Bengio (2013) for the clipping. Each experiment has
defaults of its own.
"""

from typing import Protocol

import optax
from absl import flags

from seqjax.cells.catalogue import CELLS


class Settings(Protocol):
    """What the schedule and the optimizer are made from: flags of these names."""

    learning_rate: float
    warmup_steps: int
    weight_decay: float


def define_flags(
    *,
    hidden_size: int,
    batch_size: int,
    epochs: float,
    learning_rate: float,
    warmup_steps: int = 100,
    weight_decay: float = 0.01,
    weight_drop: float | None = 0.0,
    dropout: float | None = 0.1,
) -> None:
    """Defines the flags of the recurrent layers and of their training, with the defaults of an experiment.

    None leaves out the flag of what the experiment does not have.
    """
    flags.DEFINE_enum("cell", "lstm", sorted(CELLS), "The recurrent cell.")
    flags.DEFINE_integer("hidden_size", hidden_size, "Size of the hidden state.")
    flags.DEFINE_integer("layers", 1, "Recurrent layers.")
    flags.DEFINE_integer("batch_size", batch_size, "Sequences of an update.")
    flags.DEFINE_float("epochs", epochs, "Passes over the training part.")
    flags.DEFINE_float("learning_rate", learning_rate, "Its peak: warm-up is linear, decay a cosine to 1%.")
    flags.DEFINE_integer("warmup_steps", warmup_steps, "Steps of warm-up.")
    flags.DEFINE_float("weight_decay", weight_decay, "Of AdamW.")
    if weight_drop is not None:
        flags.DEFINE_float("weight_drop", weight_drop, "Share of recurrent weights dropped in an update.")
    if dropout is not None:
        flags.DEFINE_float("dropout", dropout, "Share of features dropped between and after the recurrent layers.")
    flags.DEFINE_float("max_grad_norm", 1.0, "Where the norm of the gradient is clipped.")


def make_optimizer(settings: Settings, steps: int) -> optax.GradientTransformation:
    """Makes the optimizer of a run of so many steps.

    Raises:
      ValueError: if there are none.
    """
    if steps < 1:
        raise ValueError("--epochs: expected enough for one batch, got fewer: there would be no step")
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, min(settings.warmup_steps, steps // 2), steps, settings.learning_rate / 100
    )
    return optax.adamw(schedule, b2=0.99, weight_decay=settings.weight_decay)
