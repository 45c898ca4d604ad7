"""Structured input: LSTMs over trees of any shape, evaluated level by level.

Tai, Socher and Manning (2015). A step of an LSTM reads one previous state; a node reads those of its children `k`:

    child-sum                                     N-ary
    h~  = sum_k h_k
    i   = sigma(W_i x + U_i h~ + b_i)             i   = sigma(W_i x + sum_k U_ik h_k + b_i)
    f_k = sigma(W_f x + U_f h_k + b_f)            f_k = sigma(W_f x + sum_l U_fkl h_l + b_f)
    g   =  tanh(W_g x + U_g h~ + b_g)             g   =  tanh(W_g x + sum_k U_gk h_k + b_g)
    o   = sigma(W_o x + U_o h~ + b_o)             o   = sigma(W_o x + sum_k U_ok h_k + b_o)
    c   = i * g + sum_k f_k * c_k
    h   = o * tanh(c)

A node can be computed once its children are known. Therefore the nodes of a batch of trees are sorted by height and
laid out in rows of a fixed width, each with nodes of one height. A scan computes the rows one after another; the shape
of a row does not depend on the trees.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.serialization import from_state_dict, to_state_dict
from jax import lax
from jaxtyping import Array, Float, Int, Key

from seqjax.arguments import IntLike, as_count, at_least, check_symbols, is_symbol, is_traced, where_defined
from seqjax.by_value import by_value
from seqjax.cells import LSTMState
from seqjax.cells.contract import Params
from seqjax.layers.linen import one_hot


class Tree(NamedTuple):
    """A node and its descendants."""

    token: int
    children: tuple["Tree", ...] = ()


class Forest(NamedTuple):
    """The nodes of `B` trees in `R` rows of `W` places, sorted by height; a node has at most `N` children."""

    tokens: Int[np.ndarray, "R W"] | Int[Array, "R W"]  # 0 at empty places
    children: Int[np.ndarray, "R W N"] | Int[Array, "R W N"]  # places, counted from 0 across all rows; R * W: no child
    roots: Int[np.ndarray, " B"] | Int[Array, " B"]  # places of the roots


class TreeCell(NamedTuple):
    """A cell over trees: pure functions of its parameters and of the states of a node's children."""

    init: Callable[..., Params]  # (key, *, input_size) -> params
    initial_state: Callable[..., LSTMState]  # (params, batch_shape=()) -> the state of a missing child
    step: Callable[[Params, LSTMState, Array], LSTMState]  # leaves [*B, N, H], x [*B, I] -> leaves [*B, H]


class TreeLSTMParams(NamedTuple):
    """Parameters of a Tree-LSTM: gates i, g, o in this order, and the forget gates separately."""

    input_kernel: Float[Array, "I 4*H"]  # of i, g, o, f
    recurrent_kernel: Float[Array, "P 3*H"]  # P = H; N H if N-ary
    forget_kernel: Float[Array, "P F"]  # F = H; N H if N-ary
    bias: Float[Array, " 4*H"]


