"""The class of a sequence: what is pooled, what the padding must not reach, what is learned."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import seqjax
from seqjax.layers import attention
from seqjax.layers.linen import Recurrent
from seqjax.models.classifier import Classifier

B, T, V, C, H = 4, 5, 7, 3, 4
KEY = jax.random.key(0)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(V, size=(B, T)), jnp.int32)
LENGTHS = jnp.array([5, 2, 0, 3], jnp.int32)
POOLINGS = {"max": None, "attention": attention.additive(3)}


def make(pooling, **options):
    return Classifier(V, C, Recurrent(seqjax.gru(H), bidirectional=True), attention=POOLINGS[pooling], **options)


@pytest.fixture(params=POOLINGS)
def model(request):
    return make(request.param, embedding_size=6)


@pytest.fixture
def variables(x64, model):
    like = jax.eval_shape(model.init, KEY, TOKENS, LENGTHS)
    return jax.tree.map(jnp.asarray, oracles.random_like(0, like))


def assert_close(result, expected, atol=1e-12):
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=atol), result, expected)


def test_logits_equal_the_equations(variables, model):
    params = variables["params"]
    xs = params["embedding"]["embedding"][TOKENS]
    _, ys = model.recurrent.apply({"params": params["recurrent"]}, xs, lengths=LENGTHS)
    expected = []
    for row, length in zip(np.asarray(ys), LENGTHS.tolist(), strict=True):
        valid = row[:length]
        if length == 0:
            z = np.zeros(2 * H)
        elif model.attention is None:
            z = valid.max(axis=0)
        else:
            of, query = jax.tree.map(np.asarray, (params["attend"]["attention"], params["query"]))
            features = np.tanh(query @ of["query_kernel"] + valid @ of["key_kernel"] + of["bias"])
            weights = np.exp(features @ of["score_kernel"])
            z = weights / weights.sum() @ valid
        expected.append(z @ params["output"]["kernel"] + params["output"]["bias"])
    assert_close(model.apply(variables, TOKENS, LENGTHS), np.stack(expected))


def test_a_row_of_a_batch_equals_the_sequence_alone(variables, model):
    logits = model.apply(variables, TOKENS, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        if length:
            alone = model.apply(variables, TOKENS[row : row + 1, :length], LENGTHS[row : row + 1])
            assert_close(logits[row], alone[0])


def test_padding_reaches_neither_result_nor_gradient(variables, model):
    def loss(variables, xs):
        return jnp.sum(model.apply(variables, xs, LENGTHS, method="classify") ** 2)

    xs = jnp.asarray(np.random.default_rng(1).normal(size=(B, T, 6)))
    padding = (np.arange(T) >= np.asarray(LENGTHS)[:, None])[..., None]
    value_and_gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    expected = value_and_gradient(variables, xs)
    for content in (np.nan, np.inf, 1e300):
        result = value_and_gradient(variables, jnp.where(padding, content, xs))
        jax.tree.map(np.testing.assert_array_equal, result, expected)
    assert not np.where(padding, expected[1][1], 0).any()
    tokens = jnp.where(padding[..., 0], 10**6, TOKENS)
    assert_close(model.apply(variables, tokens, LENGTHS), model.apply(variables, TOKENS, LENGTHS))


def test_a_symbol_without_an_embedding_is_a_row_of_the_input_kernel():
    one_hot, embedded = make("max"), make("max", embedding_size=V)
    variables = one_hot.init(KEY, TOKENS, LENGTHS)
    with_identity = {"params": variables["params"] | {"embedding": {"embedding": jnp.eye(V)}}}
    assert_close(one_hot.apply(variables, TOKENS, LENGTHS), embedded.apply(with_identity, TOKENS, LENGTHS), atol=1e-6)


def test_every_parameter_learns_lowers_and_compiles_once(lowers, compilations):
    recurrent = Recurrent(seqjax.gru(H), bidirectional=True, regularize=partial(seqjax.weight_drop, rate=0.2))
    model = Classifier(V, C, recurrent, 6, attention.general(), dropout_rate=0.2)

    def loss(variables, tokens, lengths, key):
        logits = model.apply(variables, tokens, lengths, deterministic=False, rngs={"dropout": key})
        return jax.nn.logsumexp(logits, axis=-1).sum() - logits[:, 0].sum()

    batches = [(jnp.roll(TOKENS, k), jnp.roll(LENGTHS, k), key) for k, key in enumerate(jax.random.split(KEY, 2))]
    variables = model.init(KEY, *batches[0][:2])
    gradient = jax.jit(jax.grad(loss))
    lowers(gradient, variables, *batches[0])
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient(variables, *batches[0])))
    with compilations() as compiled:
        jax.block_until_ready(gradient(variables, *batches[1]))
    assert not compiled


def test_dropout_differs_between_rows_and_is_the_same_at_all_positions():
    class Sum(Recurrent):
        def __call__(self, xs, *, lengths, deterministic):
            return (), xs

    size = 300
    model = Classifier(size, size, Sum(seqjax.simple_rnn(size)), embedding_size=size, dropout_rate=0.25)
    identity = {"embedding": {"embedding": jnp.ones((size, size))}, "output": {"kernel": jnp.eye(size), "bias": 0.0}}
    identity["output"]["bias"] = jnp.zeros(size)
    tokens = jnp.zeros((2, 50), int)
    logits = model.apply({"params": identity}, tokens, jnp.array([50, 50]), deterministic=False, rngs={"dropout": KEY})
    dropped = np.asarray(logits) == 0  # by either mask; were there one a position, a feature would be in one of 50
    share = 1 - 0.75**2
    assert abs(dropped.mean() - share) < 4.5 * np.sqrt(share * (1 - share) / dropped.size)
    assert not np.array_equal(*dropped)
