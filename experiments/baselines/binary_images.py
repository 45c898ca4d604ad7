"""Baselines for images of two colours: bits per pixel, coded row by row from the top and from left to right.

The probability of a pixel depends on its place alone, or on neighbours that come before it: a template, the same at all
places, whose pixels outside the image are 0. The compressors read the images as text, several pixels to a character.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float, Int, UInt8

from experiments.baselines import compressors

Images = UInt8[np.ndarray, "N H W"]  # of 0 and 1
Template = tuple[tuple[int, int], ...]  # rows down and columns to the right of the pixel

# the eight nearest neighbours
NEAREST: Template = ((-2, -1), (-2, 0), (-2, 1), (-1, -1), (-1, 0), (-1, 1), (0, -2), (0, -1))
# the standard template of JBIG2 (ITU-T T.88, figure 3, with its adaptive pixels at their nominal places)
JBIG2: Template = (
    *((-2, column) for column in range(-2, 3)),
    *((-1, column) for column in range(-3, 4)),
    *((0, column) for column in range(-4, 0)),
)


def bits_per_pixel(train: Images, test: Images) -> dict[str, float]:
    """Computes the bits per pixel of every baseline; PPMd and xz each read the images as the text that suits it best.

    Of one to seven pixels per character, four are best for PPMd and seven for xz on the digits of MNIST.
    """
    ppmd = partial(compressors.ppmd_bits_per_character, order=16)
    return {
        "independent pixels": independent_bits_per_pixel(train, test),
        "logistic regression on 8 neighbours": logistic_bits_per_pixel(train, test, NEAREST),
        "frequencies after 16 neighbours (JBIG2)": frequency_bits_per_pixel(train, test, JBIG2),
        "PPMd of order 16": compressed_bits_per_pixel(train, test, ppmd, pixels=4),
        "xz": compressed_bits_per_pixel(train, test, compressors.xz_bits_per_character, pixels=7),
    }


def independent_bits_per_pixel(train: Images, test: Images) -> float:
    """Computes the bits per pixel if the probability of ink at a place is its frequency there, plus-one smoothed.

    >>> train = np.array([[[0, 1]], [[0, 0]]], np.uint8)
    >>> independent_bits_per_pixel(train, train[:1])  # probabilities 3/4 and 1/2
    0.707518749639422
    """
    return _bits_per_pixel((train.sum(axis=0) + 1) / (len(train) + 2), test)


def frequency_bits_per_pixel(train: Images, test: Images, template: Template) -> float:
    """Computes the bits per pixel if the probability of ink is its frequency after the same pixels in the template.

    This is the model of the JBIG standards (Langdon and Rissanen 1981). Half an occurrence is added to each count.

    >>> train = np.array([[[0, 1, 0, 1]]], np.uint8)
    >>> round(frequency_bits_per_pixel(train, train, ((0, -1),)), 3)  # ink follows 0 with probability 5/8, 1 with 1/4
    0.797
    """
    counts = _counts(train, template)
    ink = (counts[1] + 0.5) / (counts.sum(axis=0) + 1)
    return _bits_per_pixel(ink[contexts(test, template)], test)


def logistic_bits_per_pixel(train: Images, test: Images, template: Template) -> float:
    """Computes the bits per pixel of a logistic regression on the pixels in the template."""
    from sklearn.linear_model import LogisticRegression

    counts = _counts(train, template)
    numbers = np.arange(counts.shape[1])
    bits = numbers[:, None] >> np.arange(len(template)) & 1
    regression = LogisticRegression(C=1e4).fit(  # each context once for each colour, weighted by its count
        np.concatenate([bits, bits]), np.repeat([0, 1], len(bits)), sample_weight=counts.ravel()
    )
    return _bits_per_pixel(regression.predict_proba(bits)[:, 1][contexts(test, template)], test)


def compressed_bits_per_pixel(
    train: Images, test: Images, bits_per_character: Callable[[str, str], float], pixels: int
) -> float:
    """Computes the bits per pixel that a compressor needs for the test images after the training images.

    Args:
      train: the training images.
      test: the test images.
      bits_per_character: a function of `experiments.baselines.compressors`.
      pixels: number of pixels in a character, at most seven.
    """
    known, held_out = packed(train, pixels), packed(test, pixels)
    return bits_per_character(known, held_out) * len(held_out) / test.size


def packed(images: Images, pixels: int) -> str:
    """Writes images as text, with up to seven `pixels` of a row in a character.

    >>> packed(np.array([[[0, 1, 1, 0, 1]]], np.uint8), 4)  # 0110, and 1 filled up to 1000
    '\\x06\\x08'
    """
    groups = np.pad(images, ((0, 0), (0, 0), (0, -images.shape[-1] % pixels))).reshape(-1, pixels)
    return (groups @ (1 << np.arange(pixels)[::-1])).astype(np.uint8).tobytes().decode("ascii")


def contexts(images: Images, template: Template) -> Int[np.ndarray, "N H W"]:
    """Numbers the pixels in the template of each pixel: bit k is that of place k of the template.

    >>> contexts(np.array([[[1, 0, 1]]], np.uint8), ((0, -2), (0, -1)))
    array([[[0, 2, 1]]])
    """
    margin = max(max(map(abs, place)) for place in template)
    height, width = images.shape[1:]
    framed = np.pad(images.astype(int), ((0, 0), (margin, 0), (margin, margin)))
    return sum(
        framed[:, margin + down : margin + down + height, margin + right : margin + right + width] << place
        for place, (down, right) in enumerate(template)
    )


def _counts(images: Images, template: Template) -> Int[np.ndarray, "2 C"]:
    """Counts the pixels of each colour after each of the `C` contexts."""
    of = contexts(images, template)
    return np.stack([np.bincount(of[images == colour], minlength=2 ** len(template)) for colour in (0, 1)])


def _bits_per_pixel(ink: Float[np.ndarray, "..."], images: Images) -> float:
    return float(-np.log2(np.where(images == 1, ink, 1 - ink)).mean())
