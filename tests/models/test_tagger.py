import jax
import jax.numpy as jnp
import numpy as np
import oracles

import seqjax
from seqjax.cells import LSTMParams, LSTMState
from seqjax.layers import crf
from seqjax.layers.linen import Recurrent
from seqjax.models.tagger import Tagger

B, T, U, L, V, A, K, H = 2, 4, 3, 5, 6, 7, 3, 4
KEY = jax.random.key(0)
LENGTHS, SPELLING_LENGTHS = np.array([4, 2]), np.array([5, 1, 3])
rng = np.random.default_rng(0)
BATCH = tuple(
    map(
        jnp.asarray,
        (
            rng.integers(V, size=(B, T)),
            rng.integers(U, size=(B, T)),
            rng.integers(A, size=(U, L)),
            SPELLING_LENGTHS,
            LENGTHS,
        ),
    )
)


def make(cell=seqjax.lstm, **options):
    return Tagger(
        V,
        A,
        K,
        letters=Recurrent(cell(H), bidirectional=True),
        recurrent=Recurrent(cell(H), bidirectional=True),
        word_size=3,
        letter_size=2,
        **options,
    )


def random_variables(model):
    return jax.tree.map(jnp.asarray, oracles.random_like(1, jax.eval_shape(model.init, KEY, *BATCH)))


def both_ways(layers, xs):
    """Outputs and final hidden states of an LSTM in each direction, step by step."""
    outputs = []
    for name, sequence in (("layer_0", xs), ("layer_0_backward", xs[::-1])):
        state, ys = LSTMState(np.zeros(H), np.zeros(H)), []
        for x in sequence:
            state, y = oracles.lstm_step(LSTMParams(**layers[name]), state, x)
            ys.append(y)
        outputs.append(ys if name == "layer_0" else ys[::-1])
    forward, backward = outputs
    return np.concatenate([forward, backward], axis=1), np.concatenate([forward[-1], backward[0]])


def test_scores_equal_the_equations(x64):
    model = make()
    variables = random_variables(model)
    params = jax.tree.map(np.asarray, variables["params"])
    scores, field = jax.jit(model.apply)(variables, *BATCH)
    assert field is None
    words, places, spellings, *_ = map(np.asarray, BATCH)
    read = [
        both_ways(params["letters"], params["letter_embedding"]["embedding"][spellings[u, :length]])[1]
        for u, length in enumerate(SPELLING_LENGTHS)
    ]
    for b, length in enumerate(LENGTHS):
        embedded = params["word_embedding"]["embedding"][words[b, :length]]
        xs = np.concatenate([embedded, [read[place] for place in places[b, :length]]], axis=1)
        ys, _ = both_ways(params["recurrent"], xs)
        expected = ys @ params["output"]["kernel"] + params["output"]["bias"]
        np.testing.assert_allclose(scores[b, :length], expected, atol=1e-12)


def test_padding_changes_nothing_and_the_field_is_what_the_parameters_say():
    model = make(cell=seqjax.simple_rnn, crf=True)
    variables = random_variables(model)
    words, places, spellings, *lengths = map(np.asarray, BATCH)
    valid, letter_valid = np.arange(T) < LENGTHS[:, None], np.arange(L) < SPELLING_LENGTHS[:, None]
    other = np.where(valid, words, 0), np.where(valid, places, 1), np.where(letter_valid, spellings, 0), *lengths
    run = jax.jit(model.apply)
    scores, field = run(variables, *BATCH)
    other_scores, _ = run(variables, *map(jnp.asarray, other))
    np.testing.assert_array_equal(scores[valid], other_scores[valid])
    for name, value in field._asdict().items():
        np.testing.assert_array_equal(value, variables["params"][name])


def test_every_parameter_learns_lowers_and_compiles_once(lowers, compilations):
    model = make(cell=seqjax.simple_rnn, crf=True, dropout_rate=0.5)
    tags = jnp.asarray(rng.integers(K, size=(B, T)))

    def loss(variables, batch, key):
        scores, field = model.apply(variables, *batch, deterministic=False, rngs={"dropout": key})
        return -crf.log_likelihood(field, scores, tags, batch[-1]).sum()

    variables = random_variables(model)
    loss_and_gradient = jax.jit(jax.value_and_grad(loss))
    keys = jax.random.split(KEY)
    other = tuple(jnp.flip(leaf, 0) for leaf in BATCH)
    lowers(loss_and_gradient, variables, BATCH, keys[0])
    value, gradient = loss_and_gradient(variables, BATCH, keys[0])
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient))
    with compilations() as compiled:
        jax.block_until_ready(loss_and_gradient(variables, other, keys[1]))
    assert not compiled
    assert value != loss_and_gradient(variables, BATCH, keys[1])[0]  # other features are dropped
