"""One script for each shape of sequence problem: `python -m experiments.<script>`; `--help` lists its flags."""

import sys

if sys.argv[:1] == ["-m"]:  # so Python names a module that it is about to run, and imports this package first
    from experiments.harness.signals import quit_during_imports

    quit_during_imports()
