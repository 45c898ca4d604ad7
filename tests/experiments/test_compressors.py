import numpy as np
import pytest

from experiments.baselines import compressors

COMPRESSORS = pytest.mark.parametrize(
    "bits_per_character", [compressors.ppmd_bits_per_character, compressors.xz_bits_per_character]
)
LETTERS = "".join(np.random.default_rng(0).choice(list("abcdefghijklmnop"), 5000))  # 4 bits each
CYRILLIC = LETTERS.translate({ord(c): ord(c) + 0x3D0 for c in set(LETTERS)})


@COMPRESSORS
def test_random_letters_cost_their_entropy_at_least(bits_per_character):
    assert 4 < bits_per_character("", LETTERS) < 5


@COMPRESSORS
def test_what_was_read_before_costs_little(bits_per_character):
    assert 0 < bits_per_character(LETTERS, LETTERS) < 0.5
    assert bits_per_character(LETTERS[:2500], LETTERS[2500:]) > 4


@COMPRESSORS
def test_bits_are_counted_by_character_not_by_byte(bits_per_character):
    assert len(CYRILLIC.encode()) == 2 * len(CYRILLIC)
    assert bits_per_character("", CYRILLIC) > 4


def test_ppmd_looks_back_as_far_as_its_order():
    bits = {order: compressors.ppmd_bits_per_character(LETTERS, LETTERS, order=order) for order in (2, 6)}
    assert bits[6] < 0.5 < 2 < bits[2]


@COMPRESSORS
def test_nothing_to_code(bits_per_character):
    with pytest.raises(ValueError, match="held_out"):
        bits_per_character(LETTERS, "")
