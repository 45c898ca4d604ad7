"""Problems that only a long memory solves: adding, copy and temporal order, made up as they are needed, and digits.

Whoever remembers nothing reaches the chance level at best, which stands with each.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from seqjax.data.splits import cut_missing_parts, read_splits

COPIED = 10  # symbols to be copied,
SYMBOLS = 8  # each one of so many
HELD_OUT = 1000  # sequences to validate, and as many to test, of those that are made up
MADE_UP = {"adding": 400, "copy": 200, "temporal_order": 200}  # with the length that was not to be learned for long


class Lag(NamedTuple):
    """Sequences, and what is to be said of them: at their end, or at each step."""

    inputs: Float[np.ndarray, "B T I"]
    targets: np.ndarray  # numbers or classes, [B] or [B, T]


class Problem(NamedTuple):
    """What is to be learned, and what it is worth to have learned it."""

    batch: Callable[[int], Lag]  # of a training step, counted from 0, whatever was drawn before
    steps_per_epoch: int
    validation: Lag
    test: Lag
    classes: int | None  # None where the target is a number
    baselines: Callable[[], dict[str, float]]


def adding(rng: np.random.Generator, batch_size: int, length: int) -> Lag:
    """Draws numbers between 0 and 1, of which the two that are marked, one in each half, are to be added.

    Hochreiter and Schmidhuber (1997), experiment 4, in the form of Le, Jaitly and Hinton (2015).
    """
    numbers = rng.random((batch_size, length), np.float32)
    half = length // 2
    marked = np.stack([rng.integers(0, half, batch_size), rng.integers(half, length, batch_size)], axis=1)
    marks = np.zeros_like(numbers)
    np.put_along_axis(marks, marked, 1.0, axis=1)
    return Lag(np.stack([numbers, marks], axis=-1), np.take_along_axis(numbers, marked, axis=1).sum(axis=1))


def copy(rng: np.random.Generator, batch_size: int, length: int) -> Lag:
    """Draws 10 symbols out of 8 to be said again after `length` steps: `length` + 20 steps in all.

    Hochreiter and Schmidhuber (1997), in the form of Arjovsky, Shah and Bengio (2016): 10 symbols, `length` - 1 blanks,
    the sign to begin, 10 blanks; the target is blank until after the sign.
    """
    blank, sign = SYMBOLS, SYMBOLS + 1
    message = rng.integers(0, SYMBOLS, (batch_size, COPIED))
    inputs, targets = np.full((2, batch_size, length + 2 * COPIED), blank)
    inputs[:, :COPIED] = message
    inputs[:, -COPIED - 1] = sign
    targets[:, -COPIED:] = message
    return Lag(np.eye(SYMBOLS + 2, dtype=np.float32)[inputs], targets)


def temporal_order(rng: np.random.Generator, batch_size: int, length: int) -> Lag:
    """Draws noise of four letters with three signs in it, each X or Y, whose order is one of 8 classes.

    Hochreiter and Schmidhuber (1997), experiment 6b: the three stand within the tenths of the sequence that begin at
    1/10, 3/10 and 6/10 of it; the first step is a sign to begin, the last a sign to end.
    """
    noise, x, start, end = 4, 4, 6, 7
    symbols = rng.integers(0, noise, (batch_size, length))
    signs = rng.integers(0, 2, (batch_size, 3))
    places = np.array([1, 3, 6]) * length // 10 + rng.integers(0, length // 10, (batch_size, 3))
    np.put_along_axis(symbols, places, x + signs, axis=1)
    symbols[:, 0], symbols[:, -1] = start, end
    return Lag(np.eye(8, dtype=np.float32)[symbols], signs @ [4, 2, 1])


def made_up(name: str, length: int, batch_size: int, sequences_per_epoch: int, seed: int) -> Problem:
    """Makes a problem whose batches are a function of seed and position, so that no two steps see the same one.

    Chance: who always says 1 has the variance of the sum of two numbers, 1/6, as mean squared error; who knows when to
    speak but not what has 10 ln 8 nats in the `length` + 20 steps of a copy; who knows no order has ln 8.

    Raises:
      ValueError: `length` is below 10.
    """
    if length < 10:
        raise ValueError(f"--length={length}: expected at least 10")
    draw = {"adding": adding, "copy": copy, "temporal_order": temporal_order}[name]
    chance = {
        "adding": {"mean squared error, chance (1/6)": 1 / 6},
        "copy": {"nats per step, chance (10 ln 8 / (T + 20))": COPIED * math.log(SYMBOLS) / (length + 2 * COPIED)},
        "temporal_order": {"nats, chance (ln 8)": math.log(8), "% wrong, chance (7/8)": 87.5},
    }[name]
    return Problem(
        batch=lambda position: draw(np.random.default_rng([seed, 0, position]), batch_size, length),
        steps_per_epoch=sequences_per_epoch // batch_size,
        validation=draw(np.random.default_rng([seed, 1]), HELD_OUT, length),
        test=draw(np.random.default_rng([seed, 2]), HELD_OUT, length),
        classes={"adding": None, "copy": SYMBOLS + 1, "temporal_order": 8}[name],
        baselines=lambda: chance,
    )


def images(builder: Any, by: str, batch_size: int, seed: int) -> Problem:
    """Makes the problem of telling what an image shows after its rows, or its pixels, have been seen one by one.

    Le, Jaitly and Hinton (2015), section 4.2. The baselines are the most frequent class, and a support vector machine
    that sees the whole image.

    Raises:
      ValueError: the data set has no images of one size with class labels, or fewer than a batch.
    """
    features = builder.info.features
    shape = features["image"].shape if {"image", "label"} <= set(features) else (None,)
    if None in shape:
        raise ValueError(f"{builder.info.full_name}: expected an 'image' of one size and a 'label', got {features}")
    steps = shape[0] if by == "rows" else shape[0] * shape[1]

    def lag(examples: list[dict[str, Any]]) -> Lag:
        inputs = np.stack([example["image"] for example in examples]).reshape(len(examples), steps, -1)
        return Lag(inputs.astype(np.float32) / 255, np.array([example["label"] for example in examples]))

    parts = {split: list(examples) for split, examples in read_splits(builder).items()}
    train, validation, test = map(lag, cut_missing_parts(**parts))
    steps_per_epoch = len(train.targets) // batch_size
    if steps_per_epoch == 0:
        raise ValueError(f"--batch_size={batch_size}: there are {len(train.targets)} images to train on")

    def batch(position: int) -> Lag:
        epoch, place = divmod(position, steps_per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(train.targets))
        chosen = order[place * batch_size : (place + 1) * batch_size]
        return Lag(*(part[chosen] for part in train))

    def baselines() -> dict[str, float]:
        from sklearn.svm import SVC

        machine = SVC(C=10.0).fit(train.inputs.reshape(len(train.targets), -1), train.targets)
        answers = {
            "the most frequent": np.bincount(train.targets).argmax(),
            "a support vector machine of whole images": machine.predict(test.inputs.reshape(len(test.targets), -1)),
        }
        return {f"% wrong, {name}": 100 * float((said != test.targets).mean()) for name, said in answers.items()}

    classes = features["label"].num_classes
    return Problem(batch, steps_per_epoch, validation, test, classes, baselines)
