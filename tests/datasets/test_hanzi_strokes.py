import lzma
from pathlib import Path

import numpy as np
import pytest

from experiments import datasets
from experiments.datasets.hanzi_strokes import hanzi_strokes
from seqjax.data.splits import read_splits


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return datasets.builder("hanzi_strokes", tmp_path_factory.mktemp("tfds"))


def test_the_characters(builder):
    parts = {part: list(examples) for part, examples in read_splits(builder).items()}
    assert {part: len(examples) for part, examples in parts.items()} == {"train": 8589, "validation": 496, "test": 489}
    of_character = {e["character"].decode(): e["points"] for part in parts.values() for e in part}
    assert len(of_character) == 9574  # so none is in two parts
    assert len({points.tobytes() for points in of_character.values()}) == 9574
    points = np.concatenate(list(of_character.values()))
    assert points.shape == (629_258, 3) and points.dtype == np.int16
    assert points[:, 2].sum() == 112_617 and set(points[:, 2]) == {0, 1}
    assert points[:, :2].min(axis=0).tolist() == [18, -96] and points[:, :2].max(axis=0).tolist() == [1014, 885]
    assert all(points[-1, 2] for points in of_character.values())
    ten = of_character["十"]  # a horizontal stroke from the left, then a vertical one from the top
    assert ten[:6].tolist() == [
        [109, 442, 0],
        [177, 422, 0],
        [373, 456, 0],
        [819, 505, 0],
        [869, 499, 0],
        [932, 476, 1],
    ]
    assert ten[:, 2].sum() == 2 and ten[6, 1] > ten[-1, 1]


def test_prepared_twice_gives_the_same_bytes(tmp_path, monkeypatch):
    few = list(hanzi_strokes.read_characters())[:300]
    monkeypatch.setattr(hanzi_strokes, "read_characters", lambda: iter(few))

    def prepare(data_dir):
        read_splits(datasets.builder("hanzi_strokes", data_dir))
        return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    assert prepare(tmp_path / "a") == prepare(tmp_path / "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no xz", "bad.xz: damaged"),
        (lzma.compress("一\t1,2;3,4\n二\t1,2 3\n".encode()), "bad.xz: line 2: expected a character, a tab and strokes"),
        (lzma.compress(b"a\t1,2;\n"), "bad.xz: line 1: expected"),
        (lzma.compress(b"a\t1,99999\n"), "bad.xz: line 1: expected"),
    ],
)
def test_damage_is_named(content, message, tmp_path):
    path = tmp_path / "bad.xz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(hanzi_strokes.read_characters(Path(path)))
