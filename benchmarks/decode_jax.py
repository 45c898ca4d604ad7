"""The JAX side of `decode`: the searches of seqjax, their limit, and a hand-written beam search."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax import lax

import seqjax
from benchmarks import decode_model, peer
from benchmarks.decode_model import BOS, EOS, Context, Params, Sizes, State, over_batch, step


@partial(jax.jit, static_argnames="beam")
def limit(params: Params, context: Context, state: State, tokens: jax.Array, *, beam: int) -> tuple[State, jax.Array]:
    """Scans the step over given tokens [T, B, K] and keeps only the last logits: the work that no search can avoid."""

    def one_step(carry, token: jax.Array):
        return over_batch(params, context, carry[1], token), None

    state = jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], beam, axis=1), state)
    logits = jnp.zeros((*tokens.shape[1:], params.output.shape[1]))
    return lax.scan(one_step, (logits, state), tokens)[0]


predict = jax.jit(over_batch)


def python_loop(params: Params, context: Context, state: State, *, beam: int, length: int) -> np.ndarray:
    """Runs beam search as people write it by hand: a Python loop around a jitted step."""
    batch = len(context.keys)
    rows = jnp.arange(batch)[:, None]
    state = jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], beam, axis=1), state)
    token = jnp.full((batch, beam), BOS)
    scores = jnp.where(jnp.arange(beam) == 0, 0.0, -jnp.inf)[None]
    tokens = np.zeros((batch, beam, 0), np.int32)
    for _ in range(length):
        logits, state = predict(params, context, state, token)
        candidates = scores[..., None] + jax.nn.log_softmax(logits)
        scores, place = lax.top_k(candidates.reshape(batch, -1), beam)
        parent, token = place // logits.shape[-1], place % logits.shape[-1]
        state = jax.tree.map(lambda leaf, parent=parent: leaf[rows, parent], state)
        tokens = np.concatenate([np.take_along_axis(tokens, np.array(parent)[..., None], 1), token[..., None]], axis=2)
    return tokens[:, 0]


def ending_step(params: tuple[Params, jax.Array], context: Context, state: tuple[State, jax.Array], token: jax.Array):
    """Computes a step of the model, with an `eos` that is certain at one position and impossible elsewhere."""
    (params, end), (state, length) = params, state
    logits, state = step(params, context, state, token)
    return logits.at[EOS].set(jnp.where(length + 1 == end, 100.0, -jnp.inf)), (state, length + 1)


def prepare(
    *, what: str, sizes: dict[str, int], batch: int, beam: int, end: int | None = None
) -> Callable[[], list[list[int]]]:
    """Returns the function to time; `end` is the length at which all sequences of `ending_beam_search` end."""
    sizes = Sizes(**sizes)
    params, context, state = jax.device_put(
        (
            decode_model.make_params(sizes),
            decode_model.make_context(sizes, batch),
            decode_model.initial_state(sizes, batch),
        )
    )
    rows = sizes.target * batch * beam
    given = jnp.arange(rows, dtype=jnp.int32).reshape(sizes.target, batch, beam) % sizes.vocabulary
    settings = {"bos": BOS, "eos": None, "max_length": sizes.target}

    def run_limit() -> list:
        jax.block_until_ready(limit(params, context, state, given, beam=beam))
        return []

    def run_beam_search() -> list:
        return seqjax.beam_search(step, params, context, state, beam_size=beam, **settings).tokens[:, 0].tolist()

    def run_greedy_search() -> list:
        return seqjax.greedy_search(step, params, context, state, **settings).tokens[:, 0].tolist()

    def run_python_loop() -> list:
        return python_loop(params, context, state, beam=beam, length=sizes.target).tolist()

    start = (state, jnp.zeros(batch, jnp.int32))

    def run_ending_beam_search() -> list:
        model = ((params, jnp.int32(end)), context, start)
        ending = settings | {"eos": EOS}
        return seqjax.beam_search(ending_step, *model, beam_size=beam, **ending).tokens[:, 0].tolist()

    return {
        "limit": run_limit,
        "beam_search": run_beam_search,
        "greedy_search": run_greedy_search,
        "python_loop": run_python_loop,
        "ending_beam_search": run_ending_beam_search,
    }[what]


def memory(sizes: Sizes, batch: int, beam: int) -> int:
    """Returns the bytes that a compiled beam search needs beyond its arguments."""
    model = (decode_model.make_params(sizes), decode_model.make_context(sizes, batch))
    model = (*model, decode_model.initial_state(sizes, batch))
    search = partial(seqjax.beam_search, step, beam_size=beam, bos=BOS, eos=None, max_length=sizes.target)
    analysis = jax.jit(search).lower(*model).compile().memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


if __name__ == "__main__":
    peer.serve({"jax": jax.__version__, "jaxlib": jaxlib.__version__, "seqjax": seqjax.__version__}, prepare)
