import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from seqjax.data import read_pair_dataset
from seqjax.data.splits import cut_missing_parts

COUNTS = {"train": 40, "test": 3}


class TinyPairs(tfds.core.GeneratorBasedBuilder):
    """Pairs whose keys do not ascend; the config says what is unusual about the set."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("pairs", "translation", "no_train", "short")]

    def _info(self):
        text = tfds.features.Text()
        features = tfds.features.FeaturesDict({"source": text, "target": text, "id": tfds.features.Scalar(np.int32)})
        if self.builder_config.name == "translation":
            features = tfds.features.Translation(("en", "fr"))
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        counts = {"no_train": {"test": 3}, "short": {"train": 5}}.get(self.builder_config.name, COUNTS)
        return {split: self._generate_examples(count) for split, count in counts.items()}

    def _generate_examples(self, count):
        for k in range(count):
            pair = {"source": f"forêt {k}", "target": f"FORET {k}", "id": k}
            if self.builder_config.name == "translation":
                pair = {"en": f"forest {k}", "fr": f"forêt {k}"}
            yield f"key {(7 * k) % count}", pair


def tiny(tmp_path, config):
    return tfds.builder(f"tiny_pairs/{config}", data_dir=tmp_path)


def test_pairs_in_order_and_the_missing_part_cut_from_the_end(tmp_path):
    splits = read_pair_dataset(tiny(tmp_path, "pairs"))
    pairs = [(f"forêt {k}", f"FORET {k}") for k in range(40)]
    assert splits == (pairs[:38], pairs[38:], pairs[:3])
    assert read_pair_dataset(tiny(tmp_path, "pairs")) == splits  # now prepared


def test_either_way_between_the_languages_of_a_translation_set(tmp_path):
    there = read_pair_dataset(tiny(tmp_path, "translation"), source="en", target="fr")
    back = read_pair_dataset(tiny(tmp_path, "translation"), source="fr", target="en")
    assert there.train[1] == ("forest 1", "forêt 1")
    assert [[pair[::-1] for pair in part] for part in there] == [*back]


@pytest.mark.parametrize(
    "config, names, message",
    [
        ("translation", {}, r"source: expected one of the text features \['en', 'fr'\], got 'source'"),
        ("pairs", {"target": "id"}, r"target: expected one of the text features \['source', 'target'\], got 'id'"),
        ("no_train", {}, r"expected a split 'train', got \['test'\]"),
        ("short", {}, r"validation: empty: .*too short \(5 examples\)"),
    ],
)
def test_data_sets_that_are_not_pairs(tmp_path, config, names, message):
    with pytest.raises(ValueError, match=f"tiny_pairs/{config}/1.0.0: {message}"):
        read_pair_dataset(tiny(tmp_path, config), **names)


def test_a_damaged_file_is_named(tmp_path):
    builder = tiny(tmp_path, "pairs")
    read_pair_dataset(builder)
    [path] = builder.data_path.glob("*train*")
    damaged = bytearray(path.read_bytes())
    damaged[100] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"tiny_pairs-train\.array_record.* damaged .*delete .*1\.0\.0"):
        read_pair_dataset(tiny(tmp_path, "pairs"))


@given(st.lists(st.integers(), min_size=20, max_size=200))
def test_parts_are_contiguous_and_whole(items):
    train, validation, test = cut_missing_parts(items)
    assert train + validation + test == items
    assert len(train) == len(items) * 90 // 100 and abs(len(validation) - len(test)) <= 1
    assert cut_missing_parts(items, test=[7])[0] == items[: len(items) * 95 // 100]
