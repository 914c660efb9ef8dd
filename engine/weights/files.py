"""Files of weights: sizes and digests, whole-or-nothing writes, and the space a disk has left. Loads no torch."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.errors import OutputError
from engine.files import hidden_beside, sync, sync_names


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """Size and digest of a file as it was written."""

    size_bytes: int
    sha256: str


def write_json(path: Path, data: object) -> None:
    """Write JSON under a temporary name and rename it, so that no half-written file is ever seen, not even after a
    power cut."""
    temporary = hidden_beside(path, ".part")
    with explained(path):
        try:
            temporary.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            sync(temporary)
            os.replace(temporary, path)
            sync_names(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def record_file(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> FileRecord:
    """Size and sha256 of a file, read once in pieces; `on_bytes` is told the size of each."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while piece := stream.read(1 << 22):
            digest.update(piece)
            size += len(piece)
            on_bytes(len(piece))
    return FileRecord(size_bytes=size, sha256=digest.hexdigest())


def state_of(path: Path) -> os.stat_result | None:
    """Size and times of a regular file, None where there is none or there can be none of this name."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    return state if stat.S_ISREG(state.st_mode) else None


def check_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise `OutputError` unless the disk of `folder` (which need not exist yet) has `needed_bytes` to spare."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise OutputError(
            f"{what} needs {readable_size(needed_bytes)} in {folder}, but only {readable_size(free)} are free: free "
            f"{readable_size(needed_bytes - free)} or set LUMOSX_HOME to a folder on a larger disk."
        )


def readable_size(num_bytes: float) -> str:
    """Decimal units, as disks are sold: `11.4 GB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes:.0f} bytes"


@contextmanager
def explained(path: Path) -> Generator[None, None, None]:
    """Turn a failure to write `path` into an `OutputError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"The disk is full while writing {path}: free some space or set LUMOSX_HOME to a folder on a larger "
                "disk."
            ) from error
        raise OutputError(
            f"Cannot write {path} ({error.strerror or error}): choose a folder you may write to."
        ) from error
