import hashlib
import subprocess
import sys

import numpy as np
import pytest

from experiments import datasets
from experiments.datasets.mnist10k import mnist10k
from seqjax.data.splits import read_splits


@pytest.fixture(scope="module")
def digits():
    return mnist10k.read_digits()


def test_the_digits(digits):
    images, labels = digits
    assert images.shape == (10_000, 28, 28) and images.dtype == np.uint8 and images.max() == 255
    assert np.bincount(labels).tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    assert len({image.tobytes() for image in images}) == 10_000  # so none can be in two parts
    assert (
        hashlib.sha256(images.tobytes()).hexdigest()
        == "01a649acf97bc53c9bbc1a378d3087f5a8f67ccf25746dab384bcbe11feed658"
    )


def test_parts_are_the_digits_in_order(digits, tmp_path):
    parts = {name: list(part) for name, part in read_splits(datasets.builder("mnist10k", tmp_path)).items()}
    assert {name: len(part) for name, part in parts.items()} == {"train": 8000, "validation": 1000, "test": 1000}
    examples = sum(parts.values(), [])
    np.testing.assert_array_equal(np.stack([e["image"] for e in examples])[..., 0], digits.images)
    np.testing.assert_array_equal([e["label"] for e in examples], digits.labels)


@pytest.fixture
def few(digits, monkeypatch):
    """A tenth of each part, as all that there is."""
    chosen = np.r_[0:800, 8000:8100, 9000:9100]
    monkeypatch.setattr(mnist10k, "read_digits", lambda: mnist10k.Digits(*(part[chosen] for part in digits)))
    for name, size in (("TRAIN", 800), ("VALIDATION", 100), ("TEST", 100)):
        monkeypatch.setattr(mnist10k, name, size)


def test_prepared_twice_gives_the_same_bytes(few, tmp_path):
    def prepare(data_dir):
        read_splits(datasets.builder("mnist10k", data_dir))
        return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    assert prepare(tmp_path / "a") == prepare(tmp_path / "b")


def test_interrupted_preparation_leaves_nothing_half_made(few, tmp_path, monkeypatch):
    generate = mnist10k.Mnist10k._generate_examples

    def interrupted(self, part):
        for number, example in generate(self, part):
            if number == 50:
                raise KeyboardInterrupt
            yield number, example

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mnist10k.Mnist10k, "_generate_examples", interrupted)
        read_splits(datasets.builder("mnist10k", tmp_path))
    assert len(list(read_splits(datasets.builder("mnist10k", tmp_path))["train"])) == 800


def test_needs_no_tensorflow(tmp_path):
    code = f"""if True:
        import sys
        from experiments import datasets
        from seqjax.data.splits import read_splits
        next(read_splits(datasets.builder("mnist10k", {str(tmp_path)!r}))["test"])
        sys.exit("tensorflow" in sys.modules)"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("damage", [lambda whole: whole[:100_000], lambda whole: b"no digits"])
def test_a_damaged_file_is_named(damage, tmp_path):
    path = tmp_path / "mnist10k.xz"
    path.write_bytes(damage(mnist10k.PATH.read_bytes()))
    with pytest.raises(ValueError, match=r"mnist10k\.xz: damaged"):
        mnist10k.read_digits(path)
