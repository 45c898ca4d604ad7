import jax
import numpy as np
import pytest

import seqjax


@pytest.mark.parametrize(("gates", "expected"), [("ifgo", [0, 0, 2, 2, 0, 0, 0, 0]), ("fgo", [2, 2, 0, 0, 0, 0])])
def test_forget_bias_opens_the_forget_gate_alone(gates, expected):
    np.testing.assert_array_equal(seqjax.forget_bias(2.0)(jax.random.key(0), gates, 2), expected)


def test_zeros_bias():
    np.testing.assert_array_equal(seqjax.zeros_bias(jax.random.key(0), "run", 2), np.zeros(6))


def test_chrono_spreads_time_scales_uniformly_up_to_the_longest():
    size, max_length = 20_000, 50
    bias = np.asarray(seqjax.chrono(max_length)(jax.random.key(0), "ifgo", size), np.float64)
    i, f, g, o = bias.reshape(4, size)
    np.testing.assert_array_equal(i, -f)
    assert not g.any() and not o.any()
    times = np.sort(np.exp(f))
    assert times[0] >= 1 - 1e-6 and times[-1] <= max_length - 1 + 1e-4
    uniform = (np.arange(size) + 0.5) / size
    deviation = np.abs((times - 1) / (max_length - 2) - uniform).max()
    assert deviation < 1.95 / np.sqrt(size)  # Kolmogorov-Smirnov, 0.1%


def test_chrono_knows_the_gates_by_name():
    chrono, key = seqjax.chrono(50), jax.random.key(3)
    f, g, o = chrono(key, "fgo", 5).reshape(3, 5)
    r, u, n = chrono(key, "run", 5).reshape(3, 5)
    assert (f > 0).all() and not g.any() and not o.any()
    np.testing.assert_array_equal(u, -f)  # the update gate lets the candidate in, the forget gate keeps it out
    assert not r.any() and not n.any()
    np.testing.assert_array_equal(
        seqjax.gru(5, bias_init=lambda _, *gates: chrono(key, *gates))
        .init(jax.random.key(0), input_size=1)
        .bias.reshape(3, 5)[1],
        u,
    )


def test_initializers_give_float32_whatever_the_default(x64):
    for initializer in (seqjax.zeros_bias, seqjax.forget_bias(1.0), seqjax.chrono(10)):
        assert initializer(jax.random.key(0), "ifgo", 2).dtype == np.float32


def test_initializers_lower_for_every_accelerator(lowers):
    initializers = seqjax.zeros_bias, seqjax.forget_bias(1.0), seqjax.chrono(10)
    lowers(lambda key: [initializer(key, "ifgo", 2) for initializer in initializers], jax.random.key(0))


def test_chrono_refuses_a_length_that_leaves_nothing_to_spread(unchecked):
    with pytest.raises(ValueError, match=r"^max_length: expected at least 3 steps, got 2"):
        seqjax.chrono(2)
