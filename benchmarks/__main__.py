"""Runs all benchmarks and writes their tables and charts: `python -m benchmarks`, which takes about two hours."""

import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
CHARTS = {"unroll": ["--chart={}/unroll.png"], "train_step": [], "decode": []}

if __name__ == "__main__":
    for name, more in CHARTS.items():
        arguments = [f"--out={RESULTS}/{name}.md", *(each.format(RESULTS) for each in more)]
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True)
