"""Measuring in turns: what disturbs the machine in a round disturbs all that are compared."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

PAUSE = 0.3  # seconds in which the threads of the library that ran before come to rest


class Measured(NamedTuple):
    """What each of those compared has returned, the last time, and the seconds of each round."""

    results: dict[str, Any]
    seconds: dict[str, np.ndarray]


def take_turns(asks: dict[str, Callable[[], dict[str, Any]]], repeats: int) -> Measured:
    """Asks each once, so that all have compiled, and then each in each round, forwards and backwards in turn."""
    results = {name: ask()["result"] for name, ask in asks.items()}
    seconds = {name: np.zeros(repeats) for name in asks}
    for i in range(repeats):
        for name in list(asks) if i % 2 == 0 else list(asks)[::-1]:
            time.sleep(PAUSE)
            answer = asks[name]()
            results[name], seconds[name][i] = answer["result"], answer["seconds"]
    return Measured(results, seconds)
