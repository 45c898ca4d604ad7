"""The pages keep their word: examples run, tables are what the runs recorded, links and stated numbers are right."""

import json
import re
from pathlib import Path

import pytest

from experiments.harness import table

HOUSE = Path(__file__).parent.parent
README = (HOUSE / "README.md").read_text()
PAGES = [
    HOUSE / "README.md",
    HOUSE / "CONTRIBUTING.md",
    HOUSE / "benchmarks" / "NOTES.md",
    *sorted(HOUSE.glob("docs/*.md")),
]
EXAMPLES = [
    (page.name, code) for page in PAGES for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]
LINKS = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text())]
DEFAULT_RUNS = {
    "chorales": "chorales",
    "classify": "classify_tweets",
    "draw": "draw",
    "forecast": "forecast",
    "language_model": "language_model_press",
    "long_memory": "long_memory",
    "pixels": "pixels",
    "seq2seq": "cmudict_short",
    "tag": "tag",
    "tree": "tree",
}  # script -> file in experiments/results


@pytest.mark.parametrize(("page", "example"), EXAMPLES)
def test_examples_run(page, example):
    if "equinox" in example:
        pytest.importorskip("equinox", reason="equinox, which this example is for, is not installed")
    exec(compile(example, page, "exec"), {"__name__": "page"})


def test_there_are_examples_of_plain_jax_flax_and_searches():
    for word in ("seqjax.unroll", "optax", "linen", "nnx", "equinox", "beam_search"):
        assert any(word in example for _, example in EXAMPLES)


def test_tables_are_what_the_runs_recorded():
    mend = "to mend it: python -m experiments.harness.table"
    assert table.short_table(table.read_results(table.IN_README)) in README, mend
    assert table.full_table(table.read_results()) in (HOUSE / "docs" / "results.md").read_text(), mend


@pytest.mark.parametrize("script", DEFAULT_RUNS)
def test_the_docstring_of_a_script_has_the_numbers_of_its_default_run(script):
    path = table.RESULTS / f"{DEFAULT_RUNS[script]}.json"
    result = json.loads(path.read_text())
    assert result["command"] == f"python -m experiments.{script}"
    _, _, score, baseline, minutes = table.short_row(result)
    docstring = " ".join((HOUSE / "experiments" / f"{script}.py").read_text().split('"""')[1].split())
    assert f"The default run takes {minutes} minutes on two cores and reaches {score}" in docstring
    assert f"reaches {baseline.split()[0]}." in docstring


@pytest.mark.parametrize("licence", sorted(HOUSE.glob("experiments/**/LICENSE")), ids=str)
def test_licences_of_data_are_linked(licence):
    assert f"]({licence.relative_to(HOUSE).as_posix()})" in README


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda part: getattr(part, "name", part))
def test_links_lead_somewhere(page, link):
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists()
    if heading:
        headings = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE)
        assert heading in {re.sub(r"[^\w -]", "", words).lower().replace(" ", "-") for words in headings}


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 200
