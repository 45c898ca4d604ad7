"""The model of pen movements: causal, alike in whole sequences and in steps, and blind to padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax
from seqjax.layers.linen import Recurrent
from seqjax.models.stroke_model import START, StrokeModel

LENGTHS = jnp.array([5, 3, 0])
CLASSES = jnp.array([1, 0, 1])


def make(num_classes=None, **options):
    recurrent = Recurrent(seqjax.lstm(hidden_size=6), layers=2)
    model = StrokeModel(7, recurrent, num_classes, **options)
    movements = jax.random.normal(jax.random.key(0), (3, 5, 4))
    classes = None if num_classes is None else CLASSES
    return model, model.init(jax.random.key(1), movements, LENGTHS, classes), movements, classes


@pytest.mark.parametrize("num_classes", [None, 2])
def test_steps_agree_with_the_whole(num_classes):
    model, params, movements, classes = make(num_classes)
    whole = model.apply(params, movements, LENGTHS, classes)
    state = model.apply(params, classes, batch_size=3, method="start")
    known = jnp.tile(START, (3, 1))
    for t in range(5):
        state, features = model.apply(params, state, known, classes, method="step")
        known = movements[:, t]
        np.testing.assert_allclose(features[LENGTHS > t], whole[LENGTHS > t, t], atol=1e-6)
    np.testing.assert_allclose(state.position, movements[:, :4, :2].sum(axis=1), atol=1e-6)


def test_a_feature_depends_on_all_earlier_movements_and_no_other():
    model, params, movements, _ = make()
    jacobian = jax.jacobian(lambda m: model.apply(params, m[None], jnp.array([5]))[0].sum(axis=-1))(movements[0])
    depends = np.abs(jacobian).max(axis=-1) > 0  # [predicted, known]
    np.testing.assert_array_equal(depends, np.tri(5, k=-1, dtype=bool))


def test_padding_does_not_matter():
    model, params, movements, _ = make()
    unknown = jnp.where((jnp.arange(5)[None] < LENGTHS[:, None])[..., None], movements, jnp.nan)

    def loss(params, movements):
        return model.apply(params, movements, LENGTHS).sum()

    for clean, padded in zip(
        jax.tree.leaves(jax.value_and_grad(loss)(params, movements)),
        jax.tree.leaves(jax.value_and_grad(loss)(params, unknown)),
        strict=True,
    ):
        np.testing.assert_array_equal(clean, padded)


def test_the_class_matters():
    model, params, movements, _ = make(2)
    one, other = (model.apply(params, movements, LENGTHS, jnp.full(3, c)) for c in (0, 1))
    assert jnp.abs(one - other)[0].min() > 0


def test_dropout_is_random_only_in_training():
    model, params, movements, _ = make(dropout_rate=0.5)
    draws = [model.apply(params, movements, LENGTHS, None, False, rngs={"dropout": jax.random.key(k)}) for k in (0, 1)]
    assert jnp.abs(draws[0] - draws[1]).max() > 0
    fixed = [model.apply(params, movements, LENGTHS) for _ in range(2)]
    np.testing.assert_array_equal(*fixed)


@pytest.mark.parametrize(("num_classes", "classes"), [(None, CLASSES), (2, None), (2, jnp.array([0, 2, 0]))])
def test_wrong_classes_are_refused(num_classes, classes):
    model, params, movements, _ = make(num_classes)
    with pytest.raises(ValueError, match="^classes: expected"):
        model.apply(params, movements, LENGTHS, classes)
