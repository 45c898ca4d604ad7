"""The table of results in the README, from what the runs recorded: `python -m experiments.table` puts it there anew."""

import json
import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
RESULTS = Path(__file__).parent / "results"
HEAD = "| task | command | minutes | score | for comparison |"


def table() -> str:
    """Writes a Markdown row for each file of `experiments/results/`, in the order of their names."""
    lines = [HEAD, "|---|---|---|---|---|"]
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        scores, baselines = (
            "<br>".join(f"{value:.3f} {name}" for name, value in result[part].items())
            for part in ("scores", "baselines")
        )
        lines.append(f"| {result['task']} | `{result['command']}` | {result['minutes']} | {scores} | {baselines} |")
    return "\n".join(lines)


if __name__ == "__main__":
    page = README.read_text()
    README.write_text(re.sub(rf"^{re.escape(HEAD)}\n(\|.*\n)*", lambda _: table() + "\n", page, flags=re.MULTILINE))
