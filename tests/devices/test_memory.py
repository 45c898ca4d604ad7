"""Freed memory is kept: to fill a large block again touches no new page."""

import json
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, sys
from seqjax.devices.memory import keep_freed_memory

def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        b"x" * 2**26  # 64 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

faults()
before = faults()
kept = keep_freed_memory()
faults()
print(json.dumps([kept, before, faults()]))
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc can be configured to keep freed memory (mallopt)"
)
def test_freed_memory_is_filled_again_without_faults():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kept, before, after = json.loads(done.stdout)
    assert kept
    assert after < 100 < 1000 < before
