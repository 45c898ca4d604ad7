"""Settings: what a dataclass declares is what flags, --help, the command and the record say."""

import math
import shlex
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import chorales, classify, completion, draw, language_model, long_memory, seq2seq, tag, tree
from experiments.harness.errors import UsageError, blame, require
from experiments.harness.settings import (
    action,
    command,
    fields,
    from_record,
    help_text,
    option,
    parse,
    record,
    setting,
)

SCRIPTS = (chorales, classify, completion, draw, language_model, long_memory, seq2seq, tag, tree)


@dataclass(frozen=True)
class Shared:
    """Shared by scripts."""

    layers: int = setting(1, "Layers.", at_least=1)
    rate: float = setting(0.5, "A rate.", at_least=0, below=1)
    norm: float = setting(1.0, "A norm.", above=0, below=None)


@dataclass(frozen=True)
class Settings(Shared):
    """Of this script."""

    name: str | None = setting(None, "A name.")
    cell: str = setting("lstm", "A cell.", choices=["gru", "lstm"])
    chrono: bool = setting(True, "Chrono.")
    shown: int = option(3, "How many are shown.")
    quick: bool = action(False, "Only once.")
    layers: int = 2

    def adapted_defaults(self):
        return {"rate": 0.25} if self.cell == "gru" else {}


def test_a_class_may_change_the_default_of_an_inherited_setting_and_nothing_else():
    assert [field.name for field in fields(Settings)] == [
        "name", "cell", "chrono", "shown", "quick", "layers", "rate", "norm"
    ]  # fmt: skip
    layers = next(field for field in fields(Settings) if field.name == "layers")
    assert (layers.default, layers.group, layers.declaration.at_least) == (2, Shared, 1)
    with pytest.raises(UsageError, match="--layers=0: expected at least 1"):
        parse(Settings, ["--layers=0"], script="s")


@given(
    layers=st.integers(1, 9),
    rate=st.floats(0, 1, exclude_max=True),
    norm=st.floats(0, math.inf, exclude_min=True),
    name=st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
    cell=st.sampled_from(["gru", "lstm"]),
    chrono=st.booleans(),
    shown=st.integers(),
)
def test_the_command_of_settings_parses_to_these_settings(**values):
    settings = Settings(**values)
    words = shlex.split(command("script", settings))
    assert words[:3] == ["python", "-m", "experiments.script"]
    assert parse(Settings, words[3:], script="script") == settings
    assert from_record(Settings, record(settings)) == settings


def test_the_command_leaves_out_defaults_and_actions():
    assert command("s", Settings(quick=True)) == "python -m experiments.s"
    assert command("s", Settings(cell="gru", rate=0.25)) == "python -m experiments.s --cell=gru"
    assert command("s", Settings(cell="gru", rate=0.5)) == "python -m experiments.s --cell=gru --rate=0.5"


def test_a_default_that_depends_on_another_flag_yields_to_a_given_one():
    assert parse(Settings, ["--cell=gru"], script="s").rate == 0.25
    assert parse(Settings, ["--cell=gru", "--rate=0.5"], script="s").rate == 0.5


def test_a_record_lacks_actions_and_may_be_older_or_newer():
    assert "quick" not in record(Settings(quick=True))
    assert from_record(Settings, {"layers": 3, "gone": 1, "quick": True}) == Settings(layers=3)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--layers=two", "--layers=two: expected an integer, at least 1$"),
        ("--rate=x", "--rate=x: expected a number, at least 0 and below 1$"),
        ("--rate=1", "--rate=1.0: expected at least 0 and below 1$"),
        ("--rate=nan", "--rate=nan: expected at least 0 and below 1$"),
        ("--norm=-inf", "--norm=-inf: expected above 0$"),
        ("--cell=rnn", "--cell=rnn: expected one of gru, lstm$"),
        ("--chrono=maybe", "--chrono=maybe: expected true or false$"),
        ("--layer=3", "--layer: no such flag; did you mean --layers"),
        ("--zzz", "--zzz: no such flag; --help lists all flags$"),
        ("--layers", "Missing value for flag --layers"),
        ("layers=3", "layers=3: expected flags only"),
    ],
)
def test_a_wrong_flag_is_named_with_what_was_expected(argument, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        parse(Settings, [argument], script="s")


def test_infinity_is_allowed_only_where_it_means_something():
    assert parse(Settings, ["--norm=inf"], script="s").norm == math.inf


def test_help_shows_the_groups_of_the_script_before_those_it_shares():
    shown = help_text(Settings, "s", "What it does.")
    assert shown.startswith("usage: python -m experiments.s ")
    places = [shown.index(text) for text in ("What it does.", "Of this script:", "--cell=lstm", "One of gru, lstm.",
              "--[no]chrono", "On by default.", "Shared by scripts:", "--layers=2", "--rate=0.5")]  # fmt: skip
    assert places == sorted(places)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_every_script_declares_settings_that_hold_their_own_bounds(script):
    name = script.__name__.removeprefix("experiments.")
    settings = parse(script.Settings, [], script=name)
    assert replace(settings) == settings
    assert command(name, settings) == f"python -m {script.__name__}"
    shown = help_text(script.Settings, name, script.__doc__)
    assert all(f"{field.name}" in shown and field.declaration.help.endswith(".") for field in fields(script.Settings))
    assert max(map(len, shown.splitlines())) <= 120


def test_blame_keeps_other_errors_as_they_are():
    with pytest.raises(KeyError), blame("flag", "value"):
        raise KeyError("a fault of the program")
    with pytest.raises(UsageError, match="^already named$"), blame("flag", "value"):
        raise UsageError("already named")
    with pytest.raises(UsageError, match="^--text=none.txt: No such file or directory$"), blame("text", "none.txt"):
        open("none.txt")


def test_a_missing_extra_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyppmd", None)
    with pytest.raises(UsageError, match=r'^pyppmd is not installed; run: pip install -e "\.\[data\]"$'):
        require("json", "pyppmd", extra="data")
