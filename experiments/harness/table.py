"""The table of results: `python -m experiments.harness.table` writes it into the README from the recorded runs."""

import json
import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
RESULTS = Path(__file__).parents[1] / "results"
HEAD = "| task | command | minutes | measure | score | for comparison |"


def table() -> str:
    """Writes Markdown rows for each file of `experiments/results/`, in the order of their names: one a measure."""
    lines = [HEAD, "|---|---|---|---|---|---|"]
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        task = f"{result['task']} | `{result['command']}` | {result['minutes']}"
        for measure in dict.fromkeys(name.partition(", ")[0] for name in result["scores"]):
            scores, baselines = (describe(result[part], measure) for part in ("scores", "baselines"))
            lines.append(f"| {task} | {measure} | {scores} | {baselines} |")
            task = " | | "
    return "\n".join(lines)


def describe(figures: dict[str, float], measure: str) -> str:
    """Writes the figures of one measure, each with what stands after it in its name.

    >>> describe({"BLEU, beam 1": 15.8, "chrF, beam 1": 38.0, "BLEU, beam 5": 16.2}, "BLEU")
    '15.800 beam 1<br>16.200 beam 5'
    """
    of_measure = {name.partition(", ")[2]: value for name, value in figures.items() if name.split(", ")[0] == measure}
    return "<br>".join(f"{value:.3f} {what}".strip() for what, value in of_measure.items())


if __name__ == "__main__":
    page = README.read_text()
    README.write_text(re.sub(rf"^{re.escape(HEAD)}\n(\|.*\n)*", lambda _: table() + "\n", page, flags=re.MULTILINE))
    print(f"{README}: the table has the {len(list(RESULTS.glob('*.json')))} results of {RESULTS}")
