from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import seqjax
from seqjax.cells import GRUParams
from seqjax.layers.linen import Recurrent
from seqjax.models.language_model import LanguageModel

B, T, V, H = 2, 6, 5, 4
KEY = jax.random.key(0)
TOKENS = np.random.default_rng(0).integers(V, size=(B, T))
MODEL = LanguageModel(V, Recurrent(seqjax.gru(H), layers=2))


def assert_close(result, expected, atol=1e-12):
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=atol), result, expected)


@pytest.fixture
def variables(x64):
    like = jax.eval_shape(MODEL.init, KEY, jnp.asarray(TOKENS))
    return jax.tree.map(jnp.asarray, oracles.random_like(0, like))


run = jax.jit(lambda variables, tokens, carry=None, **options: MODEL.apply(variables, tokens, carry, **options))


def test_logits_equal_the_equations(variables):
    params = variables["params"]
    carry, logits = run(variables, TOKENS)
    for row in range(B):
        states = [np.zeros(H), np.zeros(H)]
        for t, token in enumerate(TOKENS[row]):
            y = np.eye(V)[token]
            for layer in range(2):
                layer_params = GRUParams(**params["recurrent"][f"layer_{layer}"])
                states[layer], y = oracles.gru_step(layer_params, states[layer], y)
            assert_close(logits[row, t], y @ params["output"]["kernel"] + params["output"]["bias"])
        assert_close([state[row] for state in carry], states)


def test_a_symbol_changes_no_logits_before_it_and_all_after_it(variables):
    _, logits = run(variables, TOKENS)
    _, others = run(variables, np.where(np.arange(T) == 3, (TOKENS + 1) % V, TOKENS))
    np.testing.assert_array_equal(others[:, :3], logits[:, :3])
    assert (np.asarray(others[:, 3:]) != np.asarray(logits[:, 3:])).all()


def test_the_carry_of_one_batch_goes_on_in_the_next(variables):
    whole = run(variables, TOKENS)
    carry, first = run(variables, TOKENS[:, :4])
    carry, second = run(variables, TOKENS[:, 4:], carry)
    assert_close((carry, jnp.concatenate([first, second], axis=1)), whole)


def test_a_stream_begins_anew_at_a_reset(variables):
    resets = np.zeros((B, T), bool)
    resets[0, 4] = True
    carry, logits = run(variables, TOKENS, resets=resets)
    new_carry, new = run(variables, TOKENS[:, 4:])
    assert_close(logits[0, 4:], new[0])
    assert_close([h[0] for h in carry], [h[0] for h in new_carry])
    assert_close(logits[1], run(variables, TOKENS)[1][1])


def test_a_step_equals_a_stream_of_one(variables):
    carry, _ = run(variables, TOKENS[:, :4])
    expected_carry, expected = run(variables, TOKENS[:, 4:5], carry)
    new_carry, logits = MODEL.apply(variables, carry, jnp.asarray(TOKENS[:, 4]).astype(jnp.int32), method="step")
    assert_close((new_carry, logits), (expected_carry, expected[:, 0]))
    alone = MODEL.apply(variables, tuple(h[0] for h in carry), jnp.int32(TOKENS[0, 4]), method="step")
    assert_close(alone[1], expected[0, 0])


def test_dropout_on_the_output_is_one_mask_over_all_steps():
    size = 200
    model = LanguageModel(size, Recurrent(seqjax.simple_rnn(size)), dropout_rate=0.25)

    @jax.jit
    def factor_of_each_output():
        tokens = jnp.asarray(TOKENS)
        variables = model.init(KEY, tokens)
        variables["params"]["output"] = {"kernel": jnp.eye(size), "bias": jnp.zeros(size)}  # the logits are the outputs
        _, ys = model.apply(variables, tokens)
        return model.apply(variables, tokens, deterministic=False, rngs={"dropout": KEY})[1] / ys

    factor = np.asarray(factor_of_each_output())
    np.testing.assert_allclose(np.where(factor < 0.5, 0, 4 / 3), factor, rtol=1e-5, atol=1e-5)
    assert ((factor < 0.5) == (factor < 0.5)[:, :1]).all()
    assert abs((factor[:, 0] < 0.5).mean() - 0.25) < 4.5 * np.sqrt(0.25 * 0.75 / (B * size))
    assert not np.array_equal(factor[0], factor[1])


def test_parameters_are_float32_whatever_the_default(x64):
    variables = jax.eval_shape(MODEL.init, KEY, jnp.asarray(TOKENS))
    carry, logits = jax.eval_shape(MODEL.apply, variables, jnp.asarray(TOKENS))
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, carry, logits))} == {jnp.dtype("float32")}


def test_every_parameter_learns_lowers_and_compiles_once(lowers, compilations):
    model = LanguageModel(
        V, Recurrent(seqjax.lstm(H), layers=2, dropout_rate=0.2, regularize=partial(seqjax.weight_drop, rate=0.2)), 0.2
    )

    def loss(variables, tokens, carry, key):
        options = {"deterministic": False, "rngs": {"dropout": key}}
        carry, logits = model.apply(variables, tokens[:, :-1], carry, **options)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, 1:, None], axis=-1).mean(), carry

    variables = model.init(KEY, jnp.asarray(TOKENS))
    gradient = jax.jit(jax.grad(loss, has_aux=True))
    arguments = [jnp.roll(TOKENS, k) for k in (0, 1)], jax.random.split(KEY, 2)
    carry, _ = model.apply(variables, jnp.asarray(TOKENS))
    lowers(gradient, variables, arguments[0][0], carry, arguments[1][0])
    step, carry = gradient(variables, arguments[0][0], carry, arguments[1][0])
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(step))
    with compilations() as compiled:
        jax.block_until_ready(gradient(variables, arguments[0][1], carry, arguments[1][1]))
    assert not compiled


def test_refuses_a_carry_of_another_model(unchecked):
    variables = MODEL.init(KEY, jnp.asarray(TOKENS))
    tokens = jnp.asarray(TOKENS)
    with pytest.raises(ValueError, match="^initial_states: expected one for each of 2 layers, got 1"):
        MODEL.apply(variables, tokens, (jnp.zeros((B, H)),))
    with pytest.raises(ValueError, match="^initial_state: expected .*2,4.* got .*2,3"):
        MODEL.apply(variables, tokens, (jnp.zeros((B, 3)),) * 2)
    with pytest.raises(ValueError, match="^resets: expected shape"):
        MODEL.apply(variables, tokens, resets=jnp.zeros((B, T + 1), bool))
