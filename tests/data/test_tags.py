import numpy as np
import pytest
import tensorflow_datasets as tfds

from seqjax.data import TaggedSentence, read_tag_dataset


class TinyTags(tfds.core.GeneratorBasedBuilder):
    """Sentences of 1 to 3 words in the shape of conll2003; the config says what is unusual about the set."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("labels", "texts", "unequal", "short")]

    def _info(self):
        text = tfds.features.Text()
        label = text if self.builder_config.name == "texts" else tfds.features.ClassLabel(names=["NN", "VB"])
        features = {"tokens": tfds.features.Sequence(text), "pos": tfds.features.Sequence(label), "id": np.int32}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(5 if self.builder_config.name == "short" else 40)}

    def _generate_examples(self, count):
        for k in range(count):
            words, tags = [f"forêt{k}", "runs", "on"][: k % 4], ["NN", "VB", "NN"][: k % 4]
            if self.builder_config.name == "unequal" and k == 7:
                tags = tags[:2]
            yield k, {"tokens": words, "pos": tags, "id": k}


def tiny(tmp_path, config):
    return tfds.builder(f"tiny_tags/{config}", data_dir=tmp_path)


@pytest.mark.parametrize("config", ["labels", "texts"])
def test_sentences_in_order_without_the_empty_ones_and_parts_cut_from_the_end(tmp_path, config):
    splits = read_tag_dataset(tiny(tmp_path, config), tags="pos")
    sentences = [
        TaggedSentence((f"forêt{k}", "runs", "on")[: k % 4], ("NN", "VB", "NN")[: k % 4]) for k in range(40) if k % 4
    ]
    assert splits == (sentences[:27], sentences[27:28], sentences[28:])


@pytest.mark.parametrize(
    "config, names, message",
    [
        ("labels", {}, r"tags: expected one of the sequence features \['tokens', 'pos'\], got 'tags'"),
        ("labels", {"tags": "id"}, r"tags: expected one of the sequence features \['tokens', 'pos'\], got 'id'"),
        (
            "labels",
            {"words": "pos", "tags": "pos"},
            r"words: expected one of the sequence features \['tokens'\], got 'pos'",
        ),
        ("unequal", {"tags": "pos"}, "train, example 7: expected a tag for each word, got 3 words and 2 tags"),
        ("short", {"tags": "pos"}, r"validation: empty: .*too short \(3 examples\)"),
    ],
)
def test_data_sets_that_are_not_tagged_sentences(tmp_path, config, names, message):
    with pytest.raises(ValueError, match=f"tiny_tags/{config}/1.0.0: {message}"):
        read_tag_dataset(tiny(tmp_path, config), **names)
