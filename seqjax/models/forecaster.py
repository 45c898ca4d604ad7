"""One stream of numbers: a model of the next value given all previous values."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Integer

from seqjax.arguments import clip_lengths, within
from seqjax.cells.contract import State
from seqjax.cells.regularization import variational_dropout
from seqjax.layers.linen import Recurrent


class ForecasterCarry(NamedTuple):
    """What a forecaster carries from step to step, `W` being the largest lag."""

    states: tuple[State, ...]  # of the recurrent layers
    recent: Float[Array, "*B W"]  # the last values, oldest first, NaN where missing


class Forecaster(nn.Module):
    """Computes the features that determine the distribution of each value of a series from the previous values.

    DeepAR of Salinas et al. (2020), with the output distribution left to the caller. At step t the recurrent layers
    read the values at some lags, which of them are missing, and the covariates of step t. A value x of a series with
    scale s is read as x / s (section 3.3), and the features are meant for `seqjax.distributions.parameters_of` with
    this scale.
    The output layer reads the lagged values too, so a linear autoregression is a special case (Lai et al. 2018).

    Attributes:
      num_features: number of features of a step, `F`.
      recurrent: the recurrent layers.
      lags: how many steps back the values are that a step reads, each at least 1.
      dropout_rate: rate of `seqjax.variational_dropout` on the inputs and outputs of the recurrent layers.

    >>> import seqjax
    >>> model = Forecaster(2, Recurrent(seqjax.gru(hidden_size=8)), lags=(1, 2))
    >>> series = jnp.array([[5.0, jnp.nan, 7.0]]), jnp.zeros((1, 3, 0)), jnp.array([6.0])  # values, covariates, scale
    >>> variables = model.init(jax.random.key(0), *series)
    >>> model.apply(variables, *series).shape
    (1, 3, 2)
    """

    num_features: int
    recurrent: Recurrent
    lags: tuple[int, ...] = (1,)
    dropout_rate: float = 0.0

    def setup(self) -> None:
        """Builds the output layer."""
        if not self.lags or min(self.lags) < 1:
            raise ValueError(f"lags: expected at least one, each at least 1, got {self.lags}")
        self.output = nn.Dense(self.num_features, kernel_init=nn.initializers.normal(0.01))

    def __call__(
        self,
        values: Float[Array, "B T"],
        covariates: Float[Array, "B T C"],
        scale: Float[Array, " B"],
        lengths: Integer[Array, " B"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B T F"]:
        """Returns the features of each step, which depend on the values before it only.

        Args:
          values: values of `B` series over `T` steps, NaN where missing.
          covariates: what is known about each step in advance.
          scale: a typical size of the values of each series.
          lengths: number of steps of each series, all by default; features beyond it mean nothing.
          deterministic: whether to disable all random operations, which draw from the collection "dropout".
        """
        return self._run(values, covariates, scale, lengths, deterministic)[1]

    def read(
        self,
        values: Float[Array, "B T"],
        covariates: Float[Array, "B T C"],
        scale: Float[Array, " B"],
        lengths: Integer[Array, " B"] | None = None,
    ) -> tuple[ForecasterCarry, Float[Array, " B"]]:
        """Reads the history of each series; returns the carry and the value with which `step` continues."""
        states, _ = self._run(values, covariates, scale, lengths, deterministic=True)
        steps, width = values.shape[1], max(self.lags)
        ends = jnp.full(len(values), steps) if lengths is None else clip_lengths(lengths, steps)
        padded = jnp.pad(values, ((0, 0), (width + 1, 0)), constant_values=jnp.nan)
        last = jax.vmap(lambda row, end: jax.lax.dynamic_slice(row, (end,), (width + 1,)))(padded, ends)
        return ForecasterCarry(states, last[:, :-1]), last[:, -1]

    def step(
        self, carry: ForecasterCarry, value: Float[Array, ""], covariates: Float[Array, " C"], scale: Float[Array, ""]
    ) -> tuple[ForecasterCarry, Float[Array, " F"]]:
        """Takes one step of one series.

        Args:
          carry: the carry before the step.
          value: the value before this step, NaN if missing.
          covariates: covariates of this step.
          scale: scale of the series.

        Returns:
          The new carry, and the features of the value at this step.
        """
        recent = jnp.concatenate([carry.recent[1:], value[None]])
        lagged = jnp.stack([recent[-lag] for lag in self.lags])
        inputs, known = _inputs(lagged / scale, covariates)
        states, y = self.recurrent.step(carry.states, inputs)
        return ForecasterCarry(states, recent), self.output(jnp.concatenate([y, known]))

    def _run(
        self, values: Array, covariates: Array, scale: Array, lengths: Array | None, deterministic: bool
    ) -> tuple[tuple[State, ...], Array]:
        steps, width = values.shape[1], max(self.lags)
        if lengths is not None:
            values = jnp.where(within(lengths, steps), values, jnp.nan)  # also infinity in the padding
        padded = jnp.pad(values, ((0, 0), (width, 0)), constant_values=jnp.nan)
        lagged = jnp.stack([padded[:, width - lag : width - lag + steps] for lag in self.lags], axis=-1)
        inputs, known = _inputs(lagged / scale[:, None, None], covariates)
        if not deterministic:
            inputs = variational_dropout(self.make_rng("dropout"), inputs, self.dropout_rate, time_axis=-2)
        states, ys = self.recurrent(inputs, lengths=lengths, deterministic=deterministic)
        if not deterministic:
            ys = variational_dropout(self.make_rng("dropout"), ys, self.dropout_rate, time_axis=-2)
        return states, self.output(jnp.concatenate([ys, known], axis=-1))


def _inputs(lagged: Float[Array, "*B N"], covariates: Float[Array, "*B C"]) -> tuple[Array, Float[Array, "*B N"]]:
    """Returns what the recurrent layers read, and the lagged values, 0 where they are missing."""
    missing = jnp.isnan(lagged)
    known = jnp.where(missing, 0, lagged)
    return jnp.concatenate([known, missing.astype(known.dtype), covariates], axis=-1), known
