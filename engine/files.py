"""Writing files so that they are either whole or not there, with the operating system's refusals in plain words."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import OutputError
from engine.paths import data_home

_FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_homes: set[Path] = set()
"""Data folders that this process has seen."""


def output_error(error: OSError, target: Path) -> OutputError:
    """The sentence for an operating system error met while `target` was written."""
    if error.errno in _FULL:
        return OutputError(f"The disk is full, so “{target}” was not written; free some space and try again.")
    if error.errno in _FORBIDDEN:
        return OutputError(f"“{target}” cannot be written because it is not allowed there; choose another place.")
    if error.errno == errno.ENAMETOOLONG:
        return OutputError(f"“{target}” cannot be written because its name is too long; choose a shorter one.")
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return OutputError(f"“{target}” cannot be written because something else stands there; choose another place.")
    reason = error.strerror or type(error).__name__
    return OutputError(f"“{target}” cannot be written ({reason}); choose another place.")


@contextmanager
def writing(target: Path) -> Generator[None]:
    """Turn every OSError inside into an `OutputError` about `target`."""
    try:
        yield
    except OSError as error:
        raise output_error(error, target) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises OSError; `OutputError` below a data folder that was there and is gone: it
    may come back (a drive, a network), and must not find another one in its place."""
    home = data_home()
    if home == folder or home in folder.parents:
        if home.is_dir():
            _homes.add(home)
        elif home in _homes:
            raise OutputError(f"The folder “{home}” is gone; bring it back, or start the program again without it.")
    folder.mkdir(parents=True, exist_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to a temporary name beside `path` and rename it; folders are made. Raises `OutputError`."""
    with writing(path):
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())  # a rename may reach the disk before the data it names
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def put_in_place(temporary: Path, target: Path) -> None:
    """Give the finished file or folder `temporary` the name of its neighbour `target`, which may exist; raises OSError.

    No system renames one folder over another that is not empty: the old one steps aside, and comes back if the new one
    cannot take its place.
    """
    if not target.is_dir():
        temporary.replace(target)
        return
    aside = temporary.with_name(f"{temporary.name}.old")
    target.replace(aside)
    try:
        temporary.replace(target)
    except OSError:
        aside.replace(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
