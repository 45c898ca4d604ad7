"""What general compressors need for a text, as the baseline of a character language model.

A compressor that has just coded `context` codes `held_out` in so many bits more. PPMd (Shkarin 2002) predicts each
byte from the few before it, an n-gram model that learns as it reads; xz (LZMA) repeats earlier strings.
"""

import lzma
from collections.abc import Callable

PPMD_MEMORY = 1 << 30  # bytes, taken as needed; a model that fills its memory forgets all it has learnt


def _bits_per_character(compress: Callable[[bytes], bytes], context: str, held_out: str) -> float:
    if not held_out:
        raise ValueError("held_out: expected at least one character, got none")
    both, before = (len(compress(text.encode())) for text in (context + held_out, context))
    return 8 * (both - before) / len(held_out)


def ppmd_bits_per_character(context: str, held_out: str, *, order: int = 6) -> float:
    """Bits a character that PPMd, looking back `order` bytes, needs for `held_out` once it knows `context`."""
    import pyppmd

    return _bits_per_character(
        lambda data: pyppmd.compress(data, max_order=order, mem_size=PPMD_MEMORY), context, held_out
    )


def xz_bits_per_character(context: str, held_out: str) -> float:
    """Bits a character that xz at its strongest needs for `held_out` once it knows `context`."""
    return _bits_per_character(lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), context, held_out)
