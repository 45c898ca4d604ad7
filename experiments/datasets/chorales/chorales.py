"""Four-part chorales of J. S. Bach as a TFDS data set of text. A line is a quarter: four sixteenths of four voices.

A character is the pitch of a voice at a sixteenth, soprano first: `-` for a rest, and otherwise `chr(35 + n)` for the
MIDI note number n, so middle C (60) is `_`. A repeated note looks like a held one. A text begins, for example,

    mf]Zmf]Zmf]Zmf]Z
    ...

`chorales.tsv.xz` holds the 364 chorales of the corpus of music21 10.5.1, one per line: the name, and the quarters
separated by spaces. Pieces with the same music, in any key, are in the same part.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int

from experiments.datasets import read_lines
from experiments.datasets.keyed import KeyedBuilder

PATH = Path(__file__).with_name("chorales.tsv.xz")
VOICES = 4
STEPS_PER_QUARTER = 4
REST = "-"
OFFSET = 35  # from a MIDI note number to its character
LINE = re.compile(r"(?P<name>[^\t]+)\t(?P<quarters>[!-~]{16}( [!-~]{16})*)")


def read_chorales(path: Path = PATH) -> dict[str, str]:
    """Reads the text of each chorale by its name.

    Raises:
      ValueError: the file is damaged, or a line is not a name and quarters of 16 pitches.
    """
    chorales = {}
    for number, line in enumerate(read_lines(path), 1):
        entry = LINE.fullmatch(line)
        if entry is None:
            raise ValueError(f"{path}: line {number}: expected a name, a tab and quarters, got {line[:40]!r}")
        chorales[entry["name"]] = entry["quarters"].replace(" ", "\n")
    return chorales


def pitches_of(text: str) -> Int[np.ndarray, "T 4"]:
    """Returns the MIDI note numbers of all steps, 0 for a rest; an incomplete step at the end of a line is dropped.

    >>> pitches_of("mf]Zmf]-m")
    array([[74, 67, 58, 55],
           [74, 67, 58,  0]])
    """
    steps = [line[i : i + VOICES] for line in text.split("\n") for i in range(0, len(line) - VOICES + 1, VOICES)]
    return np.array([[0 if sign == REST else ord(sign) - OFFSET for sign in step] for step in steps], int).reshape(
        -1, VOICES
    )


def transpose(text: str, semitones: int) -> str:
    """Moves every pitch by a number of semitones.

    >>> transpose("mf]-", 2)
    'oh_-'
    """
    return text.translate({sign: sign + semitones for sign in range(OFFSET, 127) if chr(sign) != REST})


def key_of(text: str) -> str:
    """Transposes a chorale so that its first note is `m`; the same music in any key becomes the same text."""
    first = next(ord(sign) for sign in text if sign != REST)
    return transpose(text, ord("m") - first)


class Chorales(KeyedBuilder):
    """Chorales and their names: 80% train, 10% validation, 10% test."""

    DESCRIPTION = "Chorales of J. S. Bach: four voices on a grid of sixteenth notes, a character each."
    LICENSE = "Public domain; encodings from music21, BSD-3-Clause."
    HELD_OUT = {"validation": 10, "test": 10}

    @property
    def features(self) -> dict[str, Any]:
        return {"name": tfds.features.Text(), "text": tfds.features.Text()}

    def read_examples(self) -> Iterator[tuple[str, str, str]]:
        for name, text in sorted(read_chorales().items()):
            yield key_of(text), name, text
