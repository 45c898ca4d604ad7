"""Structured input: what a nested expression comes to, read as the tree that it is.

    python -m experiments.tree

trains a Tree-LSTM to work out ListOps, `[MAX 2 9 [MIN 4 7 ] 0 ]`, from the digits and operations to the whole; at the
end its errors stand beside those of an LSTM that was trained as long on the same batches and read them symbol by
symbol. `--tree=binary` reads them as pairs, `((([MAX 2) 9) ...) ])`. Other expressions in brackets: `--dataset=NAME` of
any TFDS set with a text of that form and a label.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float
from tqdm import tqdm

from experiments import datasets
from experiments.harness import recipe
from experiments.harness.errors import UsageError, blame
from experiments.harness.launch import launch
from experiments.harness.settings import setting
from experiments.harness.task import Batches, Objective, Task, Test, Validation
from experiments.harness.train import Run, train
from seqjax.cells.catalogue import CELLS
from seqjax.data import SymbolVocabulary
from seqjax.data.splits import cut_missing_parts, read_splits
from seqjax.layers.linen import Recurrent
from seqjax.models.tree_lstm import Forest, Tree, TreeEncoder, child_sum_tree_lstm, make_forest, nary_tree_lstm
from seqjax.training import LossFn, init_train_state, make_train_step
from seqjax.training.losses import mean_nll

PAIR = 0  # what stands at a node that only joins two others
END = "]"  # what ends an expression that a symbol like "[MAX" begins


@dataclass(frozen=True)
class Settings(recipe.Layers, recipe.Optimization, Run):
    """Expressions and trees."""

    dataset: str = setting("listops", "TFDS data set of expressions in brackets.")
    tree: str = setting("child_sum", "Tree-LSTM.", choices=["child_sum", "binary"])
    hidden_size: int = 128
    batch_size: int = 64
    epochs: float = 6.0
    learning_rate: float = 4e-3


class Part(NamedTuple):
    """Expressions, symbol by symbol, and their values."""

    expressions: list[list[str]]
    values: np.ndarray


class Batch(NamedTuple):
    """What a model reads, and what it is to say."""

    inputs: Any
    values: np.ndarray


class Contender(NamedTuple):
    """A model, and how it is handed expressions."""

    model: nn.Module
    collate: Callable[[Sequence[list[str]]], Any]


class TreeClassifier(nn.Module):
    """Says what a tree comes to by the state of its root."""

    encoder: TreeEncoder
    classes: int

    @nn.compact
    def __call__(self, forest: Forest) -> Float[Array, "B V"]:
        return nn.Dense(self.classes)(self.encoder(forest))


class FlatClassifier(nn.Module):
    """Says what a row of symbols comes to by the state after its last."""

    recurrent: Recurrent
    vocab_size: int
    classes: int

    @nn.compact
    def __call__(self, inputs: tuple[Array, Array]) -> Float[Array, "B V"]:
        tokens, lengths = inputs
        _, ys = self.recurrent(jax.nn.one_hot(tokens, self.vocab_size), lengths=jnp.asarray(lengths))
        return nn.Dense(self.classes)(ys[jnp.arange(len(ys)), lengths - 1])


def parse(symbols: Sequence[str], ids: Sequence[int], *, binary: bool) -> Tree:
    """Reads an expression as a tree: of each operation and its arguments, or of pairs.

    Raises:
      ValueError: it is no expression.
    """
    open_nodes: list[tuple[int, list[Tree]]] = [(PAIR, [])]
    for symbol, token in zip(symbols, ids, strict=True):
        if symbol.startswith("["):
            open_nodes.append((int(token), []))
        elif symbol != END:
            open_nodes[-1][1].append(Tree(int(token)))
        else:
            operation, arguments = open_nodes.pop()
            if not open_nodes or not arguments:
                raise ValueError(f"not an expression: {' '.join(symbols)!r}")
            tree = Tree(operation, tuple(arguments))
            if binary:
                tree = Tree(operation)
                for right in [*arguments, Tree(int(token))]:
                    tree = Tree(PAIR, (tree, right))
            open_nodes[-1][1].append(tree)
    [(_, trees), *unfinished] = open_nodes
    if unfinished or len(trees) != 1:
        raise ValueError(f"not an expression: {' '.join(symbols)!r}")
    return trees[0]


def read_parts(builder: Any) -> tuple[Part, Part, Part]:
    """Reads the training, validation and test part of a data set with a `text` and a `label`."""
    if not {"text", "label"} <= set(builder.info.features):
        raise ValueError(f"{builder.info.full_name}: expected a 'text' and a 'label', got {builder.info.features}")
    parts = {split: list(examples) for split, examples in read_splits(builder).items()}
    return tuple(
        Part([e["text"].decode().split() for e in part], np.array([e["label"] for e in part]))
        for part in cut_missing_parts(**parts)
    )


def tree_contender(settings: Settings, vocabulary: SymbolVocabulary, classes: int) -> Contender:
    """Makes the model that reads trees."""
    binary = settings.tree == "binary"
    arity = 2 if binary else 5
    cell = nary_tree_lstm(settings.hidden_size, 2) if binary else child_sum_tree_lstm(settings.hidden_size)

    def collate(expressions: Sequence[list[str]]) -> Forest:
        trees = [parse(e, vocabulary.encode(e, allow_unknown=True), binary=binary) for e in expressions]
        return make_forest(trees, width=64, arity=arity, rows_by=16)

    return Contender(TreeClassifier(TreeEncoder(cell, vocabulary.size), classes), collate)


def flat_contender(settings: Settings, vocabulary: SymbolVocabulary, classes: int) -> Contender:
    """Makes the model that reads one symbol after the other."""
    recurrent = Recurrent(CELLS[settings.cell](settings.hidden_size), layers=settings.layers)

    def collate(expressions: Sequence[list[str]]) -> tuple[np.ndarray, np.ndarray]:
        lengths = np.array([len(e) for e in expressions], np.int32)
        tokens = np.zeros((len(lengths), -(-lengths.max() // 32) * 32), np.int32)
        for row, expression in zip(tokens, expressions, strict=True):
            row[: len(expression)] = vocabulary.encode(expression, allow_unknown=True)
        return tokens, lengths

    return Contender(FlatClassifier(recurrent, vocabulary.size, classes), collate)


def make_loss(model: nn.Module) -> LossFn:
    """Makes the loss of a batch, and the share of expressions whose value is wrong."""

    def loss_fn(params: Any, carry: Any, batch: Batch, key: jax.Array | None) -> Any:
        logits = model.apply(params, batch.inputs)
        wrong = jnp.mean(logits.argmax(-1) != batch.values)
        return mean_nll(logits, jnp.asarray(batch.values)), (carry, {"percent_wrong": 100 * wrong})

    return loss_fn


def make_task(settings: Settings, parts: tuple[Part, Part, Part], classes: int) -> Task:
    """Makes the task of training a Tree-LSTM, with a flat LSTM as its baseline."""
    training, validation, test = parts
    vocabulary = SymbolVocabulary.from_sequences(training.expressions)
    tree = tree_contender(settings, vocabulary, classes)
    steps_per_epoch = len(training.values) // settings.batch_size
    if steps_per_epoch == 0:
        raise UsageError(
            f"--batch_size={settings.batch_size}: there are {len(training.values)} expressions to train on"
        )
    steps = round(settings.epochs * steps_per_epoch)

    def batch(contender: Contender, position: int) -> Batch:
        epoch, place = divmod(position, steps_per_epoch)
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(training.values))
        chosen = order[place * settings.batch_size : (place + 1) * settings.batch_size]
        return Batch(contender.collate([training.expressions[i] for i in chosen]), training.values[chosen])

    def init(contender: Contender, key: jax.Array) -> Any:
        return jax.jit(contender.model.init)(key, batch(contender, 0).inputs)

    def percent_wrong(contender: Contender, predict: Callable[[Any, Any], Array], params: Any, part: Part) -> float:
        wrong = 0
        for start in range(0, len(part.values), settings.batch_size):
            values = part.values[start : start + settings.batch_size]
            logits = predict(params, contender.collate(part.expressions[start : start + settings.batch_size]))
            wrong += (np.asarray(logits).argmax(-1) != values).sum()
        return 100 * float(wrong) / len(part.values)

    predict = jax.jit(tree.model.apply)

    def baselines() -> dict[str, float]:
        flat = flat_contender(settings, vocabulary, classes)
        optimizer = recipe.make_optimizer(settings, steps)
        init_key, train_key = jax.random.split(jax.random.key(settings.seed))
        state = init_train_state(init(flat, init_key), optimizer, (), train_key)
        train_step = make_train_step(make_loss(flat.model), optimizer, settings.max_grad_norm)
        for position in tqdm(range(steps), desc=f"the flat {settings.cell}", mininterval=1.0, dynamic_ncols=True):
            state, _ = train_step(state, batch(flat, position))
        return {
            f"% wrong, a flat {settings.cell}": percent_wrong(flat, jax.jit(flat.model.apply), state.params, test),
            "% wrong, the most frequent": 100 * float((test.values != np.bincount(training.values).argmax()).mean()),
        }

    def sample(params: Any, key: jax.Array) -> str:
        answers = predict(params, tree.collate(validation.expressions[:5])).argmax(-1)
        rows = zip(validation.expressions, validation.values, np.asarray(answers), strict=False)
        return "\n".join(f"{' '.join(expression)} is {value}, got {answer}" for expression, value, answer in rows)

    return Task(
        title=f"expressions of {settings.dataset}, {settings.tree} Tree-LSTM",
        objective=Objective(
            lambda key: (init(tree, key), ()),
            make_loss(tree.model),
            recipe.make_optimizer(settings, steps),
            settings.max_grad_norm,
        ),
        batches=Batches(
            partial(batch, tree),
            steps,
            steps_per_epoch,
            units_per_step=settings.batch_size,
            unit="expression",
        ),
        validation=Validation(
            "percent_wrong",
            lambda params: {"percent_wrong": percent_wrong(tree, predict, params, validation)},
            sample,
        ),
        test=Test(lambda params: {"% wrong": percent_wrong(tree, predict, params, test)}, baselines),
        symbols={"vocabulary": vocabulary.to_list()},
    )


def main(settings: Settings) -> None:
    with blame("dataset", settings.dataset):
        builder = datasets.prepared(settings.dataset)
        parts = read_parts(builder)
    train(make_task(settings, parts, builder.info.features["label"].num_classes), settings, "tree")


if __name__ == "__main__":
    launch(main, Settings, needs=("array_record",))
