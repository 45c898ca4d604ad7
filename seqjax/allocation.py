"""Memory on a CPU: what a training step gives back is kept for the next, which needs as much again."""

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # names of glibc's mallopt


def keep_freed_memory() -> bool:
    """Tells the C library to keep what is freed, and says whether it could; call it before JAX is used.

    XLA's CPU backend takes the buffers of each step from `malloc` and frees them. By default glibc returns large ones
    to the system, which clears every page of the next: half the processor time of `experiments.tag`, a third of its
    wall time. Other C libraries are left as they are. The process then holds the most memory that it ever needed.

    >>> keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    largest = 2**31 - 1  # bytes: the options are ints
    options = {_TRIM_THRESHOLD: largest, _TOP_PAD: 2**26, _MMAP_MAX: 0, _ARENA_MAX: 1}
    mallopt = ctypes.CDLL(None).mallopt
    return min(mallopt(name, value) for name, value in options.items()) == 1
