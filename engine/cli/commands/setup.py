"""`setup`: the launcher has made the environment ready by the time this runs; check that and say so."""

from __future__ import annotations

import argparse
import platform
import sys

from engine.cli.requirements import project_root, read_needs, unmet, versions_here
from engine.errors import MachineError


def run(args: argparse.Namespace) -> int:
    """Compare the requirements with what the running interpreter has."""
    needs = read_needs(project_root(), dev=False)
    versions = versions_here(needs.names)
    missing = unmet(needs.packages, versions)
    if missing:
        raise MachineError(f"{missing[0]} is not installed here; start this command through launcher.py.")
    print(f"Ready: Python {platform.python_version()}, PyTorch {versions['torch']}, in {sys.prefix}.")
    return 0
