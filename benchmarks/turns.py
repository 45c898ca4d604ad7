"""Measuring in turns, so that a disturbance in one round affects everything that is compared."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

PAUSE = 0.3  # seconds for the threads of the previous library to become idle


class Measured(NamedTuple):
    """The last result of each contestant, and its seconds in each round."""

    results: dict[str, Any]
    seconds: dict[str, np.ndarray]


def take_turns(asks: dict[str, Callable[[], dict[str, Any]]], repeats: int) -> Measured:
    """Asks each once, so that all have compiled, and then once per round, alternately in forward and reverse order."""
    results = {name: ask()["result"] for name, ask in asks.items()}
    seconds = {name: np.zeros(repeats) for name in asks}
    for i in range(repeats):
        for name in list(asks) if i % 2 == 0 else list(asks)[::-1]:
            time.sleep(PAUSE)
            answer = asks[name]()
            results[name], seconds[name][i] = answer["result"], answer["seconds"]
    return Measured(results, seconds)
