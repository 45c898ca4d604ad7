"""The recurrent layers of a script, and how every model here is trained.

AdamW with linear warm-up, cosine decay and gradient clipping by norm.

The optimizer is that of Loshchilov and Hutter (2019), and the clipping that of Pascanu, Mikolov and Bengio (2013). Each
script declares its own defaults.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import optax

import seqjax
from experiments.harness.errors import UsageError
from experiments.harness.settings import setting
from seqjax.cells.catalogue import CELLS
from seqjax.cells.contract import Cell
from seqjax.layers.linen import Recurrent


@dataclass(frozen=True)
class Layers:
    """Recurrent layers."""

    cell: str = setting("lstm", "Recurrent cell.", choices=sorted(CELLS))
    hidden_size: int = setting(256, "Size of the hidden state.", at_least=1)
    layers: int = setting(1, "Number of recurrent layers.", at_least=1)


@dataclass(frozen=True)
class Regularization:
    """Regularization."""

    weight_drop: float = setting(0.0, "Fraction of recurrent weights dropped at each step.", at_least=0, below=1)
    dropout: float = setting(0.1, "Fraction of features dropped between and after the layers.", at_least=0, below=1)


@dataclass(frozen=True)
class Optimization:
    """Optimization."""

    batch_size: int = setting(32, "Sequences in a batch.", at_least=1)
    epochs: float = setting(8.0, "Passes over the training set.", above=0)
    learning_rate: float = setting(1e-3, "Peak, after linear warm-up; then cosine decay to 1% of it.", at_least=0)
    warmup_steps: int = setting(100, "Steps of warm-up.", at_least=0)
    weight_decay: float = setting(0.01, "Weight decay of AdamW.", at_least=0)
    max_grad_norm: float = setting(1.0, "Norm at which the gradient is clipped; inf disables it.", above=0, below=None)


def make_recurrent(settings: Any, cell: Cell | None = None) -> Recurrent:
    """Makes the layers that settings with `Layers` and `Regularization` describe.

    Args:
      settings: the settings.
      cell: the cell of each layer; the one that the settings name by default.
    """
    return Recurrent(
        CELLS[settings.cell](settings.hidden_size) if cell is None else cell,
        layers=settings.layers,
        dropout_rate=settings.dropout,
        regularize=partial(seqjax.weight_drop, rate=settings.weight_drop),
    )


def make_optimizer(settings: Optimization, steps: int) -> optax.GradientTransformation:
    """Makes the optimizer of a run of `steps` steps.

    Raises:
      UsageError: if `steps` is below 1.
    """
    if steps < 1:
        raise UsageError(f"--epochs={settings.epochs}: expected enough for at least one batch")
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, min(settings.warmup_steps, steps // 2), steps, settings.learning_rate / 100
    )
    return optax.adamw(schedule, b2=0.99, weight_decay=settings.weight_decay)
