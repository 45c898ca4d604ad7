"""Bad arguments, and steps and processors that break the contract: one clear error, at once."""

import math

import jax
import jax.numpy as jnp
import pytest

from seqjax import decoding

GOOD = {
    "step": lambda params, context, state, token: (jnp.zeros(4), state),
    "params": None,
    "context": jnp.zeros((2, 3)),
    "state": {"h": jnp.zeros((2, 5))},
    "bos": 0,
    "eos": 1,
    "max_length": 3,
}

BAD = [
    ({"max_length": 0}, ValueError, "max_length: expected at least 1, got 0"),
    ({"eos": 4}, ValueError, "eos: expected a token below 4"),
    ({"eos": -1}, ValueError, "eos: expected a token below 4"),
    ({"bos": 0.5}, TypeError, "bos"),
    ({"bos": jnp.zeros(3, int)}, ValueError, r"bos: expected a token or 2 tokens.*\(3,\)"),
    ({"state": {"h": jnp.zeros(())}}, ValueError, r"state\['h'\]: expected the batch axis first"),
    ({"state": {"h": jnp.zeros((3, 5))}}, ValueError, r"state\['h'\] has 3 rows but context has 2"),
    ({"state": (), "context": None}, ValueError, "nothing has a batch axis"),
    ({"state": jnp.zeros((0, 5)), "context": None}, ValueError, "at least one row"),
    ({"step": lambda p, c, s, t: jnp.zeros(4)}, TypeError, r"pair \(logits, state\), got float32\[4\]"),
    ({"step": lambda p, c, s, t: (jnp.zeros((1, 4)), s)}, ValueError, r"shape \[V\], got float32\[1, 4\]"),
    ({"step": lambda p, c, s, t: (jnp.zeros(()), s)}, ValueError, r"shape \[V\], got float32\[\]"),
    ({"step": lambda p, c, s, t: (jnp.zeros(0), s)}, ValueError, r"shape \[V\], got float32\[0\]"),
    ({"step": lambda p, c, s, t: (jnp.zeros(4, int), s)}, TypeError, r"array of floats, got int32\[4\]"),
    ({"step": lambda p, c, s, t: (jnp.zeros(4), s["h"])}, TypeError, "state of the structure"),
    ({"step": lambda p, c, s, t: (jnp.zeros(4), {"h": s["h"][:4]})}, ValueError, r"state\['h'\], float32\[5\].*\[4\]"),
    (
        {"step": lambda p, c, s, t: (jnp.zeros(4), {"h": s["h"] > 0})},
        TypeError,
        r"float32\[5\], got bool\[5\]",
    ),
    ({"processors": [lambda c, h, logits: logits[1:]]}, TypeError, r"processors\[0\].*float32\[4\].*float32\[3\]"),
    ({"processors": [lambda c, h, logits: logits > 0]}, TypeError, r"processors\[0\].*bool\[4\]"),
]


@pytest.mark.parametrize("search", [decoding.greedy_search, lambda **a: decoding.sample(jax.random.key(0), **a)])
@pytest.mark.parametrize(("wrong", "error", "message"), BAD)
def test_wrong_argument_is_named(search, wrong, error, message):
    with pytest.raises(error, match=message):
        search(**GOOD | wrong)


NO_SETTINGS = [
    ({"max_length": 3.0}, "max_length: expected an int, static under jit, got 3.0"),
    ({"max_length": True}, "max_length: expected an int"),
    ({"eos": jnp.array(1)}, "eos: expected an int"),
    ({"bos": [0, 0]}, "bos: expected a token or an array of tokens, got a list"),
    ({"step": None}, "step: expected a function, got None"),
    ({"processors": decoding.top_k(2)}, "processors: expected a sequence of functions, got the function"),
    ({"processors": (0.8,)}, r"processors\[0\]: expected a function, got 0.8"),
    ({"length_penalty": 0.6}, "length_penalty: expected a function, got 0.6"),
    ({"coverage_penalty": 0.2}, "coverage_penalty: expected a function, got 0.2"),
    ({"beam_size": 2.0}, "beam_size: expected an int"),
    ({"n_best": 1.0}, "n_best: expected an int"),
    ({"max_length": None}, "max_length: expected an int, static under jit, got None"),
]


@pytest.mark.parametrize(("wrong", "message"), NO_SETTINGS)
def test_what_jit_could_not_name_is_named(wrong, message, unchecked):
    with pytest.raises(TypeError, match=f"^{message}"):
        decoding.beam_search(**GOOD | {"beam_size": 2} | wrong)


@pytest.mark.parametrize("search", [decoding.greedy_search, lambda **a: decoding.sample(jax.random.key(0), **a)])
def test_a_step_that_fails_says_what_it_was_called_with(search):
    matrix = jnp.zeros((5, 4))
    step = lambda params, context, state, token: (state["h"] @ matrix, state)  # noqa: E731
    with pytest.raises(Exception) as failure:
        search(**GOOD | {"step": step, "context": None, "state": {"h": jnp.zeros(5)}})
    called_with = "one hypothesis of a batch of 5: context None, state {'h': 'float32[]'}, token int32[]"
    assert any(called_with in note for note in failure.value.__notes__)


def test_number_of_samples_is_at_least_one():
    with pytest.raises(ValueError, match="num_samples: expected at least 1, got 0"):
        decoding.sample(jax.random.key(0), **GOOD, num_samples=0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_logits_are_scored_in_float32(dtype):
    step = GOOD["step"]
    decoded = decoding.greedy_search(
        **GOOD | {"step": lambda *a: (step(*a)[0].astype(dtype), a[2]), "eos": None, "max_length": 1}
    )
    assert decoded.scores.dtype == jnp.float32
    assert decoded.scores[0, 0] == pytest.approx(-math.log(4), rel=1e-6)
