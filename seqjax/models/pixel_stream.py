"""One stream of pixels: a model of the next pixel of an image, given all pixels above it and to its left."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, Int32, Num

from seqjax.arguments import as_count, where_defined
from seqjax.cells.contract import State
from seqjax.cells.regularization import variational_dropout
from seqjax.layers.linen import Recurrent


class PixelState(NamedTuple):
    """What a `PixelStream` remembers of an image that is being drawn, with `T = height * width`."""

    recurrent: tuple[State, ...]
    canvas: Float[Array, "*B T"]  # the pixels drawn so far; 0 where nothing is drawn yet
    place: Int32[Array, "*B"]  # the pixel to predict next, counted row by row


class PixelStream(nn.Module):
    """Predicts each pixel of an image from those before it, row by row from the top and from left to right.

    The order is that of van den Oord, Kalchbrenner and Kavukcuoglu (2016); as in Theis and Bethge (2015), the recurrent
    layers also read the neighbours of the pixel that are already drawn. At pixel `t` in row `r` and column `c`,

        e_t = relu(W n_t + a_r + b_c)         n_t: the drawn neighbours
        h_t = recurrent(h_{t-1}, e_t)
        features_t = V relu(U [h_t, e_t])

    Each layer has a bias. The neighbours are at most `reach` rows above the pixel and `reach` columns to either side;
    outside the image, they are 0. Everything further away reaches the prediction through the recurrent layers.

    Attributes:
      height: number of rows.
      width: number of columns.
      recurrent: the recurrent layers.
      reach: how far away a neighbour can be.
      embedding_size: size of `e_t` and of the last hidden layer.
      num_features: number of features, `F`, of the output distribution of a pixel; see `seqjax.distributions`.
      dropout_rate: rate of `seqjax.variational_dropout` on the outputs of `recurrent`.

    >>> import seqjax
    >>> model = PixelStream(2, 3, Recurrent(seqjax.gru(hidden_size=8)))
    >>> pixels = jnp.array([[0, 1, 1, 0, 0, 1]])
    >>> features, variables = model.init_with_output(jax.random.key(0), pixels)
    >>> state = model.apply(variables, (1,), method="start")
    >>> state, first = model.apply(variables, state, jnp.array([-1]), method="step")  # -1: anything, nothing is drawn
    >>> state, second = model.apply(variables, state, pixels[:, 0], method="step")
    >>> features.shape, bool(jnp.allclose(features[:, 1], second))
    ((1, 6, 1), True)
    """

    height: int
    width: int
    recurrent: Recurrent
    reach: int = 4
    embedding_size: int = 64
    num_features: int = 1
    dropout_rate: float = 0.0

    def setup(self) -> None:
        """Builds the layers around the recurrent ones."""
        for name in ("height", "width", "reach", "embedding_size", "num_features"):
            as_count(name, getattr(self, name))
        init = nn.initializers.normal(0.1)
        self.rows = self.param("rows", init, (self.height, self.embedding_size), jnp.float32)
        self.columns = self.param("columns", init, (self.width, self.embedding_size), jnp.float32)
        self.embed = nn.Dense(self.embedding_size)
        self.combine = nn.Dense(self.embedding_size)
        self.output = nn.Dense(self.num_features)

    def __call__(self, pixels: Num[Array, "*B T"], deterministic: bool = True) -> Float[Array, "*B T F"]:
        """Returns the features of the distribution of each pixel.

        Args:
          pixels: the `T = height * width` pixels of each image, row by row.
          deterministic: whether to disable all random operations, which draw from the collection "dropout".

        Raises:
          ValueError: if a size is below 1, or the images do not have `T` pixels.
        """
        if pixels.shape[-1] != self.height * self.width:
            expected = f"{self.height} * {self.width}"
            raise ValueError(f"pixels: expected {expected} for each image, got {pixels.shape[-1]}")
        known = _framed(pixels.astype(self.rows.dtype))[..., neighbours(self.height, self.width, self.reach)]
        xs = self._embed(known, self._positions())
        _, ys = self.recurrent(xs, deterministic=deterministic)
        if not deterministic:
            ys = variational_dropout(self.make_rng("dropout"), ys, self.dropout_rate, time_axis=-2)
        return self._features(ys, xs)

    def start(self, batch_shape: tuple[int, ...]) -> PixelState:
        """Returns the state before the first pixel of each image."""
        recurrent, _ = self.recurrent(jnp.zeros((*batch_shape, 0, self.embedding_size), self.rows.dtype))
        canvas = jnp.zeros((*batch_shape, self.height * self.width), self.rows.dtype)
        return PixelState(recurrent, canvas, jnp.zeros(batch_shape, jnp.int32))

    def step(self, state: PixelState, pixel: Num[Array, "*B"]) -> tuple[PixelState, Float[Array, "*B F"]]:
        """Records the previous pixel and returns the new state and the features of the next one.

        Args:
          state: the state.
          pixel: the previous pixel; any number at the first step, where there is none.

        After the last pixel, the features are NaN.
        """
        canvas, place = state.canvas, state.place
        is_last = jax.nn.one_hot(place - 1, canvas.shape[-1], dtype=bool)  # false everywhere if there is none
        canvas = jnp.where(is_last, pixel[..., None].astype(canvas.dtype), canvas)
        around = jnp.asarray(neighbours(self.height, self.width, self.reach))[place]
        known = jnp.take_along_axis(_framed(canvas), around, axis=-1)
        x = self._embed(known, self._positions()[place])
        recurrent, y = self.recurrent.step(state.recurrent, x)
        features = where_defined((place < canvas.shape[-1])[..., None], self._features(y, x))
        return PixelState(recurrent, canvas, place + 1), features

    def _positions(self) -> Float[Array, "T E"]:
        """Returns the embedding of each position."""
        return (self.rows[:, None] + self.columns[None]).reshape(-1, self.embedding_size)

    def _embed(self, known: Float[Array, "... K"], positions: Float[Array, "... E"]) -> Float[Array, "... E"]:
        features = self.embed(known)
        return nn.relu(features + jnp.broadcast_to(positions, features.shape))

    def _features(self, ys: Float[Array, "... H"], xs: Float[Array, "... E"]) -> Float[Array, "... F"]:
        return self.output(nn.relu(self.combine(jnp.concatenate([ys, xs], axis=-1))))


def _framed(canvas: Float[Array, "*B T"]) -> Float[Array, "*B T+1"]:
    """Appends a pixel outside the image, which is 0."""
    return jnp.concatenate([canvas, jnp.zeros_like(canvas[..., :1])], axis=-1)


def neighbours(height: int, width: int, reach: int) -> Int[np.ndarray, "T K"]:
    """Lists the neighbours of each pixel that come before it, at most `reach` rows and columns away.

    Returns:
      The numbers of the `K = 2 reach (reach + 1)` neighbours of each of the `T = height * width` pixels, row by row;
      `T` for a neighbour outside the image.

    >>> neighbours(2, 2, 1)  # above left, above, above right, left
    array([[4, 4, 4, 4],
           [4, 4, 4, 0],
           [4, 0, 1, 4],
           [0, 1, 4, 2]])
    """
    down, right = np.divmod(np.arange(reach * (2 * reach + 1) + reach), 2 * reach + 1)
    rows = np.arange(height)[:, None, None] + down - reach
    columns = np.arange(width)[:, None] + right - reach
    inside = (rows >= 0) & (columns >= 0) & (columns < width)
    return np.where(inside, rows * width + columns, height * width).reshape(height * width, -1)
