"""What `import seqjax` costs: jax, and none of the libraries that only the shells and the experiments need."""

import subprocess
import sys


def test_import_brings_neither_shells_nor_data():
    heavy = ["flax", "optax", "orbax", "tensorflow_datasets", "tensorflow", "matplotlib", "torch"]
    program = f"import seqjax, sys; print([name for name in {heavy} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"
