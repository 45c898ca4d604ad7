"""Memory on a CPU: the process keeps the memory that one training step frees, because the next needs as much."""

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # option numbers of glibc's mallopt


def keep_freed_memory() -> bool:
    """Makes the C library keep freed memory; returns whether it could.

    Call it before JAX creates its first array. After that, JAX's threads have separate heaps, which return memory to
    the system.

    XLA's CPU backend takes the buffers of each step from `malloc` and frees them. By default glibc returns large
    buffers to the system, which then clears every page of the next ones. Keeping the memory saves that time. The price
    is memory: the process grows larger and never shrinks. Other C libraries are left unchanged.

    >>> keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    largest = 2**31 - 1  # bytes; the options are C ints
    options = {_TRIM_THRESHOLD: largest, _TOP_PAD: 2**26, _MMAP_MAX: 0, _ARENA_MAX: 1}
    mallopt = ctypes.CDLL(None).mallopt
    return min(mallopt(name, value) for name, value in options.items()) == 1
