"""Python code: expression to syntax tree, and docstring to signature; source and target share a subword vocabulary."""

import ast
from collections.abc import Sequence

from experiments.pairs.kind import Kind, nearest_source
from experiments.pairs.symbols import subwords


def scores(found: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Returns the percentage of answers that match a reference exactly, and the percentage that Python can parse."""
    exact = sum(answer in answers for answer, answers in zip(found, right, strict=True))
    return {
        "% exact": 100 * exact / len(found),
        "% that parse": 100 * sum(map(parses, found)) / len(found),
    }


def parses(code: str) -> bool:
    """Returns whether a text is non-empty code: an expression, or the first line of a function."""
    try:
        ast.parse(f"{code} pass" if code.endswith(":") else code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # everything that `ast.parse` may raise
        return False
    return bool(code)


SYNTAX_TREE = Kind(
    title="syntax tree",
    unit="expression",
    source="expression subword",
    target="tree subword",
    source_symbols=subwords(2000),
    target_symbols=None,
    scores=scores,
    higher_is_better=("% exact", "% that parse"),
    baselines={"tree of the nearest expression": nearest_source},
    defaults={"batch_size": 64, "max_length": 50, "epochs": 1.4, "copying": True},
)
SIGNATURE = SYNTAX_TREE._replace(
    title="signature",
    unit="docstring",
    source="docstring subword",
    target="signature subword",
    baselines={"signature of the nearest docstring": nearest_source},
    defaults={"batch_size": 64, "max_length": 60, "epochs": 12, "copying": True},
)
