"""Compilation on a CPU: XLA's quicker way, for a run of minutes that compiles a function for several shapes."""

import os

import jaxlib.version

_OLDER_EMITTERS = "--xla_cpu_use_fusion_emitters=false"


def compile_quickly() -> bool:
    """Has XLA's CPU backend generate code its older way, and says whether it can; call it before JAX is used.

    The older emitters compile the five shapes of `experiments.seq2seq` in 32 s instead of 49 on two cores. What they
    make is as fast there and in the language model; a lone layer goes 0.8 to 1.3 times as fast, by cell and size, so
    this is for a program and not for the library to choose. What XLA_FLAGS says of it already goes before.

    >>> compile_quickly() == (jaxlib.version.__version_info__ < (0, 12))
    True
    """
    if jaxlib.version.__version_info__ >= (0, 12):  # by then they may be gone, and XLA aborts at a flag unknown to it
        return False
    os.environ["XLA_FLAGS"] = f"{_OLDER_EMITTERS} {os.environ.get('XLA_FLAGS', '')}".strip()
    return True
