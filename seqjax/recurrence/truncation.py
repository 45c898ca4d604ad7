"""Truncated back-propagation through time."""

from jax import lax
from jaxtyping import Array, Bool, Float, Integer

from seqjax.arguments import IntLike
from seqjax.cells.contract import Cell, Params, State
from seqjax.cells.sequence import sequence_of
from seqjax.recurrence.chunks import as_steps, chunked
from seqjax.recurrence.unroll import run


def truncated_unroll(
    cell: Cell,
    params: Params,
    xs: Float[Array, "... I"],
    *,
    truncate_every: IntLike,
    lengths: Integer[Array, "*B"] | IntLike | None = None,
    resets: Bool[Array, "..."] | None = None,
    initial_state: State | None = None,
    time_major: bool = False,
) -> tuple[State, Float[Array, "... H"]]:
    """Runs a cell like `unroll`, but stops gradients between chunks of `truncate_every` steps.

    Truncated back-propagation through time (Williams and Peng 1990): the values are those of `unroll`, but gradients
    treat the state passed from one chunk to the next as a constant. To train on a stream too long for one array, do the
    same between batches: pass the final state of one batch as the `initial_state` of the next.

    Args:
      cell, params, xs, lengths, resets, initial_state, time_major: as in `unroll`.
      truncate_every: number of steps in a chunk.

    Returns:
      The final state and the outputs, as in `unroll`.

    Raises:
      ValueError, TypeError: as in `unroll`, or if `truncate_every` is below 1.

    >>> import jax, jax.numpy as jnp
    >>> from seqjax.cells import SimpleRNNParams, simple_rnn
    >>> cell = simple_rnn(hidden_size=1, activation="relu")
    >>> params = SimpleRNNParams(jnp.array([[1.0]]), jnp.array([[1.0]]), jnp.array([0.0]))
    >>> last_output = lambda xs: truncated_unroll(cell, params, xs, truncate_every=2)[1][-1, 0]
    >>> jax.grad(last_output)(jnp.ones((5, 1)))[:, 0]
    Array([0., 0., 0., 0., 1.], dtype=float32)
    """
    steps = as_steps("truncate_every", truncate_every)
    sequence = chunked(sequence_of(cell), steps, pass_on=lax.stop_gradient)
    return run(sequence, cell, params, xs, lengths, resets, initial_state, False, time_major)
