"""XLA is told of its older emitters before what the environment says, and takes it."""

import json
import os
import subprocess
import sys

import jaxlib.version
import pytest

PROGRAM = """
import json, os
from seqjax.devices.compilation import compile_quickly

quickly = compile_quickly()
import jax.numpy as jnp
print(json.dumps([quickly, os.environ["XLA_FLAGS"].split(), float(jnp.arange(3.0).sum())]))
"""


@pytest.mark.skipif(
    jaxlib.version.__version_info__ >= (0, 12),
    reason="jaxlib 0.12 and later may not have the older emitters, so nothing is selected",
)
def test_what_the_environment_says_goes_before():
    chosen = "--xla_cpu_use_fusion_emitters=true"  # of two that contradict each other, XLA goes by the last
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"XLA_FLAGS": chosen},
        capture_output=True,
        text=True,
        check=True,
    )
    quickly, told, total = json.loads(done.stdout)
    assert quickly
    assert told == ["--xla_cpu_use_fusion_emitters=false", chosen]
    assert total == 3.0
