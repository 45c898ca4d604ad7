"""Memory on a CPU: what a training step gives back is kept for the next, which needs as much again."""

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # names of glibc's mallopt


def keep_freed_memory() -> bool:
    """Tells the C library to keep what is freed, and says whether it could.

    Call it before the first array of JAX: after it, the threads of JAX have heaps of their own, which give memory back.

    XLA's CPU backend takes the buffers of each step from `malloc` and frees them. By default glibc returns large ones
    to the system, which clears every page of the next: in steps of `experiments.tag` 26 to 31% of the processor time,
    which this saves, so that they go 1.1 to 1.4 times as fast (two runs of either way on two cores). Other C libraries
    are left as they are. The price is memory: that process grew to 2.1 to 2.6 GB, not 1.5, and never shrinks.

    >>> keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    largest = 2**31 - 1  # bytes: the options are ints
    options = {_TRIM_THRESHOLD: largest, _TOP_PAD: 2**26, _MMAP_MAX: 0, _ARENA_MAX: 1}
    mallopt = ctypes.CDLL(None).mallopt
    return min(mallopt(name, value) for name, value in options.items()) == 1
