"""Language model baselines: the bits per character that general-purpose compressors need for a text.

The cost of `held_out` is the size of `context` and `held_out` compressed together, minus that of `context` alone. PPMd
(Shkarin 2002) predicts each byte from the few before it; it is an n-gram model that learns as it reads. xz (LZMA)
repeats earlier strings.
"""

import lzma
from collections.abc import Callable

PPMD_MEMORY = 1 << 30  # bytes, allocated as needed; a model that fills its memory forgets everything it has learned


def _bits_per_character(compress: Callable[[bytes], bytes], context: str, held_out: str) -> float:
    if not held_out:
        raise ValueError("held_out: expected at least one character, got none")
    both, before = (len(compress(text.encode())) for text in (context + held_out, context))
    return 8 * (both - before) / len(held_out)


def ppmd_bits_per_character(context: str, held_out: str, *, order: int = 6) -> float:
    """Computes the bits per character that PPMd of order `order` needs for `held_out` after `context`."""
    import pyppmd

    return _bits_per_character(
        lambda data: pyppmd.compress(data, max_order=order, mem_size=PPMD_MEMORY), context, held_out
    )


def xz_bits_per_character(context: str, held_out: str) -> float:
    """Computes the bits per character that xz, at its strongest setting, needs for `held_out` after `context`."""
    return _bits_per_character(lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), context, held_out)
