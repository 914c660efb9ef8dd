"""Starts LumosX Studio: `python3 launcher.py [COMMAND …]`, with any Python this program supports and nothing else.

Help and wrong usage are answered at once. For everything else an environment is made in `.venv` beside this file on
first use, and the command is handed over to it; where the running interpreter already has every requirement, it is used
as it is. Standard library only. This file compiles on old Pythons, too, so that they can be told what is needed.
"""

import os
import signal
import subprocess
import sys

if sys.version_info < (3, 11):  # noqa: UP036  (that is what it is for)
    sys.stderr.write("LumosX Studio needs Python 3.11, 3.12 or 3.13: start it with one of these.\n")
    raise SystemExit(2)

from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from argparse import Namespace

ROOT = Path(__file__).resolve().parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def main(argv: Sequence[str]) -> int:
    """Run one command of the command line and return its exit code (on POSIX the process may be replaced instead)."""
    from engine.cli.parser import parse

    args = parse(argv)
    from engine.cli.environment import prepare
    from engine.errors import MachineError

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        python = prepare(ROOT, dev=_needs_browser_tools(args))
    except MachineError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nCancelled; the next start goes on from here.", file=sys.stderr)
        return 130
    if python is not None:
        return _hand_over(python, argv)
    from engine.cli.main import main as run

    return run(argv, studio=_studio)


def _needs_browser_tools(args: "Namespace") -> bool:
    """Whether a command needs what is installed for the tests: pytest, and what drives a browser."""
    return args.command == "test" or (args.command == "bench" and args.action == "studio")


def _studio(args: "Namespace") -> int:
    from studio.app import serve_as_asked

    return serve_as_asked(args)


def _hand_over(python: Path, argv: Sequence[str]) -> int:
    """Run this file with the environment's Python; on POSIX that replaces this process, signals and all."""
    command = [str(python), str(ROOT / "launcher.py"), *argv]
    if sys.platform != "win32":
        os.execv(command[0], command)
    child = subprocess.Popen(command)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the console sent it to the child, too: its exit code counts
            continue


def _interrupt(number: int, frame: "FrameType | None") -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
