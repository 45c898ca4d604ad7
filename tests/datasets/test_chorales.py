import lzma
from pathlib import Path

import numpy as np
import pytest

from experiments import datasets
from experiments.datasets.chorales import chorales
from seqjax.data import read_text_dataset
from seqjax.data.splits import read_splits


@pytest.fixture(scope="module")
def pieces():
    return chorales.read_chorales()


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return datasets.builder("chorales", tmp_path_factory.mktemp("tfds"))


def test_the_chorales(pieces):
    assert len(pieces) == 364
    pitches = np.concatenate([chorales.pitches_of(text) for text in pieces.values()])
    assert pitches.shape == (79_268, 4)
    assert set(np.unique(pitches)) <= {0, *range(36, 82)}
    sounding = np.where(pitches > 0, pitches, np.nan)
    means = np.nanmean(sounding, axis=0)
    assert (np.diff(means) < -4).all()  # soprano, alto, tenor, bass
    assert chorales.pitches_of(pieces["bwv10.7"])[:9].tolist() == [[74, 67, 58, 55]] * 8 + [[77, 65, 60, 57]]


def test_no_music_is_in_two_parts_in_whatever_key(builder):
    parts = {part: list(examples) for part, examples in read_splits(builder).items()}
    assert {part: len(examples) for part, examples in parts.items()} == {"train": 299, "validation": 32, "test": 33}

    def intervals(example):
        pitches = chorales.pitches_of(example["text"].decode())
        return np.where(pitches > 0, pitches - pitches.max(), -1000).tobytes()

    music = {part: {intervals(example) for example in examples} for part, examples in parts.items()}
    names = [example["name"] for examples in parts.values() for example in examples]
    assert len(set(names)) == 364
    assert not music["train"] & (music["validation"] | music["test"])
    assert not music["validation"] & music["test"]


def test_a_piece_is_in_the_same_part_in_every_key(pieces):
    for text in list(pieces.values())[:30]:
        keys = {chorales.key_of(chorales.transpose(text, semitones)) for semitones in range(-5, 7)}
        assert len({chorales.Chorales.part_of(key) for key in keys}) == 1


def test_transposition_moves_pitches_and_keeps_rests():
    moved = chorales.transpose("mf]-\nmf]Z", -5)
    np.testing.assert_array_equal(chorales.pitches_of(moved), [[69, 62, 53, 0], [69, 62, 53, 50]])


def test_prepared_twice_gives_the_same_bytes(builder, tmp_path):
    def files(data_dir):
        return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    first = read_text_dataset(builder)
    assert read_text_dataset(datasets.builder("chorales", tmp_path)) == first
    assert files(tmp_path) == files(Path(builder.data_dir).parents[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no xz", "bad.xz: damaged"),
        (lzma.compress(b"a\tmf]Zmf]Zmf]Zmf]Z\nb\tmf]Z\n"), "bad.xz: line 2: expected a name, a tab and quarters"),
    ],
)
def test_damage_is_named(content, message, tmp_path):
    path = tmp_path / "bad.xz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        chorales.read_chorales(path)
