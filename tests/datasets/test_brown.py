import hashlib
import lzma
import subprocess
import sys

import pytest

from experiments import datasets
from experiments.datasets.brown import brown
from seqjax.data import read_tag_dataset, read_text_dataset


@pytest.fixture(scope="module")
def sentences():
    return list(brown.read_sentences())


@pytest.fixture(scope="module")
def press(sentences):
    return brown.documents(s for s in sentences if s.category in brown.PRESS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    return {name: read_text_dataset(datasets.builder(f"brown/{name}", data_dir)) for name in ("press", "all")}


def test_the_corpus(sentences):
    assert len(sentences) == 57_340
    assert len({s.text for s in sentences}) == 500
    assert all(s.text.startswith(f"c{s.category}") for s in sentences)
    assert sentences[0].words[:3] == ("The", "Fulton", "County") and sentences[0].tags[:3] == ("at", "np-tl", "nn-tl")
    assert sum(len(s.words) for s in sentences) == 1_161_192
    assert all(len(s.words) == len(s.tags) and all(s.words) and all(s.tags) for s in sentences)


@pytest.mark.parametrize(
    "tokens, text",
    [
        ("`` Hear , hear ! ! '' said Mr. Lee Jr. .", '"Hear, hear!" said Mr. Lee Jr.'),
        ("It was ( he said ) late ; ;", "It was (he said) late;"),
        ("'' ( Not one drop ! !", '" (Not one drop!'),
        ("``", '"'),
    ],
)
def test_running_text(tokens, text):
    assert brown.running_text(tokens.split()) == text


def test_running_text_of_the_press_is_the_published_one(press):
    assert len(press) == 1_065_779
    assert (
        hashlib.sha256(press.encode()).hexdigest() == "374d8cf430f10658d90445d2a62447907851e5f2330eaa2c376af691532cc8ad"
    )


def test_press_is_cut_by_characters_in_order(prepared, press):
    splits = prepared["press"]
    assert "".join(splits) == press
    assert len(splits.train) == len(press) * 90 // 100
    assert len(splits.train + splits.validation) == len(press) * 95 // 100


def test_all_differs_only_in_what_is_read_before_the_press(prepared, sentences):
    press, everything = prepared["press"], prepared["all"]
    assert everything[1:] == press[1:]
    assert everything.train.endswith("\n\n" + press.train)
    others = everything.train.removesuffix(press.train)
    assert others.count("\n") == sum(s.category not in brown.PRESS for s in sentences) + 412
    held_out = press.validation + press.test
    assert not any(held_out[k : k + 60] in others for k in range(0, len(held_out) - 60, 997))


def test_tags_are_split_by_texts_whose_sentences_stay_in_order(sentences, tmp_path):
    splits = read_tag_dataset(datasets.builder("brown/tags", tmp_path))
    assert [len(part) for part in splits] == [50_877, 2_655, 3_808]
    texts = {s.text for s in sentences}
    assert [sum(brown.part_of(text) == part for text in texts) for part in splits._fields] == [441, 25, 34]
    for part, found in splits._asdict().items():
        assert found == [(s.words, s.tags) for s in sentences if brown.part_of(s.text) == part]
    assert len({tag for part in splits for sentence in part for tag in sentence.tags}) == 472


def test_prepared_twice_gives_the_same_bytes(tmp_path):
    def prepare(data_dir):
        read_text_dataset(datasets.builder("brown/press", data_dir))
        return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    assert prepare(tmp_path / "a") == prepare(tmp_path / "b")


def test_needs_no_tensorflow(tmp_path):
    code = f"""if True:
        import sys
        from experiments import datasets
        from seqjax.data import read_text_dataset
        read_text_dataset(datasets.builder("brown/press", {str(tmp_path)!r}))
        sys.exit("tensorflow" in sys.modules)"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_unknown_names():
    with pytest.raises(Exception, match="no_such_set"):
        datasets.builder("no_such_set")


def test_a_damaged_corpus_is_named(tmp_path):
    path = tmp_path / "brown.tsv.xz"
    path.write_bytes(brown.PATH.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"brown\.tsv\.xz: damaged"):
        list(brown.read_sentences(path))


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "brown.tsv.xz"
    path.write_bytes(lzma.compress(b"a\tca01\tThe/at end/nn\na\tca01\tThe/at end\n"))
    with pytest.raises(ValueError, match=r"brown\.tsv\.xz: line 2: expected category, text and word/tag, .*, got"):
        list(brown.read_sentences(path))
