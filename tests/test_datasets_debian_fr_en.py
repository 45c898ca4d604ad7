import lzma
import re
import subprocess
import sys

import pytest

from experiments import datasets
from experiments.datasets import pair_file
from experiments.datasets.debian_fr_en import debian_fr_en
from seqjax.data import read_pair_dataset


@pytest.fixture(scope="module")
def pairs():
    return list(debian_fr_en.read_sentence_pairs())


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Every 100th line, as the file that is there."""
    path = tmp_path / "few.tsv.xz"
    lines = lzma.decompress(debian_fr_en.PATH.read_bytes()).decode().splitlines(keepends=True)
    path.write_bytes(lzma.compress("".join(lines[::100]).encode()))
    monkeypatch.setattr(debian_fr_en.read_sentence_pairs, "__defaults__", (path,))
    return list(debian_fr_en.read_sentence_pairs())


def test_the_sentences(pairs):
    assert len(pairs) == 62_902
    assert pairs[0].key == "lightyearsintospaceiswritteninpythonusingpygame"
    assert ("GNU C Library: Shared libraries", "bibliothèque C GNU : bibliothèques partagées") in {p[1:] for p in pairs}
    assert not any(re.search("[⋅’–]|  ", pair.source + pair.target) for pair in pairs)


def test_no_sentence_is_in_two_parts(pairs):
    parts = {part: [pair for pair in {*pairs} if pair_file.part_of(pair.key) == part] for part in pair_file.PARTS}
    assert {part: len(chosen) for part, chosen in parts.items()} == {
        "train": 59_023,
        "validation": 1_883,
        "test": 1_918,
    }
    for alike in (lambda pair: pair.source, lambda pair: re.sub("[0-9]", "", pair.source.lower())):
        train, validation, test = ({alike(pair) for pair in chosen} for chosen in parts.values())
        assert not (train & validation or train & test or validation & test)


def test_prepared_twice_gives_the_same_pairs_and_bytes(tmp_path, few):
    def prepare(data_dir):
        splits = read_pair_dataset(datasets.builder("debian_fr_en", data_dir))
        for part, chosen in splits._asdict().items():
            assert chosen == [pair[1:] for pair in few if pair_file.part_of(pair.key) == part]
        return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    assert prepare(tmp_path / "a") == prepare(tmp_path / "b")


def test_needs_no_tensorflow(tmp_path):
    code = """if True:
        import sys
        from experiments import datasets
        datasets.builder("debian_fr_en")
        sys.exit("tensorflow" in sys.modules)"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("line", ["one", "one\t", "one\ttwo\tthree", ""])
def test_bad_lines_are_named(tmp_path, line):
    path = tmp_path / "bad.tsv.xz"
    path.write_bytes(lzma.compress(f"good\tbon\n{line}\n".encode()))
    with pytest.raises(ValueError, match=r"bad\.tsv\.xz: line 2: expected 2 columns"):
        list(debian_fr_en.read_sentence_pairs(path))


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "cut.tsv.xz"
    path.write_bytes(debian_fr_en.PATH.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"cut\.tsv\.xz: damaged"):
        list(debian_fr_en.read_sentence_pairs(path))
