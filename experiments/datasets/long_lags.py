"""Long-memory problems: the synthetic adding, copy and temporal order, and images that are read step by step.

A model without memory reaches at best the chance level, which each problem reports.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.harness.errors import UsageError
from seqjax.data.splits import cut_missing_parts, read_splits

COPIED = 10  # number of symbols to copy
SYMBOLS = 8  # number of different symbols
HELD_OUT = 1000  # sequences in the validation set, and in the test set, of a synthetic problem
SYNTHETIC = {"adding": 400, "copy": 200, "temporal_order": 200}  # default lengths, which were long too hard to learn


class Lag(NamedTuple):
    """Input sequences, with one target for each sequence or one for each step."""

    inputs: Float[np.ndarray, "B T I"]
    targets: np.ndarray  # numbers or classes, [B] or [B, T]


class Problem(NamedTuple):
    """The training batches, held-out sequences and baselines of a problem."""

    batch: Callable[[int], Lag]  # training step, from 0 -> its batch, whatever was drawn before
    steps_per_epoch: int
    validation: Lag
    test: Lag
    classes: int | None  # None if the target is a number
    baselines: Callable[[], dict[str, float]]


def adding(rng: np.random.Generator, batch_size: int, length: int) -> Lag:
    """Draws numbers between 0 and 1 and marks two of them, one in each half; the target is the sum of the two.

    Hochreiter and Schmidhuber (1997), experiment 4, in the form of Le, Jaitly and Hinton (2015).
    """
    numbers = rng.random((batch_size, length), np.float32)
    half = length // 2
    marked = np.stack([rng.integers(0, half, batch_size), rng.integers(half, length, batch_size)], axis=1)
    marks = np.zeros_like(numbers)
    np.put_along_axis(marks, marked, 1.0, axis=1)
    return Lag(np.stack([numbers, marks], axis=-1), np.take_along_axis(numbers, marked, axis=1).sum(axis=1))


def copy(rng: np.random.Generator, batch_size: int, length: int) -> Lag:
    """Draws 10 symbols out of 8, which the target repeats after `length` steps: `length` + 20 steps in all.

    Hochreiter and Schmidhuber (1997), in the form of Arjovsky, Shah and Bengio (2016): 10 symbols, `length` - 1 blanks,
    the start signal, 10 blanks. The target is blank until after the signal.
    """
    blank, sign = SYMBOLS, SYMBOLS + 1
    message = rng.integers(0, SYMBOLS, (batch_size, COPIED))
    inputs, targets = np.full((2, batch_size, length + 2 * COPIED), blank)
    inputs[:, :COPIED] = message
    inputs[:, -COPIED - 1] = sign
    targets[:, -COPIED:] = message
    return Lag(np.eye(SYMBOLS + 2, dtype=np.float32)[inputs], targets)


def temporal_order(rng: np.random.Generator, batch_size: int, length: int) -> Lag:
    """Draws noise of four letters that contains three signals, each X or Y, whose order is one of 8 classes.

    Hochreiter and Schmidhuber (1997), experiment 6b. The signals are in the tenths of the sequence that begin at 1/10,
    3/10 and 6/10 of it. The first step is a start symbol, and the last an end symbol.
    """
    noise, x, start, end = 4, 4, 6, 7
    symbols = rng.integers(0, noise, (batch_size, length))
    signs = rng.integers(0, 2, (batch_size, 3))
    places = np.array([1, 3, 6]) * length // 10 + rng.integers(0, length // 10, (batch_size, 3))
    np.put_along_axis(symbols, places, x + signs, axis=1)
    symbols[:, 0], symbols[:, -1] = start, end
    return Lag(np.eye(8, dtype=np.float32)[symbols], signs @ [4, 2, 1])


def synthetic(name: str, length: int, batch_size: int, sequences_per_epoch: int, seed: int) -> Problem:
    """Builds a synthetic problem whose batches are a function of seed and position, so every step draws a new batch.

    Chance levels:
    - adding: a constant prediction of 1 has a mean squared error of 1/6, the variance of the sum of two numbers.
    - copy: a model that knows when to answer, but not what, has 10 ln 8 nats over the `length` + 20 steps.
    - temporal order: a model that does not know the order has ln 8 nats.
    """
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
    """Builds the problem of classifying an image after its rows, or its pixels, have been read one by one.

    Le, Jaitly and Hinton (2015), section 4.2. The baselines are the most frequent class, and a support vector machine
    on the whole image.

    Raises:
      ValueError: the data set has no images of a fixed size with class labels, or fewer images than a batch.
    """
    features = builder.info.features
    shape = features["image"].shape if {"image", "label"} <= set(features) else (None,)
    if None in shape:
        raise ValueError(f"{builder.info.full_name}: expected an 'image' of a fixed size and a 'label', got {features}")
    steps = shape[0] if by == "rows" else shape[0] * shape[1]

    def lag(examples: list[dict[str, Any]]) -> Lag:
        inputs = np.stack([example["image"] for example in examples]).reshape(len(examples), steps, -1)
        return Lag(inputs.astype(np.float32) / 255, np.array([example["label"] for example in examples]))

    parts = {split: list(examples) for split, examples in read_splits(builder).items()}
    train, validation, test = map(lag, cut_missing_parts(**parts))
    steps_per_epoch = len(train.targets) // batch_size
    if steps_per_epoch == 0:
        raise UsageError(f"--batch_size={batch_size}: expected at most {len(train.targets)} (the training images)")

    def batch(position: int) -> Lag:
        epoch, place = divmod(position, steps_per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(train.targets))
        chosen = order[place * batch_size : (place + 1) * batch_size]
        return Lag(*(part[chosen] for part in train))

    def baselines() -> dict[str, float]:
        from sklearn.svm import SVC

        machine = SVC(C=10.0).fit(train.inputs.reshape(len(train.targets), -1), train.targets)
        answers = {
            "most frequent class": np.bincount(train.targets).argmax(),
            "support vector machine on whole images": machine.predict(test.inputs.reshape(len(test.targets), -1)),
        }
        return {f"% wrong, {name}": 100 * float((said != test.targets).mean()) for name, said in answers.items()}

    classes = features["label"].num_classes
    return Problem(batch, steps_per_epoch, validation, test, classes, baselines)
