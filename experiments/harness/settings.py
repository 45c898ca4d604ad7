"""Settings declared once in a frozen dataclass, from which the flags, `--help` and the checkpoint's record are made.

    @dataclass(frozen=True)
    class Settings(recipe.Layers, Run):
        '''Text.'''

        dataset: str = setting("brown/press", "TFDS data set of texts.")
        prompt: str | None = option(None, "Beginning of the text to write.")
        sample_only: bool = action(False, "Only write text, with the run in --run_folder.")
        hidden_size: int = 256  # a different default for an inherited setting

Each class is a group in `--help`, headed by its docstring. The three kinds of fields differ in what `--resume` does:

    setting    defines the run: recorded in the checkpoint, must not change
    option     recorded in the checkpoint, may change
    action     what this one command does: not recorded
"""

import dataclasses
import difflib
import inspect
import math
import re
import shlex
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from absl import flags

from experiments.harness import folder
from experiments.harness.errors import UsageError

S = TypeVar("S")

Kind = Literal["setting", "option", "action"]


class Declaration(NamedTuple):
    """What a field declares besides its type and default."""

    help: str
    kind: Kind
    choices: Sequence[str] | None
    at_least: float | None
    above: float | None
    at_most: float | None
    below: float | None


def setting(
    default: Any,
    help: str,
    *,
    kind: Kind = "setting",
    choices: Sequence[str] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = math.inf,
) -> Any:
    """Declares a field that defines the run.

    Args:
      default: the field's default.
      help: one sentence for `--help`.
      kind: see the module's docstring.
      choices: the allowed strings.
      at_least, above, at_most, below: bounds of a number; `below=None` allows infinity; NaN is never allowed.
    """
    declaration = Declaration(help, kind, choices, at_least, above, at_most, below)
    return dataclasses.field(default=default, metadata={"declaration": declaration})


def option(default: Any, help: str, **bounds: Any) -> Any:
    """Declares a field that a resumed run may change."""
    return setting(default, help, kind="option", **bounds)


def action(default: Any, help: str, **bounds: Any) -> Any:
    """Declares a field that says what this one command does."""
    return setting(default, help, kind="action", **bounds)


class Field(NamedTuple):
    """A field of a settings class."""

    name: str
    type: type  # str, int, float or bool
    default: Any
    group: type  # the class that declares it
    declaration: Declaration


def fields(settings: type) -> Iterator[Field]:
    """Lists the fields of a settings class: first its own, then those of each class it inherits from."""
    hints = typing.get_type_hints(settings)
    of_name = {field.name: field for field in dataclasses.fields(settings)}
    for group in settings.__mro__:
        for name in inspect.get_annotations(group):
            declaration = group.__dataclass_fields__[name].metadata.get("declaration")
            if declaration is not None:  # None: a different default for an inherited field
                yield Field(name, _type_of(hints[name]), of_name[name].default, group, declaration)


def parse(settings: type[S], arguments: Sequence[str], *, script: str) -> S:
    """Reads the settings of a command.

    A flag that is not given takes, in this order of precedence, the value recorded in the run of `--run_folder`, the
    value that the method `adapted_defaults` derives from other fields, or the default of its field.

    Args:
      settings: the class.
      arguments: flags as on a command line, without the program's name.
      script: name of the script in `experiments`.

    Raises:
      UsageError: if a flag is unknown, has a value that is not allowed, or changes a setting of the run to resume.
    """
    given = _read_flags(settings, arguments)
    recorded = _recorded(settings, given, script)
    made = settings(**(recorded | given))
    if not recorded:
        made = settings(**{**adapted_defaults(made), **given})
    _check_values(made)
    if given.get("resume"):
        _check_unchanged(made, recorded)
    return made


def adapted_defaults(settings: Any) -> Mapping[str, Any]:
    """Returns the defaults that depend on other fields, from the class's method of this name, if it has one."""
    return settings.adapted_defaults() if hasattr(settings, "adapted_defaults") else {}


def record(settings: Any) -> dict[str, Any]:
    """Returns what a checkpoint records: every field except the actions; infinity as text, because JSON lacks it."""
    recorded = {f.name: getattr(settings, f.name) for f in fields(type(settings)) if f.declaration.kind != "action"}
    return {name: "inf" if value == math.inf else value for name, value in recorded.items()}


def from_record(settings: type[S], recorded: Mapping[str, Any]) -> S:
    """Makes settings from what a checkpoint recorded; a field that an older record lacks gets its default."""
    return settings(**_known(settings, recorded))


def command(script: str, settings: Any) -> str:
    """Formats the command that repeats a run: every flag that differs from its default, except the actions.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Settings:
    ...     layers: int = setting(1, "Recurrent layers.")
    ...     crf: bool = setting(False, "Decode the tags of a sentence jointly.")
    >>> command("tag", Settings(layers=2, crf=True))
    'python -m experiments.tag --layers=2 --crf'
    """
    adapted = adapted_defaults(settings)
    words = ["python", "-m", f"experiments.{script}"]
    for field in fields(type(settings)):
        value = getattr(settings, field.name)
        if field.declaration.kind == "action" or value == adapted.get(field.name, field.default):
            continue
        if field.type is bool:
            words.append(f"--{field.name}" if value else f"--no{field.name}")
        else:
            words.append(f"--{field.name}={value}")
    return shlex.join(words)


