"""`setup`: the launcher has made the environment ready by the time this runs; prove it and say so."""

from __future__ import annotations

import argparse
import platform
import sys

from engine.cli.requirements import project_root, read_needs, unmet, versions_here
from engine.errors import MachineError


def run(args: argparse.Namespace) -> int:
    """Check the requirements against the running interpreter and load PyTorch once."""
    needs = read_needs(project_root(), dev=False)
    missing = unmet(needs.packages, versions_here(needs.names))
    if missing:
        raise MachineError(f"{missing[0]} is not installed here; start this command through launcher.py.")
    import torch

    print(f"Ready: Python {platform.python_version()}, PyTorch {torch.__version__}, in {sys.prefix}.")
    return 0
