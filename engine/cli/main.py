"""From words on the command line to a command's module, and from errors to exit codes.

Exit codes: 0 done; 1 a fault of the program (with its traceback) or a failed check; 2 the input or the machine is at
fault (one sentence on stderr); 130 cancelled.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Sequence
from types import FrameType

from engine.cli.parser import parse
from engine.errors import Cancelled, OutputError, UserError

DONE, FAULT, USER, CANCELLED = 0, 1, 2, 130

Command = Callable[[Namespace], int]


def main(argv: Sequence[str] | None = None, *, studio: Command | None = None) -> int:
    """Run one command and return its exit code; never raises for anything a user can do.

    Args:
        argv: the arguments without the program's name; None takes those of the process.
        studio: starts the studio where no command is given. The engine does not know the studio, so whoever has both,
            the launcher, hands it in.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a character must not be a fault
            stream.reconfigure(errors="replace")
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
    except SystemExit as end:  # help was shown or the usage was wrong; argparse has said so
        return end.code if isinstance(end.code, int) else USER
    return guarded(lambda: _command(args, studio)(args))


def _command(args: Namespace, studio: Command | None) -> Command:
    if args.command is not None:
        return importlib.import_module(f"engine.cli.commands.{args.command}").run
    if studio is None:
        raise UserError("The studio is started by “python launcher.py”; give a command here, or see --help.")
    return studio


def guarded(work: Callable[[], int]) -> int:
    """Call `work` and turn what it raises into an exit code: user errors into a sentence, faults into a traceback.

    SIGTERM counts as Ctrl-C meanwhile, so that work in progress is tidied up.
    """
    before = _interrupt_on_sigterm()
    try:
        code = work()
        sys.stdout.flush()
        return code
    except UserError as error:
        return _say(str(error), USER)
    except (Cancelled, KeyboardInterrupt):
        return _say("Cancelled.", CANCELLED)
    except BrokenPipeError:
        # Whoever read our output went away. Python flushes stdout once more at its end: that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANCELLED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            traceback.print_exc()
            return FAULT
        return _say(str(_disk_error(error)), USER)
    except Exception:
        traceback.print_exc()
        return FAULT
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _say(sentence: str, code: int) -> int:
    sys.stdout.flush()
    print(" ".join(sentence.split()), file=sys.stderr, flush=True)
    return code


def _disk_error(error: OSError) -> OutputError:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.EROFS:
        return OutputError(f"This place cannot be written to{where}; choose another one.")
    return OutputError(f"The disk is full{where}; make room and try again.")


def _interrupt_on_sigterm() -> Callable[[int, FrameType | None], object] | int | None:
    """Install the handler; return the one before, or None where signals cannot be set (outside the main thread)."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        return signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        return None


if __name__ == "__main__":
    sys.exit(main())
