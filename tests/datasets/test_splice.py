import lzma
import re
from collections import Counter

import pytest

from experiments import datasets
from experiments.datasets.splice import splice
from seqjax.data import read_labelled_dataset


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return read_labelled_dataset(datasets.builder("splice", tmp_path_factory.mktemp("tfds")))


def test_each_window_is_in_one_part(prepared):
    splits, classes = prepared
    assert classes == ["ei", "ie", "n"]
    assert [len(part) for part in splits] == [2143, 291, 566]
    windows = [window for part in splits for window, _ in part]
    assert len(windows) == len(set(windows)) == 3000  # of 3,186: 185 stand there again, and one has two classes
    assert all(re.fullmatch("[ACGT]{60}", window) for window in windows)
    assert Counter(label for part in splits for _, label in part) == {2: 1652, 0: 679, 1: 669}


def test_most_junctions_have_the_letters_that_the_splicing_needs(prepared):
    train = prepared[0].train
    donors = [window[30:32] for window, label in train if label == 0]
    acceptors = [window[28:30] for window, label in train if label == 1]
    assert donors.count("GT") > 0.95 * len(donors) and acceptors.count("AG") > 0.95 * len(acceptors)


def test_prepared_twice_gives_the_same_bytes(tmp_path):
    def prepare(data_dir):
        read_labelled_dataset(datasets.builder("splice", data_dir))
        return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    assert prepare(tmp_path / "a") == prepare(tmp_path / "b")


def test_a_window_counts_once_and_not_at_all_if_it_has_two_classes(tmp_path):
    path = tmp_path / "few.tsv.xz"
    lines = [f"n\t{'A' * 60}", f"ei\t{'C' * 60}", f"n\t{'A' * 60}", f"ie\t{'C' * 60}"]
    path.write_bytes(lzma.compress("\n".join(lines).encode()))
    assert splice.read_windows(path) == {"A" * 60: "n"}


@pytest.mark.parametrize("line", [f"n\t{'A' * 59}", f"x\t{'A' * 60}", f"n {'A' * 60}", f"n\t{'N' * 60}"])
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "bad.tsv.xz"
    path.write_bytes(lzma.compress(f"n\t{'A' * 60}\n{line}\n".encode()))
    with pytest.raises(ValueError, match=r"bad\.tsv\.xz: line 2: expected a class, a tab and 60 letters, got"):
        splice.read_windows(path)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "splice.tsv.xz"
    path.write_bytes(splice.PATH.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"splice\.tsv\.xz: damaged"):
        splice.read_windows(path)
