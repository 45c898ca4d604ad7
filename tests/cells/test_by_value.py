"""Cells, and what they are made of, compare, hash and pickle by what made them."""

import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax
from seqjax.cells import irnn
from seqjax.layers.attention import additive, dot, general, local_monotonic, local_predictive
from seqjax.models.tree_lstm import child_sum_tree_lstm, nary_tree_lstm

MAKERS = {
    "simple_rnn": lambda size: seqjax.simple_rnn(size, activation="relu"),
    "irnn": lambda size: irnn(size, use_bias=False),
    "jordan_rnn": lambda size: seqjax.jordan_rnn(4, size),
    "lstm": lambda size: seqjax.lstm(size, peepholes=True),
    "lstm with a bias": lambda size: seqjax.lstm(3, bias_init=seqjax.forget_bias(float(size))),
    "gru": lambda size: seqjax.gru(size, bias_init=seqjax.chrono(9)),
    "learned_initial_state": lambda size: seqjax.learned_initial_state(seqjax.gru(size)),
    "stack": lambda size: seqjax.stack([seqjax.lstm(size), seqjax.gru(3)], residual=True),
    "layer_norm": lambda size: seqjax.layer_norm(seqjax.gru(size)),
    "zoneout": lambda size: seqjax.zoneout(seqjax.gru(3), 1 / size, key=None),
    "weight_drop": lambda size: seqjax.weight_drop(seqjax.gru(size), 0.5, key=None),
    "recurrent_dropout": lambda size: seqjax.recurrent_dropout(seqjax.gru(size), 0.5, key=None),
    "forget_bias": lambda size: seqjax.forget_bias(float(size)),
    "chrono": lambda size: seqjax.chrono(size),
    "additive": lambda size: additive(size),
    "local_monotonic": lambda size: local_monotonic(dot(), size),
    "local_predictive": lambda size: local_predictive(general(), size, size=2),
    "child_sum_tree_lstm": lambda size: child_sum_tree_lstm(size),
    "nary_tree_lstm": lambda size: nary_tree_lstm(size, arity=2),
}


@pytest.mark.parametrize("name", MAKERS)
def test_equal_settings_make_equal_cells_and_others_do_not(name):
    make = MAKERS[name]
    assert make(5) == make(5) and hash(make(5)) == hash(make(5))
    assert make(5) != make(6)
    assert pickle.loads(pickle.dumps(make(5))) == make(5)


def test_defaults_names_and_kinds_of_integers_do_not_matter():
    assert seqjax.lstm(8) == seqjax.lstm(hidden_size=np.int64(8)) == seqjax.lstm(8, peepholes=False)
    assert seqjax.stack([seqjax.gru(3)]) == seqjax.stack((seqjax.gru(3),))
    assert seqjax.lstm(8) != seqjax.gru(8)
    assert seqjax.lstm(8)._replace(sequence=None) != seqjax.lstm(8)


def test_an_unpickled_cell_computes_the_same():
    cell = seqjax.stack([seqjax.learned_initial_state(seqjax.lstm(3)), seqjax.gru(2)])
    params, xs = cell.init(jax.random.key(0), input_size=2), jnp.ones((4, 5, 2))
    again = pickle.loads(pickle.dumps(cell))
    jax.tree.map(np.testing.assert_array_equal, seqjax.unroll(again, params, xs), seqjax.unroll(cell, params, xs))


def test_an_equal_cell_as_a_static_argument_compiles_nothing(compilations):
    run = jax.jit(seqjax.unroll, static_argnums=0)
    params, xs = seqjax.lstm(3).init(jax.random.key(0), input_size=2), jnp.ones((4, 5, 2))
    run(seqjax.lstm(3), params, xs)
    with compilations() as compiled:
        run(seqjax.lstm(3), params, xs)
    assert not compiled


def test_a_cell_that_holds_a_key_is_equal_only_to_itself():
    make = partial(seqjax.weight_drop, seqjax.gru(3), 0.5)
    cell = make(key=jax.random.key(0))
    assert cell == cell and cell != make(key=jax.random.key(0))
