"""The data sets of pairs that lie in one compressed file each."""

import lzma
import re
import subprocess
import sys

import pytest

from experiments import datasets
from experiments.datasets import pair_file
from experiments.datasets.debian_fr_en import debian_fr_en
from experiments.datasets.debian_synopsis import debian_synopsis
from experiments.datasets.dialogue import dialogue
from seqjax.data import read_pair_dataset
from seqjax.data.splits import SPLITS

READERS = {
    "debian_fr_en": debian_fr_en.read_sentence_pairs,
    "debian_synopsis": debian_synopsis.read_synopses,
    "dialogue": dialogue.read_replies,
}
SIZES = {
    "debian_fr_en": {"train": 58_911, "validation": 1_893, "test": 1_974},
    "debian_synopsis": {"train": 29_858, "validation": 913, "test": 994},
    "dialogue": {"train": 75_327, "validation": 2_079, "test": 1_851},
}
every_set = pytest.mark.parametrize("name", READERS)


def parts(pairs):
    """The pairs of each part, each where it stands first."""
    keys = {}
    for pair in pairs:
        keys.setdefault(pair[1:], pair.key)
    return {part: [pair for pair in keys if pair_file.PairBuilder.part_of(keys[pair]) == part] for part in SPLITS}


def only_letters(text):
    return "".join(filter(str.isalpha, text.lower()))


@pytest.fixture(scope="module")
def pairs():
    return {name: list(read()) for name, read in READERS.items()}


def test_the_sentences(pairs):
    sentences = pairs["debian_fr_en"]
    assert len(sentences) == 62_856
    assert ("GNU C Library: Shared libraries", "bibliothèque C GNU : bibliothèques partagées") in {
        pair[1:] for pair in sentences
    }
    assert not any(re.search("[⋅’–]|  ", pair.source + pair.target) for pair in sentences)
    english = [{only_letters(source) for source, _ in part} for part in parts(sentences).values()]
    assert sum(map(len, english)) == len(set.union(*english))


def test_the_synopses(pairs):
    synopses = pairs["debian_synopsis"]
    assert max(len(pair.source.split()) for pair in synopses) == 30
    for side in (0, 1):
        texts = [{pair[side] for pair in part} for part in parts(synopses).values()]
        assert sum(map(len, texts)) == len(set.union(*texts))


def test_the_conversations(pairs):
    replies = pairs["dialogue"]
    assert len({pair.key for pair in replies}) == 2_000
    assert all(f"{pair.source}\t{pair.target}" in pair.key for pair in replies[:1000])


@every_set
def test_parts(pairs, name):
    assert {part: len(chosen) for part, chosen in parts(pairs[name]).items()} == SIZES[name]


@every_set
def test_prepared_twice_gives_the_same_pairs_and_bytes(tmp_path, monkeypatch, name):
    [path] = READERS[name].__defaults__
    lines = lzma.decompress(path.read_bytes()).decode().splitlines(keepends=True)[::20]
    few = tmp_path / "few.tsv.xz"
    few.write_bytes(lzma.compress("".join(lines + lines).encode()))  # each pair twice
    monkeypatch.setattr(READERS[name], "__defaults__", (few,))

    def prepare(data_dir):
        splits = read_pair_dataset(datasets.builder(name, data_dir))
        for part, chosen in parts(list(READERS[name]())).items():
            assert getattr(splits, part) == chosen
        return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    assert prepare(tmp_path / "a") == prepare(tmp_path / "b")


def test_needs_no_tensorflow():
    code = f"""if True:
        import sys
        from experiments import datasets
        for name in {list(READERS)}:
            datasets.builder(name)
        sys.exit("tensorflow" in sys.modules)"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@every_set
@pytest.mark.parametrize("line", ["one", "one\t", ""])
def test_bad_lines_are_named(tmp_path, name, line):
    path = tmp_path / "bad.tsv.xz"
    path.write_bytes(lzma.compress(f"good\tbon\n{line}\n".encode()))
    with pytest.raises(ValueError, match=r"bad\.tsv\.xz: line 2: expected .+ columns"):
        list(READERS[name](path))


@every_set
def test_a_damaged_file_is_named(tmp_path, name):
    path = tmp_path / "cut.tsv.xz"
    path.write_bytes(READERS[name].__defaults__[0].read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"cut\.tsv\.xz: damaged"):
        list(READERS[name](path))
