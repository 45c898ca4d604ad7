"""Runs a sequence in chunks of a fixed number of steps, for rematerialisation and truncation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from seqjax.arguments import IntLike
from seqjax.cells.contract import Params, State
from seqjax.cells.sequence import Sequence


def as_steps(name: str, steps: IntLike) -> int:
    """Returns a number of steps as an int; raises ValueError unless it is a positive integer."""
    if not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"{name}: expected a number of steps, at least 1, got {steps!r}")
    return int(steps)


def chunked(
    run_chunk: Sequence, steps_per_chunk: int, pass_on: Callable[[State], State] = lambda state: state
) -> Sequence:
    """Builds a sequence function that runs `run_chunk` on chunks of `steps_per_chunk` steps; the last may be shorter.

    In the forward direction, each chunk passes `pass_on(final_state)` to the next chunk.
    """

    def sequence(
        params: Params,
        state: State,
        restart: State,
        xs: Array,
        valid: Array | None,
        resets: Array | None,
        *,
        reverse: bool,
    ) -> tuple[State, Array]:
        def run(state: State, inputs: tuple[Array, Array | None, Array | None]) -> tuple[State, Array]:
            return run_chunk(params, state, restart, *inputs, reverse=reverse)

        def run_and_pass_on(state: State, inputs: tuple[Array, Array | None, Array | None]) -> tuple[State, Array]:
            state, ys = run(state, inputs)
            return pass_on(state), ys

        rows, steps = xs.shape[:2]
        if not isinstance(steps, int):
            raise ValueError(f"xs: expected a fixed number of steps to cut into chunks, got {steps}")
        chunks = max(steps - 1, 0) // steps_per_chunk  # before the last one
        tail_start = chunks * steps_per_chunk

        def cut(leaf: Array) -> Array:
            leaf = leaf[:, :tail_start].reshape(rows, chunks, steps_per_chunk, *leaf.shape[2:])
            return jnp.moveaxis(leaf, 1, 0)

        inputs = (xs, valid, resets)
        if chunks == 0:
            return run(state, inputs)
        body = jax.tree.map(cut, inputs)
        tail = jax.tree.map(lambda leaf: leaf[:, tail_start:], inputs)
        if reverse:
            state, tail_ys = run(state, tail)
            state, body_ys = lax.scan(run, state, body, reverse=True)
        else:
            state, body_ys = lax.scan(run_and_pass_on, state, body)
            state, tail_ys = run(state, tail)
        body_ys = jnp.moveaxis(body_ys, 0, 1).reshape(rows, tail_start, *body_ys.shape[3:])
        return state, jnp.concatenate([body_ys, tail_ys], axis=1)

    return sequence