def make_forest(trees: Sequence[Tree], *, width: IntLike, arity: IntLike, rows_by: IntLike = 1) -> Forest:
    """Lays out the nodes of trees in rows; each row holds nodes of one height, and the leaves come first.

    Args:
      trees: one or more trees.
      width: number of places in a row, `W`.
      arity: maximum number of children of a node, `N`.
      rows_by: rounds the number of rows up to a multiple of this, so that few shapes are compiled.

    Raises:
      ValueError: if a node has more than `arity` children.

    >>> forest = make_forest([Tree(7, (Tree(1), Tree(2)))], width=2, arity=2)
    >>> forest.tokens.tolist(), forest.children.tolist(), forest.roots.tolist()
    ([[1, 2], [7, 0]], [[[4, 4], [4, 4]], [[0, 1], [4, 4]]], [2])
    """
    levels: list[list[tuple[int, list[tuple[int, int]]]]] = []  # each node's token and its children's (height, index)
    roots: list[tuple[int, int]] = []  # (height, index) of the trees that are laid out
    for node in _children_first(trees):
        if len(node.children) > arity:
            raise ValueError(f"trees: expected at most {arity} children, got {len(node.children)}")
        first_child = len(roots) - len(node.children)
        children, roots = roots[first_child:], roots[:first_child]
        height = 1 + max((height for height, _ in children), default=-1)
        if height == len(levels):
            levels.append([])
        levels[height].append((node.token, children))
        roots.append((height, len(levels[height]) - 1))
    starts = np.cumsum([0] + [-(-len(level) // width) for level in levels]) * width
    rows = -(-int(starts[-1]) // (width * rows_by)) * rows_by
    tokens = np.zeros(rows * width, np.int32)
    below = np.full((rows * width, arity), rows * width, np.int32)
    for start, level in zip(starts, levels, strict=False):
        for place, (token, children) in enumerate(level, start):
            tokens[place] = token
            below[place, : len(children)] = [starts[height] + number for height, number in children]
    places = np.array([starts[height] + number for height, number in roots], np.int32)
    return Forest(tokens.reshape(rows, width), below.reshape(rows, width, arity), places)


def _children_first(trees: Sequence[Tree]) -> Iterator[Tree]:
    """Lists the nodes of trees, each after its children, without recursion, because a tree may be deep."""
    nodes, waiting = [], list(trees)
    while waiting:
        nodes.append(waiting.pop())
        waiting.extend(nodes[-1].children)
    return reversed(nodes)


@by_value
def child_sum_tree_lstm(hidden_size: IntLike) -> TreeCell:
    """Builds the child-sum Tree-LSTM, which accepts any number of children and ignores their order.

    >>> cell = child_sum_tree_lstm(hidden_size=4)
    >>> params = cell.init(jax.random.key(0), input_size=3)
    >>> cell.step(params, cell.initial_state(params, (5,)), jnp.ones(3)).h.shape  # a node with five children
    (4,)
    """

    def gates(params: TreeLSTMParams, h: Float[Array, "*B N H"]) -> tuple[Array, Array]:
        return h.sum(-2) @ params.recurrent_kernel, h @ params.forget_kernel

    return _tree_lstm(hidden_size, 1, gates)


@by_value
def nary_tree_lstm(hidden_size: IntLike, arity: IntLike) -> TreeCell:
    """Builds the N-ary Tree-LSTM, with separate weights for each of at most `arity` children; binary if `arity` is 2.

    >>> cell = nary_tree_lstm(hidden_size=4, arity=2)
    >>> cell.init(jax.random.key(0), input_size=3).forget_kernel.shape
    (8, 8)
    """

    def gates(params: TreeLSTMParams, h: Float[Array, "*B N H"]) -> tuple[Array, Array]:
        joined = h.reshape(*h.shape[:-2], arity * hidden_size)
        return joined @ params.recurrent_kernel, (joined @ params.forget_kernel).reshape(h.shape)

    return _tree_lstm(hidden_size, as_count("arity", arity), gates)


def evaluate_forest(
    cell: TreeCell, params: Params, xs: Float[Array, "R W I"], children: Int[Array, "R W N"] | Int[np.ndarray, "R W N"]
) -> LSTMState:
    """Computes the states of all nodes, row by row.

    Args:
      cell: the cell.
      params: its parameters.
      xs: inputs of the nodes.
      children: the places of each node's children, all in earlier rows, as in `Forest`.

    Returns:
      The states by place, leaves [R W, H].

    Raises:
      ValueError: outside `jit`, for a child that is not in an earlier row; under `jit`, the states above it are NaN.
    """
    rows, width, _ = xs.shape
    missing, starts = rows * width, width * np.arange(rows)[:, None, None]
    if not is_traced(children):
        wrong = np.argwhere((np.asarray(children) != missing) & ~_between(np.asarray(children), 0, starts))
        for row, place, child in wrong[:1]:
            got = children[row, place, child]
            raise ValueError(f"children: expected places in earlier rows, got {got} in row {row}, position {place}")
    children = jnp.asarray(children)

    def step(states: LSTMState, inputs: tuple[Array, Array, Array]) -> tuple[LSTMState, None]:
        row, x, below = inputs
        earlier = ((below == missing) | _between(below, 0, row * width))[..., None]
        new = cell.step(params, jax.tree.map(lambda leaf: where_defined(earlier, leaf[below]), states), x)
        return jax.tree.map(lambda old, n: lax.dynamic_update_slice_in_dim(old, n, row * width, 0), states, new), None

    start = cell.initial_state(params, (rows * width + 1,))  # the last is the missing child
    xs = at_least(xs, start.h.dtype)
    states, _ = lax.scan(step, start, (jnp.arange(rows, dtype=jnp.int32), xs, children))
    return jax.tree.map(lambda leaf: leaf[:-1], states)


class TreeEncoder(nn.Module):
    """Encodes each tree as the hidden state of its root; tokens are one-hot vectors.

    >>> encoder = TreeEncoder(child_sum_tree_lstm(hidden_size=4), vocab_size=8)
    >>> forest = make_forest([Tree(7, (Tree(1), Tree(2))), Tree(3)], width=4, arity=2)
    >>> encoder.init_with_output(jax.random.key(0), forest)[0].shape
    (2, 4)
    """

    cell: TreeCell
    vocab_size: int

    @nn.compact
    def __call__(self, forest: Forest) -> Float[Array, "B H"]:
        """Returns the hidden states of the roots."""

        def init(key: Key[Array, ""]) -> Any:
            return self.cell.init(key, input_size=self.vocab_size)

        tree = self.param("tree_lstm", lambda key: to_state_dict(init(key)))
        params = from_state_dict(jax.eval_shape(init, jax.random.key(0)), tree)
        check_symbols("tokens", forest.tokens, self.vocab_size)
        states = evaluate_forest(self.cell, params, one_hot(forest.tokens, self.vocab_size), forest.children)
        check_symbols("roots", forest.roots, len(states.h))
        return where_defined(is_symbol(forest.roots, len(states.h))[:, None], states.h[forest.roots])


def _between(places: Any, start: Any, end: Any) -> Any:
    return (places >= start) & (places < end)


def _tree_lstm(
    hidden_size: IntLike, kernels: int, gates: Callable[[TreeLSTMParams, Array], tuple[Array, Array]]
) -> TreeCell:
    """Builds the Tree-LSTM in which `gates` computes the recurrent products of i, g and o, and of each f."""
    hidden_size = as_count("hidden_size", hidden_size)

    def init(key: Key[Array, ""], *, input_size: IntLike) -> TreeLSTMParams:
        input_key, recurrent_key, forget_key = jax.random.split(key, 3)
        orthogonal = jax.nn.initializers.orthogonal()

        def blocks(key: Key[Array, ""], columns: int) -> Float[Array, "P M"]:  # an orthogonal matrix for each gate
            keys = jax.random.split(key, (kernels, columns))
            square = jax.vmap(jax.vmap(lambda key: orthogonal(key, (hidden_size, hidden_size))))(keys)
            return square.transpose(0, 2, 1, 3).reshape(kernels * hidden_size, columns * hidden_size) / kernels**0.5

        return TreeLSTMParams(
            input_kernel=jax.nn.initializers.glorot_uniform()(input_key, (input_size, 4 * hidden_size)),
            recurrent_kernel=blocks(recurrent_key, 3),
            forget_kernel=blocks(forget_key, kernels),
            bias=jnp.zeros(4 * hidden_size).at[3 * hidden_size :].set(1.0),  # forget gates start open
        )

    def initial_state(params: TreeLSTMParams, batch_shape: tuple[int, ...] = ()) -> LSTMState:
        zero = jnp.zeros((*batch_shape, hidden_size), params.bias.dtype)
        return LSTMState(zero, zero)

    def step(params: TreeLSTMParams, children: LSTMState, x: Float[Array, "*B I"]) -> LSTMState:
        wx = x @ params.input_kernel
        wx_igo, wx_f = jnp.split(wx + jnp.broadcast_to(params.bias, wx.shape), [3 * hidden_size], axis=-1)
        u_igo, u_f = gates(params, children.h)
        i, g, o = jnp.split(wx_igo + u_igo, 3, axis=-1)
        f = jax.nn.sigmoid(wx_f[..., None, :] + u_f)
        c = jax.nn.sigmoid(i) * jnp.tanh(g) + (f * children.c).sum(-2)
        return LSTMState(jax.nn.sigmoid(o) * jnp.tanh(c), c)

    return TreeCell(init, initial_state, step)
