"""Formats the results of a benchmark, and describes the machine and the versions of the libraries."""

import contextlib
import os
import platform
from collections.abc import Iterable
from pathlib import Path

from benchmarks.peer import Peer


def machine() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                load = "/".join(f"{each:.1f}" for each in os.getloadavg())
                return f"{line.split(':')[1].strip()}, {os.cpu_count()} cores, load average at the start {load}"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def versions(peers: Iterable[Peer]) -> str:
    named = {name: version for each in peers for name, version in each.versions.items()}
    return ", ".join(f"{name} {version}" for name, version in {"Python": platform.python_version(), **named}.items())


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---:"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
