"""ListOps (Nangia and Bowman 2018) as a TFDS data set: nested operations on lists of digits, and their values.

    [MAX 2 9 [MIN 4 7 ] 0 ]  is 9

Nothing is downloaded; the expressions are drawn by the published rules. An expression is an operation with probability
0.25 and otherwise a digit; at depth 20 it is always a digit. An operation is MIN, MAX, MED (the median, rounded down)
or SM (the sum modulo 10) of 2 to 5 expressions. The data set keeps 30,000 different operations of at most 100 symbols.
"""

import random
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from experiments.datasets.keyed import KeyedBuilder

OPERATORS = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda values: (sorted(values)[(len(values) - 1) // 2] + sorted(values)[len(values) // 2]) // 2,
    "[SM": lambda values: sum(values) % 10,
}
END = "]"
OPERATION, ARGUMENTS, MAX_DEPTH = 0.25, 5, 20
MAX_SYMBOLS = 100
EXPRESSIONS = 30_000
SEED = 0


def draw(rng: random.Random, depth: int = 1) -> list[str]:
    """Draws an expression, symbol by symbol."""
    if depth == MAX_DEPTH or rng.random() > OPERATION:
        return [str(rng.randrange(10))]
    arguments = [draw(rng, depth + 1) for _ in range(rng.randint(2, ARGUMENTS))]
    return [rng.choice([*OPERATORS]), *(symbol for argument in arguments for symbol in argument), END]


def value_of(symbols: list[str]) -> int:
    """Evaluates an expression.

    Raises:
      ValueError: the symbols are not exactly one expression.
    """
    open_operations: list[tuple[str, list[int]]] = [("", [])]
    for symbol in symbols:
        if symbol in OPERATORS:
            open_operations.append((symbol, []))
        elif symbol == END and len(open_operations) > 1 and open_operations[-1][1]:
            operator, values = open_operations.pop()
            open_operations[-1][1].append(OPERATORS[operator](values))
        elif symbol.isdecimal() and len(symbol) == 1:
            open_operations[-1][1].append(int(symbol))
        else:
            raise ValueError(f"unexpected {symbol!r} in {' '.join(symbols)!r}")
    [(_, values), *unfinished] = open_operations
    if unfinished or len(values) != 1:
        raise ValueError(f"not one expression: {' '.join(symbols)!r}")
    return values[0]


def expressions(count: int = EXPRESSIONS) -> Iterator[list[str]]:
    """Draws different operations of at most `MAX_SYMBOLS` symbols; every call draws the same ones."""
    rng = random.Random(SEED)
    known = set()
    while len(known) < count:
        symbols = draw(rng)
        text = " ".join(symbols)
        if 1 < len(symbols) <= MAX_SYMBOLS and text not in known:
            known.add(text)
            yield symbols


class Listops(KeyedBuilder):
    """Expressions, as space-separated symbols, and their values: 90% train, 5% validation, 5% test."""

    DESCRIPTION = "ListOps: nested operations on lists of digits."
    LICENSE = "Apache-2.0, like the program that draws it; the rules are those of Nangia and Bowman (2018)."
    HELD_OUT = {"validation": 5, "test": 5}

    @property
    def features(self) -> dict[str, Any]:
        return {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=10)}

    def read_examples(self) -> Iterator[tuple[str, str, int]]:
        for symbols in expressions():
            text = " ".join(symbols)
            yield text, text, value_of(symbols)
