"""Functions that compare, hash and pickle by what made them.

A cell consists of functions that its maker, such as `lstm`, defines anew at each call. Plain functions are equal only
if they are the same object. A second cell with the same settings would therefore be another static argument of `jit`,
which would compile again. Functions defined inside another function cannot be pickled either.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Made:
    """A function, known by its maker, the arguments that differ from the defaults, and its name in what was made."""

    maker: Callable[..., Any]
    arguments: tuple[tuple[str, Any], ...]
    name: str | None  # the field of a NamedTuple of functions; None if the maker returns the function itself
    function: Callable[..., Any] = field(compare=False, repr=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function."""
        return self.function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the maker and the arguments."""
        return _make_again, (self.maker, self.arguments, self.name)


def by_value(make: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function that makes a function or a NamedTuple of functions.

    What it makes stays as it is if an argument cannot be hashed, such as a random key, or is returned unchanged.

    >>> import pickle
    >>> import seqjax
    >>> seqjax.lstm(8) == seqjax.lstm(hidden_size=8), seqjax.lstm(8) == seqjax.lstm(9)
    (True, False)
    >>> cell = seqjax.stack([seqjax.gru(4), seqjax.lstm(4, bias_init=seqjax.forget_bias(2.0))])
    >>> pickle.loads(pickle.dumps(cell)) == cell
    True
    """
    signature = inspect.signature(make)

    @functools.wraps(make)
    def maker(*args: P.args, **kwargs: P.kwargs) -> R:
        made: Any = make(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments.items()
        arguments = tuple(
            (name, tuple(value) if isinstance(value, list) else value)
            for name, value in given
            if value is not signature.parameters[name].default
        )
        try:
            hash(arguments)
        except TypeError:
            return made
        if any(made is value for _, value in arguments):
            return made
        if not isinstance(made, tuple):
            return Made(maker, arguments, None, made)  # type: ignore[return-value]
        functions = made._asdict().items()  # type: ignore[attr-defined]
        known = {name: Made(maker, arguments, name, each) for name, each in functions if callable(each)}
        return made._replace(**known)  # type: ignore[attr-defined]

    return maker


def _make_again(maker: Callable[..., Any], arguments: tuple[tuple[str, Any], ...], name: str | None) -> Any:
    made = maker(**dict(arguments))
    return made if name is None else getattr(made, name)
