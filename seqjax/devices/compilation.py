"""Faster compilation on a CPU, for a run of minutes that compiles a function for several shapes."""

import os

import jaxlib.version

_OLDER_EMITTERS = "--xla_cpu_use_fusion_emitters=false"


def compile_quickly() -> bool:
    """Makes XLA's CPU backend use its older emitters; returns whether it could. Call it before JAX is used.

    The older emitters compile faster. Whether their code also runs as fast depends on the cell and the size, so each
    program decides, not the library. A setting of this flag that is already in XLA_FLAGS takes precedence.

    >>> compile_quickly() == (jaxlib.version.__version_info__ < (0, 12))
    True
    """
    if jaxlib.version.__version_info__ >= (0, 12):  # later versions may lack them, and XLA aborts on an unknown flag
        return False
    os.environ["XLA_FLAGS"] = f"{_OLDER_EMITTERS} {os.environ.get('XLA_FLAGS', '')}".strip()
    return True
