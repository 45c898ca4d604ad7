"""What types `unroll` and the cells take, and the cast that mends what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax
from seqjax.data import SymbolVocabulary

CELLS = {
    "lstm": seqjax.lstm(3),
    "gru": seqjax.gru(3),
    "simple_rnn": seqjax.simple_rnn(3),
    "jordan_rnn": seqjax.jordan_rnn(4, 3),
    "stack": seqjax.stack([seqjax.gru(3), seqjax.layer_norm(seqjax.lstm(3))]),
}


def params_of(cell, dtype):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), cell.init(jax.random.key(0), input_size=2))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("of_params", "of_xs"), [("bfloat16", "float32"), ("float32", "float64")])
def test_inputs_wider_than_the_parameters_are_refused_with_the_cast(name, of_params, of_xs, x64):
    cell = CELLS[name]
    params, xs = params_of(cell, of_params), jnp.ones((2, 4, 2), of_xs)
    with pytest.raises(TypeError, match=f"^xs: expected the type of params, {of_params}, got {of_xs}; cast"):
        seqjax.unroll(cell, params, xs)
    cast = seqjax.unroll(cell, params, xs.astype(of_params))[1]
    assert cast.dtype == of_params
    widened = seqjax.unroll(cell, jax.tree.map(lambda leaf: leaf.astype(of_xs), params), xs)[1]
    assert widened.dtype == of_xs


@pytest.mark.parametrize("name", CELLS)
def test_narrower_inputs_are_widened(name):
    cell = CELLS[name]
    params, xs = params_of(cell, "float32"), jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 2)), jnp.bfloat16)
    state, ys = seqjax.unroll(cell, params, xs)
    assert ys.dtype == jnp.float32
    np.testing.assert_array_equal(ys, seqjax.unroll(cell, params, xs.astype(jnp.float32))[1])


@pytest.mark.parametrize("name", CELLS)
def test_a_plain_tuple_of_parameters_is_refused_by_name(name, unchecked):
    cell = CELLS[name]
    params, state = params_of(cell, "float32"), cell.initial_state(params_of(cell, "float32"), (2,))
    plain = tuple(tuple(part) for part in params) if name == "stack" else tuple(params)
    with pytest.raises((TypeError, ValueError), match="^params: expected"):
        seqjax.unroll(cell, plain, jnp.ones((2, 4, 2)))
    if name != "stack":
        with pytest.raises(TypeError, match="^params: expected the parameters that cell.init returns"):
            cell.step(plain, state, jnp.ones((2, 2)))
        with pytest.raises(TypeError, match="^params: expected the parameters that cell.init returns"):
            cell.initial_state(plain)


def test_integers_of_numpy_are_integers():
    three, two = np.int64(3), np.int32(2)
    cells = [
        seqjax.lstm(three, projection_size=two),
        seqjax.gru(three),
        seqjax.simple_rnn(three),
        seqjax.jordan_rnn(three, two),
    ]
    for cell in cells:
        params = cell.init(jax.random.key(0), input_size=two)
        xs = jnp.ones((np.int64(4), 2))
        _, ys = seqjax.unroll(cell, params, xs, lengths=three, remat_every=two)
        np.testing.assert_allclose(ys, seqjax.unroll(cell, params, xs, lengths=jnp.array(3))[1], rtol=1e-6)
        seqjax.truncated_unroll(cell, params, xs, truncate_every=two)

    def step(params, context, state, token):
        return jnp.zeros(3), state

    found = seqjax.beam_search(
        step, None, None, jnp.zeros((1, 0)), beam_size=two, bos=np.int64(0), eos=np.int8(1), max_length=three,
        n_best=np.int64(1), pad=np.int64(7), processors=(seqjax.top_k(two),),
    )  # fmt: skip
    assert found.tokens.shape == (1, 1, 3)


def test_a_generator_of_symbols_is_read_once_and_whole():
    vocabulary = SymbolVocabulary.from_sequences(["abc"])
    np.testing.assert_array_equal(vocabulary.encode(symbol for symbol in "cab"), vocabulary.encode("cab"))
    with pytest.raises(ValueError, match="'d' at position 1"):
        vocabulary.encode(symbol for symbol in "adb")
