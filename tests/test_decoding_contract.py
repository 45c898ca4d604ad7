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
    ({"max_length": 0}, ValueError, "max_length must be at least 1 but is 0"),
    ({"eos": 4}, ValueError, "eos must be a token below 4"),
    ({"eos": -1}, ValueError, "eos must be a token below 4"),
    ({"bos": 0.5}, TypeError, "bos"),
    ({"bos": jnp.zeros(3, int)}, ValueError, r"bos must be a token or 2 tokens.*\(3,\)"),
    ({"state": {"h": jnp.zeros(())}}, ValueError, r"state\['h'\] must lead with the batch axis"),
    ({"state": {"h": jnp.zeros((3, 5))}}, ValueError, r"state\['h'\] has 3 rows but context has 2"),
    ({"state": (), "context": None}, ValueError, "must have a batch axis"),
    ({"state": jnp.zeros((0, 5)), "context": None}, ValueError, "at least one row"),
    ({"step": lambda p, c, s, t: jnp.zeros(4)}, TypeError, r"pair \(logits, state\) but returned float32\[4\]"),
    ({"step": lambda p, c, s, t: (jnp.zeros((1, 4)), s)}, ValueError, r"shape \[V\] but are float32\[1, 4\]"),
    ({"step": lambda p, c, s, t: (jnp.zeros(()), s)}, ValueError, r"shape \[V\] but are float32\[\]"),
    ({"step": lambda p, c, s, t: (jnp.zeros(0), s)}, ValueError, r"shape \[V\] but are float32\[0\]"),
    ({"step": lambda p, c, s, t: (jnp.zeros(4, int), s)}, TypeError, r"array of floats but are int32\[4\]"),
    ({"step": lambda p, c, s, t: (jnp.zeros(4), s["h"])}, TypeError, "state of the structure"),
    ({"step": lambda p, c, s, t: (jnp.zeros(4), {"h": s["h"][:4]})}, ValueError, r"state\['h'\], float32\[5\].*\[4\]"),
    (
        {"step": lambda p, c, s, t: (jnp.zeros(4), {"h": s["h"] > 0})},
        TypeError,
        r"float32\[5\], but returned bool\[5\]",
    ),
    ({"processors": [lambda c, h, logits: logits[1:]]}, TypeError, r"processors\[0\].*float32\[4\].*float32\[3\]"),
    ({"processors": [lambda c, h, logits: logits > 0]}, TypeError, r"processors\[0\].*bool\[4\]"),
]


@pytest.mark.parametrize("search", [decoding.greedy_search, lambda **a: decoding.sample(jax.random.key(0), **a)])
@pytest.mark.parametrize(("wrong", "error", "message"), BAD)
def test_wrong_argument_is_named(search, wrong, error, message):
    with pytest.raises(error, match=message):
        search(**GOOD | wrong)


def test_number_of_samples_is_at_least_one():
    with pytest.raises(ValueError, match="num_samples must be at least 1 but is 0"):
        decoding.sample(jax.random.key(0), **GOOD, num_samples=0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_logits_are_scored_in_float32(dtype):
    step = GOOD["step"]
    decoded = decoding.greedy_search(
        **GOOD | {"step": lambda *a: (step(*a)[0].astype(dtype), a[2]), "eos": None, "max_length": 1}
    )
    assert decoded.scores.dtype == jnp.float32
    assert decoded.scores[0, 0] == pytest.approx(-math.log(4), rel=1e-6)
