"""The tables of results, which `python -m experiments.harness.table` writes into the pages from the recorded runs."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).parents[2]
RESULTS = HOUSE / "experiments" / "results"

IN_README = (  # names of the results in README.md
    "chorales",
    "classify_movie_reviews",
    "classify_splice",
    "classify_tweets",
    "cmudict_long",
    "draw",
    "expressions",
    "forecast",
    "forecast_ecg",
    "forecast_sp500",
    "headlines",
    "language_model_brown",
    "language_model_press",
    "long_memory",
    "long_memory_adding_simple_rnn",
    "long_memory_copy",
    "long_memory_rows",
    "pixels",
    "replies",
    "t9",
    "tag_crf",
    "translation_long",
    "tree_binary",
)

FULL = "| task | command | minutes | measure | score | for comparison |"  # in docs/results.md
SHORT = "| task | measure | score | best baseline | minutes |"  # in README.md


def read_results(names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Reads the recorded results of these names, or all of them, in the order of their file names."""
    paths = sorted(RESULTS.glob("*.json"))
    return [json.loads(path.read_text()) for path in paths if names is None or path.stem in names]


def full_table(results: list[dict[str, Any]]) -> str:
    """Writes a row for each measure of each result."""
    lines = [FULL, "|---|---|---|---|---|---|"]
    for result in results:
        task = f"{result['task']} | `{result['command']}` | {result['minutes']}"
        for measure in dict.fromkeys(name.partition(", ")[0] for name in result["scores"]):
            scores, baselines = (_listed(figures_of(result[part], measure)) for part in ("scores", "baselines"))
            lines.append(f"| {task} | {measure} {_arrow(result, measure)} | {scores} | {baselines} |")
            task = " | | "
    return "\n".join(lines)


def short_table(results: list[dict[str, Any]]) -> str:
    """Writes a row for each result."""
    rows = (f"| {' | '.join(short_row(result))} |" for result in results)
    return "\n".join([SHORT, "|---|---|---|---|---|", *rows])


def short_row(result: Mapping[str, Any]) -> list[str]:
    """Returns task, measure, best score, best baseline and minutes, for the first measure of the baselines."""
    measure = next(iter(result["baselines"])).partition(", ")[0]
    scores, baselines = (figures_of(result[part], measure) for part in ("scores", "baselines"))
    best = max if measure in result["higher_is_better"] else min
    name = best(baselines, key=lambda name: baselines[name])
    score, baseline = figure(best(scores.values())), f"{figure(baselines[name])} {name}"
    return [result["task"], f"{measure} {_arrow(result, measure)}", score, baseline, str(result["minutes"])]


def figures_of(figures: Mapping[str, float], measure: str) -> dict[str, float]:
    """Selects the values of one measure, keyed by the rest of their names.

    >>> figures_of({"BLEU, beam 1": 15.8, "chrF, beam 1": 38.0, "BLEU, beam 5": 16.2}, "BLEU")
    {'beam 1': 15.8, 'beam 5': 16.2}
    """
    named = {tuple(name.partition(", ")[::2]): value for name, value in figures.items()}
    return {rest: value for (of_measure, rest), value in named.items() if of_measure == measure}


def figure(value: float) -> str:
    """Formats a number with three decimals, or a small one with three significant digits.

    >>> figure(2.33947), figure(0.00031348)
    ('2.339', '0.000313')
    """
    return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:#.3g}"


def _arrow(result: Mapping[str, Any], measure: str) -> str:
    if measure in result.get("ideal", {}):
        return f"→ {result['ideal'][measure]:g}"
    return "↑" if measure in result["higher_is_better"] else "↓"


def _listed(figures: Mapping[str, float]) -> str:
    return "<br>".join(f"{figure(value)} {name}".strip() for name, value in figures.items())


def _write(page: Path, head: str, table: str) -> None:
    """Replaces, in a page, the table whose header row is `head`."""
    made = table + "\n"
    page.write_text(re.sub(rf"^{re.escape(head)}\n(\|.*\n)*", lambda _: made, page.read_text(), flags=re.MULTILINE))
    print(f"{page}: {made.count(chr(10)) - 2} rows")


if __name__ == "__main__":
    _write(HOUSE / "README.md", SHORT, short_table(read_results(IN_README)))
    _write(HOUSE / "docs" / "results.md", FULL, full_table(read_results()))
