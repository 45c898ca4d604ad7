"""Splice junctions of primate DNA (Towell, Noordewier and Shavlik 1991) as a TFDS data set.

When a gene is expressed, its introns are cut out and the remaining exons are spliced. `splice.tsv.xz` holds 3,186
windows of 60 letters, one per line: the class and the window. In the middle of the window an exon ends and an intron
begins (`ei`, a donor), an intron ends and an exon begins (`ie`, an acceptor), or neither (`n`). The file is StatLog's
version of the data, taken from the R package `mlbench` 2.1-3.1.

A window that occurs several times is one example; a window with two classes is dropped. The split is 70% train, 10%
validation, 20% test.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from experiments.datasets import read_lines
from experiments.datasets.labelled_file import Labelled, LabelledBuilder

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


class Splice(LabelledBuilder):
    """Windows of DNA and the class of the junction in the middle."""

    DESCRIPTION = "Windows of 60 nucleotides of primate DNA: donor, acceptor or neither in the middle."
    HOMEPAGE = "https://archive.ics.uci.edu/dataset/69"
    LICENSE = "CC BY 4.0"
    CLASSES = CLASSES

    def read_examples(self) -> Iterator[Labelled]:
        for window, label in read_windows().items():
            yield Labelled(window, window, label)
