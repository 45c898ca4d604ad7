"""The table of results in the README, printed from what the runs recorded: `python -m experiments.table`."""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def table() -> str:
    """Writes a Markdown row for each file of `experiments/results/`, in the order of their names."""
    lines = ["| task | command | minutes | score | for comparison |", "|---|---|---|---|---|"]
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        scores, baselines = (
            "<br>".join(f"{value:.3f} {name}" for name, value in result[part].items())
            for part in ("scores", "baselines")
        )
        lines.append(f"| {result['task']} | `{result['command']}` | {result['minutes']} | {scores} | {baselines} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
