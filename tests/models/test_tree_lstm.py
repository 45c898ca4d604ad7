"""Tree-LSTMs, row by row, against the recursion of the paper's equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.models.tree_lstm import (
    Tree,
    TreeEncoder,
    child_sum_tree_lstm,
    evaluate_forest,
    make_forest,
    nary_tree_lstm,
)

H, VOCAB, ARITY = 3, 5, 3
CELLS = {"child_sum": child_sum_tree_lstm(H), "nary": nary_tree_lstm(H, ARITY)}
SHAPE = {"width": 4, "arity": ARITY, "rows_by": 12}
TREES = [
    Tree(4, (Tree(1), Tree(4, (Tree(2), Tree(3, (Tree(2), Tree(1), Tree(4))))), Tree(0))),
    Tree(2),
    Tree(3, (Tree(3, (Tree(3, (Tree(3, (Tree(1),)),)),)),)),
]


def sigma(z):
    return 1 / (1 + jnp.exp(-z))


def recursion(name, params, tree):
    """The equations, node by node: states (h, c)."""
    below = [recursion(name, params, child) for child in tree.children]
    w_i, w_g, w_o, w_f = jnp.split(params.input_kernel[tree.token] + params.bias, 4)
    u_i, u_g, u_o = jnp.split(params.recurrent_kernel, 3, axis=1)

    def block(matrix, k, columns=slice(None)):
        return matrix[k * H : (k + 1) * H, columns]

    if name == "child_sum":
        total = sum((h for h, _ in below), jnp.zeros(H))
        i, g, o = total @ u_i, total @ u_g, total @ u_o
        fs = [h @ params.forget_kernel for h, _ in below]
    else:
        i, g, o = (sum((h @ block(u, k) for k, (h, _) in enumerate(below)), jnp.zeros(H)) for u in (u_i, u_g, u_o))
        fs = [
            sum(h @ block(params.forget_kernel, place, slice(k * H, (k + 1) * H)) for place, (h, _) in enumerate(below))
            for k in range(len(below))
        ]
    kept = sum((sigma(w_f + f) * c for f, (_, c) in zip(fs, below, strict=True)), jnp.zeros(H))
    c = sigma(w_i + i) * jnp.tanh(w_g + g) + kept
    return sigma(w_o + o) * jnp.tanh(c), c


def random_params(name):
    like = jax.eval_shape(lambda key: CELLS[name].init(key, input_size=VOCAB), jax.random.key(0))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), like)


def roots(name, params, forest):
    xs = jax.nn.one_hot(forest.tokens, VOCAB, dtype=float)
    return jax.tree.map(lambda leaf: leaf[forest.roots], evaluate_forest(CELLS[name], params, xs, forest.children))


@pytest.mark.parametrize("name", CELLS)
def test_rows_equal_the_recursion_in_values_and_gradients(name, x64):
    params = random_params(name)
    forest = jax.tree.map(jnp.asarray, make_forest(TREES, **SHAPE))
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(2, len(TREES), H)))

    def by_rows(params):
        return jnp.stack(roots(name, params, forest))

    def by_recursion(params):
        return jnp.stack([jnp.stack(part) for part in zip(*(recursion(name, params, t) for t in TREES), strict=True)])

    for found in (by_rows, by_recursion):
        assert found(params).shape == (2, len(TREES), H)
    np.testing.assert_allclose(by_rows(params), by_recursion(params), rtol=1e-10)
    gradients = [jax.jit(jax.grad(lambda p, f=f: (weights * f(p)).sum()))(params) for f in (by_rows, by_recursion)]
    for one, other in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
        assert jnp.abs(one).max() > 0


def random_tree(rng, height):
    children = rng.integers(0, ARITY + 1) if height else 0
    return Tree(int(rng.integers(VOCAB)), tuple(random_tree(rng, height - 1) for _ in range(children)))


@pytest.mark.parametrize("seed", range(20))
def test_a_forest_is_its_trees_and_children_come_first(seed):
    rng = np.random.default_rng(seed)
    batch = [random_tree(rng, height=rng.integers(5)) for _ in range(rng.integers(1, 5))]
    width = int(rng.integers(1, 6))
    forest = make_forest(batch, width=width, arity=ARITY)
    tokens, children = forest.tokens.reshape(-1), forest.children.reshape(-1, ARITY)

    def rebuild(place):
        below = [child for child in children[place] if child < len(tokens)]
        assert all(child // width < place // width for child in below)
        return Tree(int(tokens[place]), tuple(rebuild(child) for child in below))

    assert [rebuild(root) for root in forest.roots] == batch
    padded = make_forest(batch, width=width, arity=ARITY, rows_by=4)
    assert padded.tokens.shape[0] == -(-forest.tokens.shape[0] // 4) * 4


def test_equal_shapes_compile_once_and_other_trees_do_not_matter(compilations):
    encoder = TreeEncoder(CELLS["child_sum"], VOCAB)
    forests = [make_forest(batch, **SHAPE) for batch in (TREES, [TREES[1], TREES[1], TREES[0]])]
    params = encoder.init(jax.random.key(0), forests[0])
    encode = jax.jit(encoder.apply)
    first = encode(params, forests[0])
    with compilations() as compiled:
        second = encode(params, forests[1])
    assert not compiled
    np.testing.assert_allclose(second[2], first[0], rtol=1e-6)


def test_child_sum_does_not_see_the_order_and_nary_does():
    params = {name: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), random_params(name)) for name in CELLS}
    swapped = TREES[0]._replace(children=TREES[0].children[::-1])
    forest = make_forest([TREES[0], swapped], **SHAPE)
    for name, same in (("child_sum", True), ("nary", False)):
        one, other = roots(name, params[name], jax.tree.map(jnp.asarray, forest)).h
        assert bool(jnp.allclose(one, other, atol=1e-6)) is same


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="^trees: expected at most 2 children, got 3"):
        make_forest(TREES, width=4, arity=2)
    with pytest.raises(ValueError, match="^hidden_size: expected at least 1, got 0"):
        child_sum_tree_lstm(0)


@pytest.mark.parametrize("name", CELLS)
def test_lowers(name, lowers):
    encoder = TreeEncoder(CELLS[name], VOCAB)
    forest = make_forest(TREES, **SHAPE)
    params = encoder.init(jax.random.key(0), forest)
    lowers(jax.grad(lambda params: encoder.apply(params, forest).sum()), params)