def help_text(settings: type, script: str, description: str) -> str:
    """Formats what `--help` prints: the script's docstring, then its flags by group."""
    lines = [f"usage: python -m experiments.{script} [--flag=value ...]", "", description.strip()]
    group, indent, width = None, 26, 112
    for field in fields(settings):
        if field.group is not group:
            group = field.group
            lines += ["", (group.__doc__ or group.__name__).strip().rstrip(".") + ":"]
        default = field.type.__name__.upper() if field.default is None else field.default
        flag = f"  --[no]{field.name}" if field.type is bool else f"  --{field.name}={default}"
        text = field.declaration.help + (" On by default." if field.default is True else "")
        if field.declaration.choices is not None:
            text += f" One of {', '.join(field.declaration.choices)}."
        wrapped = textwrap.wrap(text, width - indent)
        if len(flag) < indent:
            flag = flag.ljust(indent) + wrapped.pop(0)
        lines += [flag, *(" " * indent + line for line in wrapped)]
    return "\n".join(lines)


def _type_of(hint: Any) -> type:
    """Returns the type in a hint that is not None: `int` for `int | None`."""
    if isinstance(hint, types.UnionType):
        [hint] = [part for part in typing.get_args(hint) if part is not types.NoneType]
    return hint


def _read_flags(settings: type, arguments: Sequence[str]) -> dict[str, Any]:
    """Returns the values of the flags that are given."""
    of_name = {field.name: field for field in fields(settings)}
    values = flags.FlagValues()
    define = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_bool}
    for field in of_name.values():
        if field.declaration.choices is None:
            define[field.type](field.name, None, field.declaration.help, flag_values=values)
        else:
            flags.DEFINE_enum(
                field.name, None, [*field.declaration.choices], field.declaration.help, flag_values=values
            )
    try:
        _, *rest = values(["", *arguments])
    except flags.UnrecognizedFlagError as error:
        near = difflib.get_close_matches(error.flagname, of_name, n=1)
        meant = f"did you mean --{near[0]}? " if near else ""
        raise UsageError(f"--{error.flagname}: no such flag; {meant}--help lists all flags") from None
    except flags.IllegalFlagValueError as error:
        name, value = re.match(r"flag --(\w+)=(.*?): ", f"{error}: ", re.DOTALL).groups()
        raise UsageError(f"--{name}={value}: expected {_expected(of_name[name])}") from None
    except flags.Error as error:  # a value is missing
        raise UsageError(f"{error}; --help lists all flags") from None
    if rest:
        raise UsageError(f"{rest[0]}: expected flags only, as in --name=value; --help lists them")
    return {name: values[name].value for name in of_name if values[name].present}


def _expected(field: Field) -> str:
    """Describes the values that a flag can have."""
    if field.declaration.choices is not None:
        return f"one of {', '.join(field.declaration.choices)}"
    kind = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}[field.type]
    bounds = _bounds(field.declaration) if field.type in (int, float) else ""
    return f"{kind}, {bounds}" if bounds else kind


def _bounds(declaration: Declaration) -> str:
    """Describes the bounds of a number."""
    *_, at_least, above, at_most, below = declaration
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    return " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound not in (None, math.inf))


def _check_values(settings: Any) -> None:
    """Raises UsageError for the first value outside its bounds."""
    for field in fields(type(settings)):
        value, (*_, at_least, above, at_most, below) = getattr(settings, field.name), field.declaration
        if value is None or field.type not in (int, float):
            continue
        allowed = (
            value == value  # not NaN
            and (at_least is None or value >= at_least)
            and (above is None or value > above)
            and (at_most is None or value <= at_most)
            and (below is None or value < below)
        )
        if not allowed:
            bounds = "" if value == math.inf else _bounds(field.declaration)
            raise UsageError(f"--{field.name}={value}: expected {bounds or 'a finite number'}")


def _known(settings: type, recorded: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(settings) if field.declaration.kind != "action"}
    return {name: math.inf if value == "inf" else value for name, value in recorded.items() if name in known}


def _recorded(settings: type, given: Mapping[str, Any], script: str) -> dict[str, Any]:
    """Returns what the run in --run_folder recorded, if there is one."""
    if not any(field.name == "resume" for field in fields(settings)):
        return {}
    run_folder = given.get("run_folder")
    if given.get("resume") and run_folder is None:
        raise UsageError("--resume: expected --run_folder=FOLDER as well, the run to continue")
    if given.get("resume") or (run_folder is not None and folder.holds_run(run_folder)):
        return _known(settings, folder.newest(run_folder, script).metadata["settings"])
    return {}


def _check_unchanged(settings: Any, recorded: Mapping[str, Any]) -> None:
    """Raises UsageError if a setting differs from that of the run to resume."""
    for field in fields(type(settings)):
        value = getattr(settings, field.name)
        if field.declaration.kind == "setting" and recorded.get(field.name, value) != value:
            raise UsageError(
                f"--{field.name}={value}: the run in {settings.run_folder} has {recorded[field.name]}; "
                "leave out the flag, or start a new run in another folder"
            )
