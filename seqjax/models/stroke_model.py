"""Pen strokes: a model of the next pen movement given all previous movements."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Integer

from seqjax.arguments import check_symbols, within
from seqjax.cells.contract import State
from seqjax.cells.regularization import variational_dropout
from seqjax.layers.linen import Recurrent, one_hot

START = np.array([0.0, 0.0, 1.0, 1.0], np.float32)
"""What the model reads first: no movement, at the end of the previous drawing."""


class StrokeState(NamedTuple):
    """The state of a model between two movements."""

    layers: tuple[State, ...]  # of the recurrent layers
    position: Float[Array, "*B 2"]  # of the pen, relative to where it started


class StrokeModel(nn.Module):
    """Predicts each pen movement of a drawing from the previous ones.

    Graves (2013), section 4: recurrent layers read each movement (dx, dy, end, last), and a linear layer outputs the
    features of the distribution of the next one, such as `seqjax.distributions.sketch`. Besides the movement, the
    layers read the position of the pen, which is the sum of all movements, and, if there are classes, the class of
    the drawing as a one-hot vector. Values in the padding affect neither results nor gradients.

    Attributes:
      num_features: number of features of the distribution, `F`.
      recurrent: the recurrent layers.
      num_classes: number of classes of drawings; None if the model does not know the class.
      dropout_rate: rate of `seqjax.variational_dropout` on the outputs of `recurrent`.

    >>> import jax
    >>> import seqjax
    >>> from seqjax.distributions import sketch
    >>> model = StrokeModel(sketch(5).num_features, Recurrent(seqjax.lstm(hidden_size=8)))
    >>> movements, lengths = jnp.ones((2, 6, 4)), jnp.array([6, 4])
    >>> features, variables = model.init_with_output(jax.random.key(0), movements, lengths)
    >>> features.shape
    (2, 6, 32)
    """

    num_features: int
    recurrent: Recurrent
    num_classes: int | None = None
    dropout_rate: float = 0.0

    def setup(self) -> None:
        """Builds the output layer."""
        self.output = nn.Dense(self.num_features)

    def __call__(
        self,
        movements: Float[Array, "B T 4"],
        lengths: Integer[Array, " B"],
        classes: Integer[Array, " B"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B T {self.num_features}"]:
        """Returns the features of the distribution of each movement, given those before it.

        Args:
          movements: movements of `B` drawings, padded to `T` with any values.
          lengths: number of movements of each.
          classes: class of each drawing, if the model has classes.
          deterministic: whether to disable all random operations, which draw from the collection "dropout".

        Raises:
          ValueError: if there are classes but the model has none, or the reverse, or (outside `jit`) a class is out of
            range; under `jit`, the features of this drawing are NaN.
        """
        movements = jnp.where(within(lengths, movements.shape[1])[..., None], movements, 0)
        first = jnp.broadcast_to(jnp.asarray(START, movements.dtype), (len(movements), 1, 4))
        known = jnp.concatenate([first, movements], axis=1)[:, :-1]
        xs = self._inputs(known, jnp.cumsum(known[..., :2], axis=1), classes)
        _, ys = self.recurrent(xs, lengths=lengths, deterministic=deterministic)
        if not deterministic:
            ys = variational_dropout(self.make_rng("dropout"), ys, self.dropout_rate, time_axis=-2)
        return self.output(ys)

    def start(self, classes: Integer[Array, " B"] | None = None, *, batch_size: int = 1) -> StrokeState:
        """Returns the state before the first movement of `batch_size` drawings."""
        known, position = jnp.zeros((batch_size, 0, 4)), jnp.zeros((batch_size, 2))
        layers, _ = self.recurrent(self._inputs(known, position[:, None][:, :0], classes))
        return StrokeState(layers, position)

    def step(
        self, state: StrokeState, movement: Float[Array, "*B 4"], classes: Integer[Array, "*B"] | None = None
    ) -> tuple[StrokeState, Float[Array, "*B {self.num_features}"]]:
        """Takes one step: reads a movement, at first `START`, and returns the features of the next one."""
        position = state.position + movement[..., :2]
        layers, y = self.recurrent.step(
            state.layers, self._inputs(movement[..., None, :], position[..., None, :], classes)[..., 0, :]
        )
        return StrokeState(layers, position), self.output(y)

    def _inputs(
        self,
        movements: Float[Array, "*B T 4"],
        position: Float[Array, "*B T 2"],
        classes: Integer[Array, "*B"] | None,
    ) -> Float[Array, "*B T I"]:
        inputs = [movements, position]
        if classes is not None and self.num_classes is not None:
            check_symbols("classes", classes, self.num_classes)
            of_class = one_hot(classes, self.num_classes, movements.dtype)[..., None, :]
            inputs.append(jnp.broadcast_to(of_class, (*movements.shape[:-1], self.num_classes)))
        elif classes is not None or self.num_classes is not None:
            expected = "none" if self.num_classes is None else "one for each drawing"
            raise ValueError(f"classes: expected {expected}, as num_classes={self.num_classes}")
        return jnp.concatenate(inputs, axis=-1)
