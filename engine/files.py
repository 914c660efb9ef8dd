"""Writing files so that they are either whole or not there, with the operating system's refusals in plain words.

What is not whole yet has a hidden name beside its target that tells whose work it is, so that what a killed process
left behind is known, and a folder it was about to replace comes back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil

from engine.errors import OutputError
from engine.paths import data_home

_FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
_UNKNOWN = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_HIDDEN = re.compile(r"\.lumosx-(\d+)-([0-9a-f]{4})[0-9a-f]{8}(\.\w+)?")
_ASIDE = ".old"
_OURS = secrets.token_hex(2)
"""Tells this process from an earlier one of the same number: in a container that is the rule."""
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
    """Make a folder and those above it. Raises OSError, and `OutputError` below a data folder that was there and is
    gone: it may come back (a drive, a network), and must not find another one in its place."""
    home = data_home()
    if home == folder or home in folder.parents:
        if home.is_dir():
            _homes.add(home)
        elif home in _homes:
            raise OutputError(f"The folder “{home}” is gone; bring it back, or start the program again without it.")
    folder.mkdir(parents=True, exist_ok=True)


def hidden_beside(target: Path, ending: str = "") -> Path:
    """A new hidden name beside `target` for what is to become it; absolute, for some libraries take “a:b” for a
    protocol."""
    return target.absolute().parent / f".lumosx-{os.getpid()}-{_OURS}{secrets.token_hex(4)}{ending}"


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to a temporary name beside `path` and rename it; folders are made. Raises `OutputError`.

    Only its owner may read the file.
    """
    with writing(path):
        make_folder(path.parent)
        temporary = hidden_beside(path, ".part")
        try:
            with open(temporary, "xb", opener=_private) as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())  # a rename may reach the disk before the data it names
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def sync(path: Path) -> None:
    """Bring the content of a file, or of all files in a folder, to the disk, before its name is there; raises
    OSError."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if not file.is_dir():
            with file.open("r+b") as stream:  # Windows syncs only what may be written
                os.fsync(stream.fileno())


def sync_names(folder: Path) -> None:
    """Bring the names in a folder to the disk, so that no power cut takes a rename back; raises OSError."""
    if os.name == "nt":
        return  # no folder can be opened there, and its names are journalled
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNKNOWN:  # some file systems have no such thing
            raise
    finally:
        os.close(descriptor)


def put_in_place(temporary: Path, target: Path, *, thoroughly: bool = False) -> None:
    """Give the finished file or folder `temporary` the name of its neighbour `target`, which may exist; raises OSError.

    No system renames one folder over another that is not empty: the old one steps aside, under its own name in a hidden
    folder, and comes back if the new one cannot take its place; after a kill between the two `remove_leftovers` sees to
    that. `thoroughly`: it is an error if anything of the old one cannot be deleted.
    """
    if not target.is_dir():
        temporary.replace(target)
        return
    aside = _step_aside(target)
    try:
        temporary.replace(target)
    except OSError:
        (aside / target.name).replace(target)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=not thoroughly)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that nobody ever sees a part of it; raises OSError."""
    hidden = hidden_beside(folder)
    folder.replace(hidden)
    shutil.rmtree(hidden)


def is_hidden(path: Path) -> bool:
    """Whether a name is one of `hidden_beside`, whoever's work it is."""
    return _HIDDEN.fullmatch(path.name) is not None


def leftovers(folder: Path, *, below: bool = False) -> list[Path]:
    """What killed processes have begun in `folder`, `below`: and in all folders in it."""
    return [
        path
        for path in ((folder.rglob if below else folder.glob)(".lumosx-*") if folder.is_dir() else ())
        if (match := _HIDDEN.fullmatch(path.name)) is not None and not _works(int(match[1]), match[2])
    ]


def remove_leftovers(folder: Path, *, below: bool = False) -> None:
    """Remove `leftovers`; what had been moved aside and not replaced yet comes back."""
    for path in leftovers(folder, below=below):
        with contextlib.suppress(OSError):  # somebody else may tidy up at the same moment; the next look tries again
            if not path.is_dir():
                path.unlink(missing_ok=True)
                continue
            for old in path.iterdir() if path.suffix == _ASIDE else ():
                if not os.path.lexists(path.parent / old.name):
                    old.replace(path.parent / old.name)
            shutil.rmtree(path)


def _step_aside(target: Path) -> Path:
    aside = hidden_beside(target, _ASIDE)
    aside.mkdir()
    try:
        target.replace(aside / target.name)
    except OSError:
        aside.rmdir()
        raise
    return aside


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _works(pid: int, whose: str) -> bool:
    """Whether the process of this number is alive and the one that chose the name."""
    if pid == os.getpid():
        return whose == _OURS
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # somebody else's, and alive
