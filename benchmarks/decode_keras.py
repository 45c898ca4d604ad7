"""The beam sampler of keras_hub on JAX around the step of `decode`; runs in an environment that has keras_hub."""

import importlib.metadata
import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
from keras_hub.samplers import BeamSampler

from benchmarks import decode_model, peer
from benchmarks.decode_model import BOS, Context, Params, Sizes


def prepare(*, sizes: dict[str, int], batch: int, beam: int):
    sizes = Sizes(**sizes)
    params = jax.device_put(decode_model.make_params(sizes))
    context = jax.device_put(decode_model.make_context(sizes, batch))
    sampler = BeamSampler(num_beams=beam)

    @jax.jit
    def search(params: Params, context: Context, state: decode_model.State) -> jax.Array:
        def following(prompt: jax.Array, cache: decode_model.State, index: jax.Array):
            def unflat(leaf: jax.Array) -> jax.Array:  # the sampler keeps the hypotheses as B K rows
                return leaf.reshape(batch, beam, *leaf.shape[1:])

            token = jax.lax.dynamic_index_in_dim(prompt, index - 1, axis=1, keepdims=False)
            logits, cache = decode_model.over_batch(params, context, jax.tree.map(unflat, cache), unflat(token))
            logits, cache = jax.tree.map(lambda leaf: leaf.reshape(batch * beam, *leaf.shape[2:]), (logits, cache))
            return logits, None, cache

        prompt = jnp.full((batch, 1 + sizes.target), BOS)
        return sampler(following, prompt, cache=state, index=1)[:, 1:]

    state = jax.device_put(decode_model.initial_state(sizes, batch))
    return lambda: search(params, context, state).tolist()


if __name__ == "__main__":
    peer.serve({name: importlib.metadata.version(name) for name in ("keras-hub", "keras", "jax")}, prepare)
