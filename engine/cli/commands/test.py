"""`test`: runs pytest on the groups of tests; its closing line comes last, behind it only figures.

Those of `faults` and of guided `fuzz`, as one line of JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from engine.cli.parser import TEST_GROUPS
from engine.cli.requirements import extra, project_root
from engine.errors import Cancelled, InputError

_SIDE_BY_SIDE = ("--numprocesses=2", "--dist=loadfile")
"""All groups take half an hour one after the other; tests are one thread each, so two processes are quicker. A
file's tests stay together: they may share a server."""

# What pytest's exit codes mean for ours; everything else (a failed test, an internal error) is a failed check.
_PASSED, _INTERRUPTED, _WRONG_USAGE, _NOTHING_FOUND = 0, 2, 4, 5


def run(args: argparse.Namespace) -> int:
    """Run one group, or all that need no name with a short round of faults; 0 if every test passed, 1 if not."""
    root = project_root()
    command = [sys.executable, "-m", "pytest", *folders(root, args.group)]
    if args.group is None:
        command += _SIDE_BY_SIDE
    if args.rounds is not None:
        command.append(f"--rounds={args.rounds}")
    if args.guided:
        _check_guide()
        command.append("--guided")
    if args.group == "faults" or args.guided:
        command.append("--figures-last")
    code = subprocess.run([*command, *args.pytest_args], cwd=root, stdin=subprocess.DEVNULL).returncode
    if code == _INTERRUPTED:
        raise Cancelled("The tests were interrupted.")
    if code == _WRONG_USAGE:
        raise InputError("pytest did not understand the arguments behind “--”; see above.")
    if code == _NOTHING_FOUND:
        raise InputError("No test was found; look at the arguments behind “--”.")
    return 0 if code == _PASSED else 1


def _check_guide() -> None:
    if importlib.util.find_spec("atheris") is None:
        (requirement,) = extra(project_root(), "fuzz")
        raise InputError(
            "Guided fuzzing needs atheris, which there is for Linux on x86-64 only: "
            f"“{sys.executable} -m pip install {requirement.partition(';')[0]}” installs it; "
            "without --guided, fuzz runs everywhere."
        )


def folders(root: Path, group: str | None) -> list[str]:
    """The folders, relative to `root`, of one group of tests or of all that need no name."""
    names = TEST_GROUPS if group is None else (group,)
    missing = [name for name in names if not (root / "tests" / name).is_dir()]
    if missing:
        raise InputError(f"There is no folder tests/{missing[0]} in this copy of the program; fetch a complete one.")
    return [f"tests/{name}" for name in names]
