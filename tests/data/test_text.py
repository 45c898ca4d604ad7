import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from seqjax.data import read_text_dataset, read_text_file, split_text


@given(st.text(min_size=20, max_size=300))
def test_parts_are_contiguous_and_whole(text):
    splits = split_text(text)
    assert "".join(splits) == text
    assert len(splits.train) == len(text) * 90 // 100
    assert abs(len(splits.validation) - len(splits.test)) <= 1


def test_only_missing_parts_are_cut_from_the_training_text():
    text = "abcdefghij" * 10
    assert split_text(text, test="t") == (text[:95], text[95:], "t")
    assert split_text(text, validation="v") == (text[:95], "v", text[95:])
    assert split_text(text, "v", "t") == (text, "v", "t")


def test_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "Zürich\r\n".encode() * 50)
    assert "".join(read_text_file(path)) == "Zürich\r\n" * 50


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", r"a\.txt: .*too short \(0 characters\)"),
        (b"too short", r"a\.txt: .*too short \(9 characters\)"),
        (b"line one\nline two\nthr\xffee" * 9, r"a\.txt: line 3, byte 4: not UTF-8 \(0xff\)"),
        ("Zürich".encode("latin-1"), r"a\.txt: line 1, byte 2: not UTF-8 \(0xfc\)"),
    ],
)
def test_bad_files_are_named(tmp_path, data, message):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_text_file(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.txt"):
        read_text_file(tmp_path / "nothing.txt")


class TinyText(tfds.core.GeneratorBasedBuilder):
    """Documents whose keys do not ascend; the config says what is unusual about the set."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("text", "review", "two", "no_train", "fails")]

    def _info(self):
        text = tfds.features.Text()
        features = {"review": {"review": text}, "two": {"en": text, "fr": text}}.get(
            self.builder_config.name, {"text": text}
        )
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features | {"label": tfds.features.Scalar(dtype=np.int32)}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        if self.builder_config.name == "no_train":
            return {"test": self._generate_examples(3)}
        return {"train": self._generate_examples(30), "test": self._generate_examples(3)}

    def _generate_examples(self, count):
        for k in range(count):
            if self.builder_config.name == "fails" and k == 20:
                raise KeyboardInterrupt
            yield f"key {(7 * k) % count}", dict.fromkeys(self.info.features, f"Dokument\n{k} €") | {"label": k}


def tiny(tmp_path, config):
    return tfds.builder(f"tiny_text/{config}", data_dir=tmp_path)


@pytest.mark.parametrize("config", ["text", "review"])
def test_any_data_set_with_a_text_feature(tmp_path, config):
    splits = read_text_dataset(tiny(tmp_path, config))
    documents = [f"Dokument\n{k} €" for k in range(30)]
    assert splits.train + splits.validation == "\n\n".join(documents)
    assert splits.test == "\n\n".join(documents[:3])
    assert read_text_dataset(tiny(tmp_path, config)) == splits  # now prepared


@pytest.mark.parametrize(
    "config, message",
    [
        ("two", "expected a feature 'text' or one text feature, got"),
        ("no_train", r"expected a split 'train', got \['test'\]"),
    ],
)
def test_data_sets_that_are_not_text(tmp_path, config, message):
    with pytest.raises(ValueError, match=f"tiny_text/{config}/1.0.0: {message}"):
        read_text_dataset(tiny(tmp_path, config))


def test_interrupted_preparation_leaves_nothing(tmp_path):
    builder = tiny(tmp_path, "fails")
    with pytest.raises(KeyboardInterrupt):
        read_text_dataset(builder)
    assert not builder.is_prepared()
    assert not list(tmp_path.rglob("*array_record*"))


def test_a_damaged_file_is_named(tmp_path):
    builder = tiny(tmp_path, "text")
    read_text_dataset(builder)
    [path] = builder.data_path.glob("*train*")
    damaged = bytearray(path.read_bytes())
    damaged[100] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"tiny_text-train\.array_record.* damaged .*delete .*1\.0\.0"):
        read_text_dataset(tiny(tmp_path, "text"))


def test_importing_the_library_imports_no_tfds():
    code = "import sys, seqjax.data; sys.exit('tensorflow_datasets' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
