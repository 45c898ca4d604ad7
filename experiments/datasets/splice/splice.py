"""Splice junctions of primate DNA (Towell, Noordewier and Shavlik 1991) as a TFDS data set.

Where a gene is read, its introns are cut out of it, and what is left, its exons, is spliced. `splice.tsv.xz` holds
3,186 windows of 60 letters, one a line: the class and the window, in the middle of which an exon ends and an intron
begins (`ei`, a donor), an intron ends and an exon begins (`ie`, an acceptor), or neither (`n`). StatLog's version of
the data, taken from the R package `mlbench` 2.1-3.1.

A window that stands there several times is one example; one of two classes is dropped. 70% to train, 10% and 20%.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from experiments.datasets import part_of, read_lines

PATH = Path(__file__).with_name("splice.tsv.xz")
CLASSES = ("ei", "ie", "n")
LINE = re.compile(r"(?P<label>ei|ie|n)\t(?P<window>[ACGT]{60})")


def read_windows(path: Path = PATH) -> dict[str, str]:
    """Reads the class of each window.

    Raises:
      ValueError: the file is damaged, or a line is not a class and a window.
    """
    classes: dict[str, set[str]] = {}
    for number, line in enumerate(read_lines(path), 1):
        entry = LINE.fullmatch(line)
        if entry is None:
            raise ValueError(f"{path}: line {number}: expected a class, a tab and 60 letters, got {line!r}")
        classes.setdefault(entry["window"], set()).add(entry["label"])
    return {window: labels.pop() for window, labels in classes.items() if len(labels) == 1}


class Splice(tfds.core.GeneratorBasedBuilder):
    """A window of DNA and what is in the middle of it."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Windows of 60 nucleotides of primate DNA: donor, acceptor or neither in the middle.",
            features=tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=CLASSES)}
            ),
            homepage="https://archive.ics.uci.edu/dataset/69",
            license="CC BY 4.0",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # everything is here
        windows = read_windows()
        return {part: self._generate_examples(windows, part) for part in ("train", "validation", "test")}

    def _generate_examples(self, windows: dict[str, str], part: str) -> Iterator[tuple[int, dict[str, str]]]:
        chosen = (window for window in windows if part_of(window, validation=10, test=20) == part)
        for number, window in enumerate(chosen):
            yield number, {"text": window, "label": windows[window]}
