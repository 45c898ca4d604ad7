"""The encoder-decoder: its two ways through a target, its equations in NumPy, and what must change nothing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from flax.errors import InvalidRngError
from jax.test_util import check_grads

import seqjax
from seqjax import decoding
from seqjax.cells import LSTMParams, LSTMState
from seqjax.layers.attention import additive, dot, general, local_monotonic
from seqjax.layers.linen import Recurrent
from seqjax.models.seq2seq import Seq2Seq

B, S, T, V, E, H = 3, 5, 4, 5, 3, 4
SOURCE_SIZE = 7  # two symbols more than the target has
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SOURCES, LENGTHS = RNG.integers(SOURCE_SIZE, size=(B, S)), np.array([5, 2, 3])
SOURCES[0, :3] = 6, 6, 1  # one that comes twice and can only be copied
INPUTS = RNG.integers(V, size=(B, T))
VALID = np.arange(S) < LENGTHS[:, None]


def make(cell=seqjax.lstm, layers=1, encoder=None, decoder=None, **settings):
    encoder = encoder or Recurrent(cell(H // 2), layers=layers, bidirectional=True)
    return Seq2Seq(SOURCE_SIZE, V, encoder, decoder or Recurrent(cell(H), layers=layers), E, **settings)


FORWARD = {"encoder": Recurrent(seqjax.lstm(H)), "reverse_source": True}
EVERYTHING = {"input_feeding": True, "tie_embeddings": True, "copying": True, "unknown": 3}
MODELS = {
    "plain": make(**FORWARD),
    "plain_tied_feeding": make(seqjax.gru, tie_embeddings=True, input_feeding=True),
    "attention": make(seqjax.gru, attention=additive(3)),
    "local": make(attention=local_monotonic(dot(), 1)),
    "feeding": make(attention=general(), input_feeding=True),
    "feeding_gru": make(seqjax.gru, attention=additive(3), input_feeding=True),
    "coverage": make(attention=additive(3, coverage=True)),
    "copying": make(attention=general(), copying=True),
    "tied": make(attention=general(), tie_embeddings=True),
    "reversed_copying": make(attention=general(), copying=True, **FORWARD),
    "two_layers": make(layers=2, attention=additive(3), input_feeding=True),
    "everything": make(layers=2, attention=additive(3, coverage=True), **EVERYTHING),
    "everything_luong": make(attention=general(), **EVERYTHING),
}
every_model = pytest.mark.parametrize("name", MODELS)


@partial(jax.jit, static_argnums=0, static_argnames="deterministic")
def run(model, variables, sources, lengths, inputs, **options):
    return model.apply(variables, sources, lengths, inputs, **options)


def random_variables(model, scale=0.5):
    """In float64."""
    like = jax.eval_shape(model.init, KEY, *map(jnp.asarray, (SOURCES, LENGTHS, INPUTS)))
    return jax.tree.map(jnp.asarray, oracles.random_like(0, like, scale))


def assert_close(result, expected, atol=1e-12):
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=atol), result, expected)


def step(model, *args):
    return model.apply(*args, method="step")


# Two ways through a target, batches and padding.


@every_model
def test_steps_equal_the_call(name, x64):
    model = MODELS[name]
    variables = random_variables(model)

    @jax.jit
    def run_by_steps(variables, sources, lengths, inputs):
        context, state = model.apply(variables, sources, lengths, method="encode")

        def read(state, token):
            logits, state = step(model, variables, context, state, token)
            return state, logits

        state, logits = jax.lax.scan(read, state, inputs.T)
        return state.alignment, jnp.moveaxis(logits, 0, 1)

    logits, weights = run(model, variables, SOURCES, LENGTHS, INPUTS)
    alignment, by_steps = run_by_steps(variables, SOURCES, LENGTHS, INPUTS.astype(np.int32))
    assert logits.shape == (B, T, SOURCE_SIZE if model.copying else V)
    assert_close(by_steps, logits)
    if model.attention is None:
        assert alignment is weights is None
    else:
        assert weights.shape == (B, T, S) and (alignment.position == T).all()
        assert_close(alignment.attended, weights.sum(axis=1))


@every_model
def test_a_padded_row_equals_the_single_run(name, x64):
    model = MODELS[name]
    variables = random_variables(model)
    logits, weights = run(model, variables, SOURCES, LENGTHS, INPUTS)
    single, single_weights = run(model, variables, SOURCES[1, :2], np.array(2), INPUTS[1])
    assert_close(logits[1], single)
    if weights is not None:
        assert not weights[1, :, 2:].any()
        assert_close(weights[1, :, :2], single_weights)


@every_model
def test_what_must_change_nothing_changes_nothing(name, x64):
    model = MODELS[name]
    variables = random_variables(model)
    logits, weights = run(model, variables, SOURCES, LENGTHS, INPUTS)
    for padding in (1, SOURCE_SIZE + 92, -9):
        dirty = run(model, variables, np.where(VALID, SOURCES, padding), LENGTHS, INPUTS)
        jax.tree.map(np.testing.assert_array_equal, dirty, (logits, weights))
    others, _ = run(model, variables, SOURCES, LENGTHS, np.where(np.arange(T) == 2, (INPUTS + 1) % V, INPUTS))
    np.testing.assert_array_equal(others[:, :2], logits[:, :2])
    assert all((others[b, t] != logits[b, t]).any() for b in range(B) for t in (2, 3))  # what is read at t counts
    others, _ = run(model, variables, np.where(np.arange(S) == 1, (SOURCES + 1) % V, SOURCES), LENGTHS, INPUTS)
    assert all((others[b, t] != logits[b, t]).any() for b in range(B) for t in range(T))


@pytest.mark.parametrize("name", ["plain", "copying", "everything"])
def test_a_source_of_nothing_is_one(name, x64):
    model = MODELS[name]
    logits, weights = run(model, random_variables(model), SOURCES, np.zeros(B, int), INPUTS)
    assert np.isfinite(logits[..., :V]).all() and (weights is None or not weights.any())


# The equations.


def reference(model, variables, source, inputs):
    """Logits (or log-probabilities) and weights of one source with an LSTM and the attention `general`."""
    params = jax.tree.map(np.asarray, variables["params"])

    def dense(layer, x):
        return layer["kernel"].T @ x + layer.get("bias", 0)

    def encode(name, order):
        state, states = LSTMState(*np.zeros((2, params["encoder"][name]["recurrent_kernel"].shape[0]))), {}
        for s in order:
            x = params["source_embedding"]["embedding"][source[s]]
            state, states[s] = oracles.lstm_step(LSTMParams(**params["encoder"][name]), state, x)
        return state, np.stack([states[s] for s in range(len(source))])

    positions = range(len(source))
    if model.encoder.bidirectional:
        (forward, values), (backward, others) = (
            encode("layer_0", positions),
            encode("layer_0_backward", reversed(positions)),
        )
        values = np.concatenate([values, others], axis=1)
        last = np.concatenate([forward.h, forward.c, backward.h, backward.c])
        state = LSTMState(*(np.tanh(dense(params["bridge"][f"layer_0_{part}"], last)) for part in range(2)))
    else:
        state, values = encode("layer_0", reversed(positions) if model.reverse_source else positions)

    embedding = params["target_embedding"]["embedding"]
    f = np.zeros(E if model.tie_embeddings else H)
    logits, all_weights = [], []
    for token in inputs:
        x = embedding[token if token < V else model.unknown]
        fed = np.concatenate([x, f]) if model.input_feeding else x
        state, h = oracles.lstm_step(LSTMParams(**params["decoder"]["layer_0"]), state, fed)
        weights = np.exp(values @ params["attend"]["attention"]["kernel"] @ h)
        weights /= weights.sum()
        context = weights @ values
        f = np.tanh(dense(params["combine"], np.concatenate([context, h])))
        scores = embedding @ f + params["output_bias"] if model.tie_embeddings else dense(params["output"], f)
        if model.copying:
            g = oracles.sigma(dense(params["copy_gate"], np.concatenate([context, h, x]))[0])
            p = np.zeros(SOURCE_SIZE)
            p[:V] = g * np.exp(scores) / np.exp(scores).sum()
            for s, symbol in enumerate(source):
                p[symbol] += (1 - g) * weights[s]
            scores = np.array([np.log(q) if q > 0 else -np.inf for q in p])
        logits.append(scores)
        all_weights.append(weights)
    return np.stack(logits), np.stack(all_weights)


@pytest.mark.parametrize("name", ["feeding", "tied", "copying", "reversed_copying", "everything_luong"])
def test_equals_the_equations(name, x64):
    model = MODELS[name]
    variables = random_variables(model)
    inputs = np.where((INPUTS == 2) & model.copying, SOURCE_SIZE - 1, INPUTS)  # also what was copied
    logits, weights = run(model, variables, SOURCES, LENGTHS, inputs)
    for b, length in enumerate(LENGTHS):
        expected = reference(model, variables, SOURCES[b, :length], inputs[b])
        assert_close((logits[b], weights[b, :, :length]), expected)


@pytest.mark.parametrize("name", ["copying", "reversed_copying", "everything"])
def test_copying_gives_probabilities(name, x64):
    model = MODELS[name]
    logits, weights = run(model, random_variables(model), SOURCES, LENGTHS, INPUTS)
    p = np.exp(np.asarray(logits))
    assert_close(p.sum(axis=-1), np.ones((B, T)))
    for b, length in enumerate(LENGTHS):
        source, own = SOURCES[b, :length], np.arange(V)
        for symbol in range(V, SOURCE_SIZE):  # only copied
            assert (p[b, :, symbol] > 0).all() == (symbol in source)
        share = np.asarray(weights[b, :, :length]) @ (source[:, None] == np.arange(SOURCE_SIZE))
        if (source >= V).any():  # of these the probabilities are in the proportion of the weights
            copied = p[b, :, V:] / p[b, :, V:].sum(axis=-1, keepdims=True)
            assert_close(copied, share[:, V:] / share[:, V:].sum(axis=-1, keepdims=True))
        assert (p[b][:, own] > 0).all()


def test_the_bridge_hands_over_what_fits_and_maps_the_rest(x64):
    def first_state(encoder, decoder):
        model = make(encoder=encoder, decoder=decoder)
        variables = random_variables(model)
        _, state = jax.jit(partial(model.apply, method="encode"))(variables, SOURCES, LENGTHS)
        params = variables["params"]
        xs = params["source_embedding"]["embedding"][SOURCES]
        final_states, _ = encoder.apply({"params": params["encoder"]}, xs, lengths=jnp.asarray(LENGTHS))
        return state.recurrent, final_states, params.get("bridge", {})

    lstm, two = Recurrent(seqjax.lstm(H)), Recurrent(seqjax.lstm(H), layers=2)
    for same in (lstm, two):
        state, final_states, bridge = first_state(same, same)
        assert not bridge
        assert_close(state, final_states)
    both_ways, gru = Recurrent(seqjax.gru(H), layers=2, bidirectional=True), Recurrent(seqjax.gru(3))
    for encoder, decoder in ((both_ways, two), (lstm, gru), (gru, lstm)):
        state, final_states, bridge = first_state(encoder, decoder)
        assert len(state) == decoder.layers
        for layer, (mapped, final) in enumerate(zip(state, final_states, strict=True)):
            features = np.concatenate(jax.tree.leaves(final), axis=-1)
            assert isinstance(mapped, LSTMState) == (decoder.cell is not gru.cell)
            for part, leaf in enumerate(jax.tree.leaves(mapped)):
                dense = bridge[f"layer_{layer}_{part}"]
                assert_close(leaf, np.tanh(features @ dense["kernel"] + dense["bias"][None]))


# Scheduled sampling.

sampled = pytest.mark.parametrize("name", ["plain", "copying", "everything"])


@sampled
def test_scheduled_sampling_reads_what_it_is_given_or_what_it_draws(name, x64):
    model = MODELS[name]
    variables = random_variables(model)

    def sample(rate, key, inputs=INPUTS):
        return run(model, variables, SOURCES, LENGTHS, inputs, sampling_rate=rate, rngs={"sampling": key})

    forced, own = sample(0.0, KEY), sample(1.0, KEY)
    assert_close(forced, run(model, variables, SOURCES, LENGTHS, INPUTS))
    others = np.where(np.arange(T) > 0, (INPUTS + 1) % V, INPUTS)
    jax.tree.map(np.testing.assert_array_equal, sample(1.0, KEY, others), own)  # but for the first nothing is read
    np.testing.assert_array_equal(own[0][:, 0], forced[0][:, 0])
    assert (np.asarray(sample(1.0, KEY, (INPUTS + 1) % V)[0][:, 0]) != own[0][:, 0]).any()
    assert not np.array_equal(sample(1.0, jax.random.key(1))[0], own[0])


def test_scheduled_sampling_reads_what_the_model_says(x64):
    model = MODELS["everything"].clone(copying=False)
    variables = random_variables(model)
    variables["params"]["target_embedding"]["embedding"] *= 1e3  # the likeliest symbol is certain
    logits, _ = run(model, variables, SOURCES, LENGTHS, INPUTS, sampling_rate=1.0, rngs={"sampling": jax.random.key(3)})
    read = np.concatenate([INPUTS[:, :1], np.argmax(logits, axis=-1)[:, :-1]], axis=1)
    assert_close(logits, run(model, variables, SOURCES, LENGTHS, read)[0])


def pass_on(params, h, x):
    """The inputs, cut or filled up to 200."""
    return h, jnp.concatenate([x, jnp.zeros((*x.shape[:-1], 200), x.dtype)], axis=-1)[..., :200]


wire = seqjax.Cell(
    init=lambda key, *, input_size: {"recurrent_kernel": jnp.ones((1, 1))},
    initial_state=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 1)),
    step=pass_on,
)


def wired(size=200, **settings):
    """A model without attention whose features are the embedding of what it reads, if an embedding has size 200."""
    return Seq2Seq(2, size, Recurrent(wire), Recurrent(wire), 200, **settings)


def test_each_step_of_each_row_tosses_its_coin():
    rows, steps = 100, 9
    model = wired(10)
    inputs, sources, lengths = jnp.zeros((rows, steps), int), jnp.zeros((rows, 1), int), jnp.ones(rows, int)
    variables = model.init(KEY, sources, lengths, inputs)
    variables["params"]["target_embedding"]["embedding"] = jnp.eye(10, 200)
    kernel = 100 * jnp.roll(jnp.eye(200, 10), 1, axis=1).at[10:].set(0)  # after k comes k + 1
    variables["params"]["output"] = {"kernel": kernel, "bias": jnp.zeros(10)}
    for rate in (0.25, 0.8):
        logits, _ = run(model, variables, sources, lengths, inputs, sampling_rate=rate, rngs={"sampling": KEY})
        own = (np.argmax(logits, axis=-1) - 1) % 10 > 0  # what was read, zero where it was given
        assert not own[:, 0].any()
        tosses = own[:, 1:]
        assert abs(tosses.mean() - rate) < 4.5 * np.sqrt(rate * (1 - rate) / tosses.size)
        assert len(np.unique(tosses, axis=0)) > rows / 4 and len(np.unique(tosses.T, axis=0)) == steps - 1


# Dropout.


@pytest.mark.parametrize("settings", [{}, {"input_feeding": True}], ids=["at_once", "in_sequence"])
def test_dropout_is_one_mask_over_all_steps(settings):
    model, rate = wired(dropout_rate=0.25, **settings), 0.25
    arguments = jnp.zeros((B, 1), int), jnp.ones(B, int), jnp.asarray(INPUTS)
    variables = model.init(KEY, *arguments)
    variables["params"]["target_embedding"]["embedding"] = jnp.ones((200, 200))
    variables["params"]["output"] = {"kernel": jnp.eye(200), "bias": jnp.zeros(200)}  # the logits are the features
    factor = np.asarray(run(model, variables, *arguments, deterministic=False, rngs={"dropout": KEY})[0])
    np.testing.assert_allclose(np.where(factor < 0.5, 0, (4 / 3) ** 2), factor, rtol=1e-5)  # of two masks
    assert (factor == factor[:, :1]).all() and not np.array_equal(factor[0], factor[1])
    dropped = 1 - (1 - rate) ** 2
    assert abs((factor[:, 0] == 0).mean() - dropped) < 4.5 * np.sqrt(dropped * (1 - dropped) / (B * 200))
    other = run(model, variables, *arguments, deterministic=False, rngs={"dropout": jax.random.key(1)})[0]
    assert not np.array_equal(other, factor)
    with pytest.raises(InvalidRngError):
        run(model, variables, *arguments, deterministic=False)


def test_every_random_thing_differs_between_keys_and_is_off_without(x64):
    layers = {"layers": 2, "dropout_rate": 0.2}
    model = make(encoder=Recurrent(seqjax.lstm(H), **layers), decoder=Recurrent(seqjax.lstm(H), **layers))
    variables = random_variables(model)
    plain = run(model, variables, SOURCES, LENGTHS, INPUTS)[0]
    random = [
        run(model, variables, SOURCES, LENGTHS, INPUTS, deterministic=False, rngs={"dropout": jax.random.key(k)})[0]
        for k in (0, 0, 1)
    ]
    np.testing.assert_array_equal(random[0], random[1])
    assert not np.allclose(random[0], random[2]) and not np.allclose(random[0], plain)


# Searches.


@pytest.mark.parametrize("name", ["attention", "everything"])
def test_beam_of_everything_is_exhaustive_search(name):
    model, length = MODELS[name], 3
    variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), random_variables(model, scale=1.5))
    sources, lengths = jnp.asarray(SOURCES), jnp.asarray(LENGTHS)
    encode = jax.jit(partial(model.apply, method="encode"))
    context, state = encode(variables, sources, lengths)
    options = {"bos": 0, "eos": 1, "max_length": length, "n_best": 2}
    size = (SOURCE_SIZE if model.copying else V) ** length
    model_step = partial(step, model)
    beam = decoding.beam_search(model_step, variables, context, state, beam_size=size, **options)
    every = decoding.exhaustive_search(model_step, variables, context, state, **options)
    np.testing.assert_array_equal(beam.tokens, every.tokens)
    np.testing.assert_allclose(beam.scores, every.scores, atol=1e-4)
    for place in range(2):  # and these are the probabilities of teacher forcing
        tokens = np.asarray(beam.tokens[:, place])
        read = np.concatenate([np.zeros((B, 1), int), tokens[:, :-1]], axis=1)
        log_probs = jax.nn.log_softmax(run(model, variables, SOURCES, LENGTHS, read)[0])
        picked = np.take_along_axis(np.asarray(log_probs), tokens[..., None], axis=-1)[..., 0]
        counts = np.arange(length) < np.asarray(beam.lengths)[:, place, None]
        np.testing.assert_allclose(np.where(counts, picked, 0).sum(axis=1), beam.log_probs[:, place], atol=1e-4)
    single = encode(variables, sources[1:2, :2], lengths[1:2])
    single = decoding.beam_search(model_step, variables, *single, beam_size=size, **options)
    np.testing.assert_array_equal(single.tokens[0], beam.tokens[1])
    np.testing.assert_allclose(single.scores[0], beam.scores[1], atol=1e-4)


def test_searching_compiles_once_and_lowers(lowers, compilations):
    model = MODELS["everything"]

    @jax.jit
    def search(variables, sources, lengths):
        context, state = model.apply(variables, sources, lengths, method="encode")
        return decoding.beam_search(
            partial(step, model), variables, context, state, beam_size=2, bos=0, eos=1, max_length=3
        )

    arguments = []
    for k in (1, 2):
        variables = jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf * k, jnp.float32), random_variables(model))
        arguments.append((variables, jnp.asarray(SOURCES) // k, jnp.asarray(LENGTHS) // k))
    lowers(search, *arguments[0])
    search(*arguments[0])
    with compilations() as compiled:
        jax.block_until_ready(search(*arguments[1]))
    assert not compiled


# Gradients.


@pytest.mark.parametrize("name", ["plain", "copying", "everything"])
def test_gradients_are_those_of_differences(name, x64):
    model = MODELS[name]
    targets = np.where(INPUTS == 0, SOURCES[:, :1], INPUTS) % (SOURCE_SIZE if model.copying else V)

    @jax.jit
    def loss(variables):
        logits, weights = model.apply(variables, *map(jnp.asarray, (SOURCES, LENGTHS, INPUTS)))
        covered = 0 if weights is None else jnp.sum(weights**2)
        return covered - jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1))

    check_grads(loss, (random_variables(model),), order=1, modes=["rev"])


def test_training_learns_every_parameter_lowers_and_compiles_once(lowers, compilations):
    regularized = {"layers": 2, "dropout_rate": 0.2, "regularize": partial(seqjax.weight_drop, rate=0.2)}
    model = make(
        encoder=Recurrent(seqjax.lstm(H // 2), bidirectional=True, **regularized),
        decoder=Recurrent(seqjax.lstm(H), **regularized),
        attention=additive(3, coverage=True),
        dropout_rate=0.1,
        **EVERYTHING,
    )

    def loss(variables, sources, lengths, inputs, key, rate):
        dropout_key, sampling_key = jax.random.split(key)
        rngs = {"dropout": dropout_key, "sampling": sampling_key}
        logits, _ = model.apply(variables, sources, lengths, inputs, sampling_rate=rate, deterministic=False, rngs=rngs)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), inputs[..., None], axis=-1).mean()

    variables = model.init(KEY, *map(jnp.asarray, (SOURCES, LENGTHS, INPUTS)))
    gradient = jax.jit(jax.grad(loss))
    arguments = [
        (jax.tree.map(lambda leaf, k=k: leaf * k, variables), jnp.asarray(np.where(VALID, SOURCES // k, padding)),
         jnp.asarray(LENGTHS), jnp.asarray(INPUTS // k), jax.random.key(k), jnp.float32(0.5 * k))
        for k, padding in ((1, 10**6), (2, 3))
    ]  # fmt: skip
    lowers(gradient, *arguments[0])
    grads = gradient(*arguments[0])
    assert all(np.isfinite(leaf).all() and np.asarray(leaf).any() for leaf in jax.tree.leaves(grads))
    with compilations() as compiled:
        jax.block_until_ready(gradient(*arguments[1]))
    assert not compiled


# Types and settings.


@every_model
def test_everything_is_float32_whatever_the_default(name, x64):
    model, arguments = MODELS[name], tuple(map(jnp.asarray, (SOURCES, LENGTHS, INPUTS)))
    variables = jax.eval_shape(model.init, KEY, *arguments)
    called = jax.eval_shape(model.apply, variables, *arguments)
    encoded = jax.eval_shape(partial(model.apply, method="encode"), variables, *arguments[:2])
    stepped = jax.eval_shape(partial(step, model), variables, *encoded, jnp.zeros(B, jnp.int32))
    leaves = jax.tree.leaves((variables, called, encoded, stepped))
    assert {leaf.dtype for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)} == {jnp.dtype("float32")}


def test_initialising_by_encoding_and_stepping_makes_the_same_parameters():
    model, arguments = MODELS["everything"], tuple(map(jnp.asarray, (SOURCES, LENGTHS, INPUTS)))
    called = jax.eval_shape(model.init, KEY, *arguments)
    sampled = jax.eval_shape(
        lambda *args: model.init({"params": KEY, "sampling": KEY}, *args, sampling_rate=0.5), *arguments
    )
    assert jax.tree.map(jnp.shape, sampled) == jax.tree.map(jnp.shape, called)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoder": Recurrent(seqjax.lstm(H), layers=2)}, "decoder: expected 1 layers, like the encoder, got 2"),
        ({"copying": True}, "copying: expected an attention"),
        ({"decoder": Recurrent(seqjax.lstm(H), bidirectional=True)}, "decoder: expected unidirectional layers"),
        ({"copying": True, "attention": dot(), "unknown": V}, "unknown: expected a symbol below 5, got 5"),
    ],
)  # fmt: skip
def test_refuses_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make(**settings).init(KEY, *map(jnp.asarray, (SOURCES, LENGTHS, INPUTS)))


def test_refuses_sources_that_are_numbered_otherwise():
    model = MODELS["copying"].clone(source_size=V - 1)
    with pytest.raises(ValueError, match="^source_size: expected at least target_size, 5, to copy, got 4"):
        model.init(KEY, *map(jnp.asarray, (SOURCES, LENGTHS, INPUTS)))
