import pytest
import tensorflow_datasets as tfds

from seqjax.data import read_labelled_dataset, read_labelled_folder, split_labelled


class TinyLabelled(tfds.core.GeneratorBasedBuilder):
    """Labelled texts; the config says what is unusual about the set."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("labelled", "no_train", "short", "glue")]

    def _info(self):
        features = {"words": tfds.features.Text(), "stars": tfds.features.ClassLabel(names=["one", "two", "three"])}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        counts = {"no_train": {"test": 3}, "short": {"train": 5}}
        counts = counts.get(self.builder_config.name, {"train": 40, "test": 3, "unsupervised": 2})
        return {split: self._generate_examples(split, count) for split, count in counts.items()}

    def _generate_examples(self, split, count):
        for k in range(count):
            no_label = split == ("test" if self.builder_config.name == "glue" else "unsupervised")
            yield k, {"words": f"forêt {k}", "stars": -1 if no_label else k % 3}


def tiny(tmp_path, config):
    return tfds.builder(f"tiny_labelled/{config}", data_dir=tmp_path)


def test_texts_in_order_and_the_missing_part_cut_from_each_class(tmp_path):
    splits, classes = read_labelled_dataset(tiny(tmp_path, "labelled"), text="words", label="stars")
    labelled = [(f"forêt {k}", k % 3) for k in range(40)]
    cut = slice(3 * 8, 3 * 9)  # the ninth of each class
    assert splits == (labelled[: cut.start] + labelled[cut.stop :], labelled[cut], labelled[:3])
    assert classes == ["one", "two", "three"]


@pytest.mark.parametrize("missing", [{"validation", "test"}, {"validation"}, {"test"}, set()])
def test_each_class_is_cut_alike_though_the_texts_come_class_by_class(missing):
    given = {part: [("given", 0)] for part in {"validation", "test"} - missing}
    splits = split_labelled([(f"{label} {k}", label) for label in range(3) for k in range(50)], **given)
    for part, texts in splits._asdict().items():
        expected = 50 - 5 * len(missing) if part == "train" else 5
        assert texts == given.get(part) or [[label for _, label in texts].count(k) for k in range(3)] == [expected] * 3
    texts = [text for part in splits._asdict().keys() - given for text, _ in getattr(splits, part)]
    assert len(texts) == len(set(texts)) == 150


def write_texts(folder, texts):
    for name, text in texts.items():
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


TEXTS = {f"{label}/{k:02}": f"{label} {k}\n" for label in ("weather", "games") for k in range(10)}


def test_a_folder_for_each_class_and_a_file_for_each_text(tmp_path):
    folder = write_texts(tmp_path, TEXTS | {"games/99": "games 0\n"})
    (tmp_path / "README.md").write_text("no text")
    splits, classes = read_labelled_folder(folder)
    assert classes == ["games", "weather"]
    assert splits.validation == [("games 8", 0), ("weather 8", 1)] and splits.test == [("games 9", 0), ("weather 9", 1)]
    assert splits.train == [(f"{label} {k}", n) for n, label in enumerate(classes) for k in range(8)]


def test_a_class_without_texts_is_missed(tmp_path):
    write_texts(tmp_path, TEXTS)
    (tmp_path / "sport").mkdir()
    (tmp_path / "sport" / "0.md").write_text("no text either")
    with pytest.raises(ValueError, match="<name>.txt in the folder of each class, got none in {'sport'}"):
        read_labelled_folder(tmp_path)


def test_an_absent_folder_is_not_an_empty_one(tmp_path):
    with pytest.raises(NotADirectoryError, match="none: expected a folder, found nothing"):
        read_labelled_folder(tmp_path / "none")
    (tmp_path / "file").write_text("a text")
    with pytest.raises(NotADirectoryError, match="file: expected a folder, found a file"):
        read_labelled_folder(tmp_path / "file")


@pytest.mark.parametrize(
    "texts, message",
    [
        ({}, "expected a folder of files <class>/<name>.txt, got none"),
        ({"games/0": "chess"}, "train: expected texts of at least two classes, got 1"),
        ({"games/0": "chess", "weather/0": "rain"}, r"validation: empty: no class has enough texts to split \(1\)"),
        (TEXTS | {"games/0": " \n"}, "games/0.txt: expected a text, got an empty file"),
        (TEXTS | {"games/0": b"ch\xe9ss"}, r"games/0.txt: line 1, byte 3: not UTF-8 \(0xe9\)"),
        (TEXTS | {"weather/x": "games 3"}, r"weather/x.txt: the same text as .*games/03.txt, in another class"),
    ],
)
def test_folders_that_do_not_fit(tmp_path, texts, message):
    with pytest.raises(ValueError, match=f"^{tmp_path}.*{message}"):
        read_labelled_folder(write_texts(tmp_path, texts))


@pytest.mark.parametrize(
    "config, text, label, message",
    [
        ("labelled", "text", "stars", r"text: expected a Text feature \(available: \['words'\]\), got 'text'"),
        ("labelled", "words", "words", r"label: expected a ClassLabel feature \(available: \['stars'\]\), got 'words'"),
        ("no_train", "words", "stars", r"expected a split 'train', got \['test'\]"),
        ("glue", "words", "stars", "test: stars: expected a class for each text, got -1"),
        ("short", "words", "stars", r"validation: empty: no class has enough texts to split \(2\)"),
    ],
)
def test_data_sets_that_do_not_fit(tmp_path, config, text, label, message):
    with pytest.raises(ValueError, match=f"tiny_labelled/{config}/1.0.0: {message}"):
        read_labelled_dataset(tiny(tmp_path, config), text=text, label=label)
