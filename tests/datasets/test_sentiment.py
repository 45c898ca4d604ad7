import lzma
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from experiments import datasets
from experiments.datasets import word_vectors
from experiments.datasets.sentiment import sentiment
from seqjax.data import read_labelled_dataset

SIZES = {"tweets": (4200, 768, [2395, 332, 705]), "movie_reviews": (10_605, 533, [7042, 1028, 2002])}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    return {name: read_labelled_dataset(datasets.builder(f"sentiment/{name}", data_dir)) for name in SIZES}


@pytest.mark.parametrize("name", SIZES)
def test_what_is_not_neutral_is_an_example_in_order(prepared, name):
    count, neutral, sizes = SIZES[name]
    ratings = sentiment.read_ratings(sentiment.FOLDER / f"{name}.tsv.xz")
    assert len(ratings) == count
    assert sum(sentiment.is_neutral(rating) for rating, _ in ratings) == neutral
    splits, classes = prepared[name]
    assert classes == ["negative", "positive"]
    assert [len(part) for part in splits] == sizes and sum(sizes) == count - neutral
    for part_name, part in splits._asdict().items():
        assert part == [
            (text, int(rating > 0))
            for rating, text in ratings
            if abs(rating) >= 0.5 and sentiment.Sentiment.part_of(sentiment.words_of(text)) == part_name
        ]


@pytest.mark.parametrize("name", SIZES)
def test_no_words_are_in_two_parts(prepared, name):
    words = [{tuple(re.findall(r"\w+", text.casefold())) for text, _ in part} for part in prepared[name][0]]
    assert sum(map(len, words)) == len(set().union(*words))


def test_the_same_words_are_in_one_part_however_they_are_written():
    assert sentiment.words_of("ANGER IS UGLY!") == sentiment.words_of("Anger is ugly.")
    parts = Counter(sentiment.Sentiment.part_of(str(number)) for number in range(10_000))
    assert [round(parts[part] / 1000) for part in ("train", "validation", "test")] == [7, 1, 2]


def test_characters_of_html_are_read(prepared):
    texts = [text for text, _ in prepared["tweets"][0].train]
    assert not any("&amp;" in text or "&lt;" in text for text in texts)
    assert sum("<3" in text for text in texts) > 5


def test_prepared_twice_gives_the_same_bytes(tmp_path):
    def prepare(data_dir):
        read_labelled_dataset(datasets.builder("sentiment/tweets", data_dir))
        return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    assert prepare(tmp_path / "a") == prepare(tmp_path / "b")


def test_needs_no_tensorflow(tmp_path):
    code = f"""if True:
        import sys
        from experiments import datasets
        from seqjax.data import read_labelled_dataset
        read_labelled_dataset(datasets.builder("sentiment/tweets", {str(tmp_path)!r}))
        sys.exit("tensorflow" in sys.modules)"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("line", ["0.5\ttoo few digits", "9.0000\ttoo much", "1.0000 no tab", "1.0000\t ", ""])
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "bad.tsv.xz"
    path.write_bytes(lzma.compress(f"-0.5000\tfine\n{line}\n".encode()))
    with pytest.raises(ValueError, match=r"bad\.tsv\.xz: line 2: expected a rating, a tab and a text, got"):
        sentiment.read_ratings(path)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "tweets.tsv.xz"
    path.write_bytes((sentiment.FOLDER / "tweets.tsv.xz").read_bytes()[:10_000])
    with pytest.raises(ValueError, match=r"tweets\.tsv\.xz: damaged"):
        sentiment.read_ratings(path)
    path = tmp_path / "glove.npz"
    damaged = bytearray(word_vectors.PATH.read_bytes())
    damaged[1_000_000] ^= 0xFF
    for content in (bytes(damaged), bytes(damaged[:1000]), b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"glove\.npz: damaged"):
            word_vectors.read_vectors(path)


def test_vectors_of_words_of_like_meaning_are_alike():
    vectors = word_vectors.read_vectors()
    assert len(vectors) == 20_343 and {vector.shape for vector in vectors.values()} == {(100,)}
    good, great, table = (vectors[word] / np.linalg.norm(vectors[word]) for word in ("good", "great", "table"))
    assert good @ great > 0.7 > 0.6 > good @ table
