import pytest
import tensorflow_datasets as tfds

from seqjax.data import read_labelled_dataset


class TinyLabelled(tfds.core.GeneratorBasedBuilder):
    """Labelled texts; the config says what is unusual about the set."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("labelled", "no_train", "short")]

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
            yield k, {"words": f"forêt {k}", "stars": -1 if split == "unsupervised" else k % 3}


def tiny(tmp_path, config):
    return tfds.builder(f"tiny_labelled/{config}", data_dir=tmp_path)


def test_texts_in_order_and_the_missing_part_cut_from_the_end(tmp_path):
    splits, classes = read_labelled_dataset(tiny(tmp_path, "labelled"), text="words", label="stars")
    labelled = [(f"forêt {k}", k % 3) for k in range(40)]
    assert splits == (labelled[:38], labelled[38:], labelled[:3])
    assert classes == ["one", "two", "three"]


@pytest.mark.parametrize(
    "config, text, label, message",
    [
        ("labelled", "text", "stars", r"text: expected a feature of type Text, \['words'\], got 'text'"),
        ("labelled", "words", "words", r"label: expected a feature of type ClassLabel, \['stars'\], got 'words'"),
        ("no_train", "words", "stars", r"expected a split 'train', got \['test'\]"),
        ("short", "words", "stars", r"validation: empty: the data are too short \(5 examples\)"),
    ],
)
def test_data_sets_that_do_not_fit(tmp_path, config, text, label, message):
    with pytest.raises(ValueError, match=f"tiny_labelled/{config}/1.0.0: {message}"):
        read_labelled_dataset(tiny(tmp_path, config), text=text, label=label)
