"""A character language model, from a text file to a sample, in plain JAX and optax.

    python examples/char_rnn.py FILE

An LSTM reads `BATCH` pieces of the text side by side, `LENGTH` characters at a time, and learns to predict the next
character. The state is carried from one batch to the next, and the gradient stops between them (truncated
back-propagation through time, Williams and Peng 1990). Then the model writes 300 characters.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import seqjax

HIDDEN, BATCH, LENGTH, EPOCHS, TEMPERATURE = 256, 32, 64, 5, 0.7


def read_text(path):
    """Returns the ids [N] of a text's characters, and the sorted characters."""
    text = Path(path).read_text(encoding="utf-8")
    characters = sorted(set(text))
    ids = {character: i for i, character in enumerate(characters)}
    return np.array([ids[character] for character in text]), characters


def init(cell, key, size):
    """Draws the parameters: those of the cell, and the output layer (kernel [HIDDEN, size], bias [size])."""
    cell_key, output_key = jax.random.split(key)
    kernel = jax.nn.initializers.glorot_uniform()(output_key, (HIDDEN, size))
    return cell.init(cell_key, input_size=size), (kernel, jnp.zeros(size))


def make_train_step(cell, optimizer, size):
    """Makes the step `(params, opt_state, carry, ids [BATCH, LENGTH + 1]) -> (params, opt_state, carry, loss)`."""

    def loss_fn(params, carry, ids):
        cell_params, (kernel, bias) = params
        carry, hidden = seqjax.unroll(cell, cell_params, jax.nn.one_hot(ids[:, :-1], size), initial_state=carry)
        logits = hidden @ kernel + bias
        return optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 1:]).mean(), carry

    @jax.jit
    def train_step(params, opt_state, carry, ids):
        (loss, carry), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, carry, ids)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, carry, loss

    return train_step


def make_writer(cell, characters):
    """Makes the function `(params, key, count) -> text` that samples characters one after another."""
    size = len(characters)

    def step(params, context, carry, token):
        cell_params, (kernel, bias) = params
        carry, hidden = cell.step(cell_params, carry, jax.nn.one_hot(token, size))
        return hidden @ kernel + bias, carry

    def write(params, key, count):
        start = cell.initial_state(params[0], (1,))
        options = {"bos": 0, "eos": None, "max_length": count, "processors": (seqjax.temperature(TEMPERATURE),)}
        drawn = seqjax.sample(key, step, params, None, start, **options)
        return "".join(characters[i] for i in np.asarray(drawn.tokens[0, 0]))

    return write


def main(path):
    """Trains on a file, prints the loss of each epoch and a sample."""
    ids, characters = read_text(path)
    cell, size = seqjax.lstm(HIDDEN), len(characters)
    pieces = ids[: len(ids) // BATCH * BATCH].reshape(BATCH, -1)
    steps = (pieces.shape[1] - 1) // LENGTH
    schedule = optax.cosine_decay_schedule(5e-3, EPOCHS * steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    init_key, sample_key = jax.random.split(jax.random.key(0))
    params = init(cell, init_key, size)
    opt_state = optimizer.init(params)
    train_step, write = make_train_step(cell, optimizer, size), make_writer(cell, characters)
    for epoch in range(EPOCHS):
        carry = cell.initial_state(params[0], (BATCH,))
        losses = []
        for start in range(0, steps * LENGTH, LENGTH):
            params, opt_state, carry, loss = train_step(params, opt_state, carry, pieces[:, start : start + LENGTH + 1])
            losses.append(loss)
        print(f"epoch {epoch + 1}: {np.mean(losses) / np.log(2):.3f} bits per character")
    print(write(params, sample_key, 300))


if __name__ == "__main__":
    main(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__)
