"""ListOps (Nangia and Bowman 2018) as a TFDS data set: nested operations on lists of digits, and what they come to.

    [MAX 2 9 [MIN 4 7 ] 0 ]  is 9

Nothing is downloaded: the expressions are drawn by the published rules. An expression is an operation with probability
0.25, unless it is 20 deep, and else a digit; an operation is MIN, MAX, MED (the median, rounded down) or SM (the sum
modulo 10) of 2 to 5 expressions. Of what is drawn, 30,000 different operations of at most 100 symbols are kept.
"""

import random
from collections.abc import Iterator

import tensorflow_datasets as tfds

from experiments import datasets

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
    """Works out an expression.

    Raises:
      ValueError: it is none.
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
    """Draws different operations of at most `MAX_SYMBOLS` symbols, the same at each call."""
    rng = random.Random(SEED)
    known = set()
    while len(known) < count:
        symbols = draw(rng)
        text = " ".join(symbols)
        if 1 < len(symbols) <= MAX_SYMBOLS and text not in known:
            known.add(text)
            yield symbols


def part_of(text: str) -> str:
    """Assigns an expression to the part it is in whatever else is drawn: 90% to train, 5% and 5%."""
    return datasets.part_of(text, validation=5, test=5)


class Listops(tfds.core.GeneratorBasedBuilder):
    """Expressions and their values; an example is an expression, symbols with spaces between them."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="ListOps: nested operations on lists of digits.",
            features=tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=10)}
            ),
            license="Apache-2.0, as the program that draws it; the rules are those of Nangia and Bowman (2018).",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        parts: dict[str, list[list[str]]] = {"train": [], "validation": [], "test": []}
        for symbols in expressions():
            parts[part_of(" ".join(symbols))].append(symbols)
        return {split: self._generate_examples(part) for split, part in parts.items()}

    def _generate_examples(self, part: list[list[str]]) -> Iterator[tuple[int, dict[str, object]]]:
        for number, symbols in enumerate(part):
            yield number, {"text": " ".join(symbols), "label": value_of(symbols)}
