"""Handles SIGINT (Ctrl-C) and SIGTERM at once, whatever the program is doing.

Python runs a signal handler only when the main thread is back in Python, which can take minutes while XLA compiles, and
a library's callback can swallow an exception that the handler raises. The handlers here therefore do nothing. Python
also writes the number of each signal to a socket the moment it arrives, and a thread that reads the socket reacts.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def quit_now(number: int, how_to_continue: str = "") -> NoReturn:
    """Ends the process with one line and the exit code of the signal; nothing else runs.

    This is safe at any moment, as SIGKILL is, because a run writes every file completely or not at all.
    """
    write_line(f"Stopped by {signal.Signals(number).name}." + (f" {how_to_continue}" if how_to_continue else ""))
    os._exit(128 + number)


def write_line(line: str) -> None:
    """Writes a line to standard error, below a progress bar, without taking a lock that the main thread may hold."""
    with contextlib.suppress(OSError):  # standard error is closed
        os.write(2, f"{os.linesep if os.isatty(2) else ''}{line}{os.linesep}".encode())


def quit_during_imports() -> None:
    """Makes SIGINT and SIGTERM end the process without a traceback from now on, until `answered` takes over."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, _: quit_now(number))


def ignore() -> None:
    """Ignores SIGINT and SIGTERM while Python exits, because everything is written by then."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def answered(answer: Callable[[int], None]) -> Iterator[None]:
    """Calls `answer` with the number of each SIGINT or SIGTERM as soon as it arrives, in a separate thread."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def wait_and_answer() -> None:
        while number := receiver.recv(1):
            if number[0] in STOP_SIGNALS:
                answer(number[0])

    thread = threading.Thread(target=wait_and_answer, daemon=True)
    thread.start()
    socket_before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    handlers_before = {number: signal.signal(number, _do_nothing) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        signal.set_wakeup_fd(socket_before)
        for number, handler in handlers_before.items():
            signal.signal(number, handler)
        sender.close()
        thread.join()
        receiver.close()


@contextlib.contextmanager
def stop_after_this_step(how_to_continue: str) -> Iterator[list[signal.Signals]]:
    """Collects the first signal for the training loop to see; a second one ends the process."""
    received: list[signal.Signals] = []

    def note(number: int) -> None:
        if received:
            quit_now(number, how_to_continue)
        received.append(signal.Signals(number))
        write_line(f"{received[0].name}: stopping after this step; again stops now.")

    with answered(note):
        yield received


def _do_nothing(number: int, frame: Any) -> None:
    """Does nothing; Python writes a signal's number to the socket only if a handler is installed."""
