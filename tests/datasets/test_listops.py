import itertools
import random
import re
from collections import Counter

import numpy as np
import pytest

from experiments import datasets
from experiments.datasets.listops import listops
from seqjax.data.splits import read_splits


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[MAX 2 9 [MIN 4 7 ] 0 ]", 9),
        ("[MED 1 4 ]", 2),
        ("[MED 9 0 5 ]", 5),
        ("[SM 9 9 9 ]", 7),
        ("[SM [SM 5 5 ] [MED 3 8 1 8 ] [MIN 7 3 ] ]", 8),
        ("7", 7),
    ],
)
def test_values(text, value):
    assert listops.value_of(text.split()) == value


@pytest.mark.parametrize("values", list(itertools.product([0, 1, 9], repeat=4)))
def test_median_is_that_of_numpy_rounded_down(values):
    assert listops.OPERATORS["[MED"](values) == int(np.median(values))


@pytest.mark.parametrize(
    ("text", "message"),
    [("[MAX 2", "not one"), ("2 3", "not one"), ("", "not one"), ("[MAX ]", "']'"), ("]", "']'"), ("[AVG 2 ]", "AVG")],
)
def test_what_is_no_expression_is_named(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        listops.value_of(text.split())


def test_drawn_by_the_published_rules():
    rng = random.Random(1)
    drawn = [listops.draw(rng) for _ in range(20_000)]
    operations = [symbols for symbols in drawn if len(symbols) > 1]
    assert len(operations) / len(drawn) == pytest.approx(0.25, abs=0.015)
    flat = [symbols for symbols in operations if not set(symbols[1:]) & set(listops.OPERATORS)]
    arguments = Counter(len(symbols) - 2 for symbols in flat)
    assert set(arguments) == {2, 3, 4, 5}
    ratios = [arguments[n + 1] / arguments[n] for n in (2, 3, 4)]
    assert ratios == pytest.approx([0.75] * 3, abs=0.12)  # one more argument that has to be a digit
    operators = Counter(symbols[0] for symbols in operations)
    assert all(count / len(operations) == pytest.approx(0.25, abs=0.03) for count in operators.values())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two preparations of the first 2,000 expressions: their parts, and their bytes."""

    def prepare(data_dir):
        parts = {name: list(part) for name, part in read_splits(datasets.builder("listops", data_dir)).items()}
        return parts, {str(p.relative_to(data_dir)): p.read_bytes() for p in data_dir.rglob("*") if p.is_file()}

    with pytest.MonkeyPatch.context() as patch:
        few = list(listops.expressions(2000))
        patch.setattr(listops, "expressions", lambda: few)
        return few, [prepare(tmp_path_factory.mktemp(name)) for name in "ab"]


def test_no_expression_is_in_two_parts_and_none_is_lost(prepared):
    few, [(parts, _), _] = prepared
    texts = {name: [example["text"].decode() for example in part] for name, part in parts.items()}
    for name, part in texts.items():
        assert part == [" ".join(symbols) for symbols in few if listops.Listops.part_of(" ".join(symbols)) == name]
    joined = sum(texts.values(), [])
    assert len(joined) == len(set(joined)) == 2000
    shares = {name: len(part) / 2000 for name, part in texts.items()}
    assert shares == pytest.approx({"train": 0.9, "validation": 0.05, "test": 0.05}, abs=0.02)
    labels = [example["label"] for part in parts.values() for example in part]
    assert labels == [listops.value_of(text.split()) for text in joined]
    assert max(len(text.split()) for text in joined) <= listops.MAX_SYMBOLS


def test_prepared_twice_gives_the_same_bytes(prepared):
    _, [(_, first), (_, second)] = prepared
    assert first == second


def test_the_same_are_drawn_whatever_was_drawn_before():
    random.seed(3)
    assert list(listops.expressions(50)) == list(listops.expressions(200))[:50]
