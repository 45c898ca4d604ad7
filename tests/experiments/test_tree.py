"""Expressions read as trees, and the script as a user runs it, tiny."""

import json
import re
from functools import partial

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments import tree
from experiments.datasets.listops import listops
from experiments.tree import PAIR, parse
from seqjax.models.tree_lstm import Tree

TINY = ["--batch_size=16", "--hidden_size=16", "--warmup_steps=5", "--checkpoint_every=1000", "--learning_rate=2e-2"]
IDS = {"[MAX": 1, "[MIN": 2, "]": 3}


def read(text, binary=False):
    symbols = text.split()
    return parse(symbols, [IDS.get(symbol) or 10 + int(symbol) for symbol in symbols], binary=binary)


def test_an_operation_has_its_arguments_as_children():
    assert read("[MAX 2 [MIN 4 7 ] 0 ]") == Tree(1, (Tree(12), Tree(2, (Tree(14), Tree(17))), Tree(10)))
    assert read("7") == Tree(17)


def test_pairs_lean_to_the_left_as_in_the_published_form():
    inner = Tree(PAIR, (Tree(PAIR, (Tree(PAIR, (Tree(2), Tree(14))), Tree(17))), Tree(3)))
    outer = Tree(PAIR, (Tree(PAIR, (Tree(PAIR, (Tree(1), Tree(12))), inner)), Tree(3)))
    assert read("[MAX 2 [MIN 4 7 ] ]", binary=True) == outer


@pytest.mark.parametrize("text", ["[MAX 2", "2 ]", "2 3", "", "[MAX ]", "[MAX 2 ] ]"])
def test_what_is_no_expression_is_named(text):
    with pytest.raises(ValueError, match=f"^not an expression: {re.escape(repr(text))}"):
        read(text)


class Short(tfds.core.GeneratorBasedBuilder):
    """Operations of two digits, and nothing but a training part."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        label = tfds.features.ClassLabel(num_classes=10)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"text": tfds.features.Text(), "label": label}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        rng = np.random.default_rng(0)
        for number in range(1600):
            symbols = [f"[{rng.choice(['MAX', 'MIN'])}", *map(str, rng.integers(0, 4, 2)), "]"]
            yield number, {"text": " ".join(symbols), "label": listops.value_of(symbols)}


@pytest.fixture(scope="module", autouse=True)
def short(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree.datasets, "builder", lambda name: Short(data_dir=data_dir))
        yield


@pytest.fixture(scope="module")
def run_main(run_experiment):
    return partial(run_experiment, tree)


@pytest.mark.parametrize("kind", ["child_sum", "binary"])
def test_a_run_learns_and_compares(kind, tmp_path, run_main):
    run_main(f"--run_folder={tmp_path}", *TINY, f"--tree={kind}", "--epochs=2")
    result = json.loads((tmp_path / "result.json").read_text())
    flat, most_frequent = result["baselines"].values()
    assert set(result["baselines"]) == {"% wrong, flat LSTM", "% wrong, most frequent class"}
    assert result["scores"]["% wrong"] < 30 < most_frequent and 0 <= flat < most_frequent
    first, *_, last = sorted((tmp_path / "samples").iterdir())
    assert re.match(r"\[M(AX|IN) \d \d \] is (\d), got \2\n", last.read_text())
    assert first.read_text() != last.read_text()


def test_too_few_expressions_are_named(run_main):
    with pytest.raises(ValueError, match=r"^--batch_size=1500: expected at most 1440 \(the training expressions\)"):
        run_main("--batch_size=1500")
