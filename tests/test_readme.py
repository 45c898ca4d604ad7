"""The README keeps its word: its examples run, its table is what the runs recorded, its files are there."""

import re
from pathlib import Path

import pytest

from experiments.harness import table

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_examples_run(example):
    if "equinox" in example:
        pytest.importorskip("equinox", reason="equinox, which this example is for, is not installed")
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})


def test_table_is_what_the_runs_recorded():
    assert table.table() in README, "to mend it: python -m experiments.harness.table"


@pytest.mark.parametrize("licence", sorted(Path(__file__).parent.parent.glob("experiments/**/LICENSE")), ids=str)
def test_licences_of_data_are_linked(licence):
    assert f"]({licence.relative_to(Path(__file__).parent.parent).as_posix()})" in README


@pytest.mark.parametrize("target", re.findall(r"\]\((?!https?:)([^)]+)\)", README))
def test_links_lead_somewhere(target):
    if target.startswith("#"):
        assert f"\n## {target[1:].capitalize()}\n" in README
    else:
        assert (Path(__file__).parent.parent / target).exists()
