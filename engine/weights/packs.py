"""Weights of which one file is wanted: one that its publisher packs in an archive, or that the user has in one form or
another, known by its size and digest whatever it is called.

Names inside an archive are never used as paths.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engine.cancel import CancelToken
from engine.errors import InputError, WeightsError
from engine.weights.catalogue import CatalogueEntry, CatalogueFile
from engine.weights.download import ProgressCallback, download, link
from engine.weights.files import check_space, explained, record_file
from engine.weights.hub import Hub

_PARTIAL = ".part"
_MOST_FILES = 200


def fetch_one(
    wanted: CatalogueEntry,
    folder: Path,
    downloads: Path,
    hub: Hub,
    source: Path | None,
    on_progress: ProgressCallback,
    cancel: CancelToken | None,
) -> None:
    """Put one of `wanted.files` into `folder`, from `source` (a file, an archive, a folder with either) or fetched.

    A fetched archive lies in `downloads` until it is unpacked. What was interrupted goes on growing where it lies.
    Raises as `engine.weights.download.download` does.
    """
    archive = wanted.archive
    if source is not None:
        chosen = _take_own(wanted, folder, source)
    elif archive is None:
        chosen = wanted.files[0]
        download(dataclasses.replace(wanted, files=(chosen,)), folder, hub, on_progress=on_progress, cancel=cancel)
    else:
        packed = dataclasses.replace(wanted, files=(archive,), archive=None)
        check_space(folder, archive.approximate_bytes + wanted.files[0].approximate_bytes, "The download")
        got = download(packed, downloads, hub, on_progress=on_progress, cancel=cancel)
        chosen = _unpack(wanted, folder, got.folder / archive.name)
        if chosen is None:
            raise WeightsError(f"{archive.name} no longer holds {wanted.files[0].name}: update the program.")
    if archive is not None and downloads.exists():
        with explained(downloads):
            shutil.rmtree(downloads)
    for other in wanted.files:
        if other is not chosen:
            with explained(folder):
                (folder / other.name).unlink(missing_ok=True)


def _take_own(wanted: CatalogueEntry, folder: Path, source: Path) -> CatalogueFile:
    if not source.exists():
        raise InputError(f"There is no {source}: check the path.")
    if source.is_dir():
        below = [path for path in (*source.glob("*"), *source.glob("*/*")) if path.is_file()]
        candidates = sorted(below, key=lambda path: path.suffix.lower() == ".zip")[:_MOST_FILES]
    else:
        candidates = [source]
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(wanted.files, key=lambda one: -one.approximate_bytes):  # the larger one is the better one
        for path in candidates:
            if path.stat().st_size == file.approximate_bytes and record_file(path).sha256 == file.sha256:
                link(path, folder / file.name)
                return file
    for path in candidates:
        chosen = _unpack(wanted, folder, path) if zipfile.is_zipfile(path) else None
        if chosen is not None:
            return chosen
    names = " or ".join(file.name for file in wanted.files)
    raise InputError(f"{source} neither is nor holds {names} as it was published: check the path.")


def _unpack(wanted: CatalogueEntry, folder: Path, archive: Path) -> CatalogueFile | None:
    """Write the best of the wanted files that is in the archive; None if none is."""
    with _zip_errors(archive), zipfile.ZipFile(archive) as pack:
        members = pack.infolist()
        for file in sorted(wanted.files, key=lambda one: -one.approximate_bytes):
            for member in members:
                if member.file_size == file.approximate_bytes:
                    with pack.open(member) as stream:
                        if _write_checked(stream, folder / file.name, file):
                            return file
    return None


def _write_checked(stream: IO[bytes], target: Path, file: CatalogueFile) -> bool:
    """Write the stream to `target` if it is the file; it is never longer than that."""
    partial = target.with_name(f"{target.name}{_PARTIAL}")
    digest = hashlib.sha256()
    left = file.approximate_bytes
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as out:
                while left and (piece := _read(stream, min(left, 1 << 20))):
                    digest.update(piece)
                    out.write(piece)
                    left -= len(piece)
            if digest.hexdigest() != file.sha256:
                return False
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    return True


def _read(stream: IO[bytes], size: int) -> bytes:
    try:
        return stream.read(size)
    except OSError as error:  # not of the disk that is written to
        raise zipfile.BadZipFile(str(error)) from error


@contextmanager
def _zip_errors(archive: Path) -> Generator[None]:
    try:
        yield
    # What the library raises for damaged and unusual archives: a broken head, a broken stream, a password, a method, a
    # place before the file's begin, a date that there is not.
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise _damaged(archive) from error
    except (ValueError, OverflowError, LookupError, OSError) as error:
        raise _damaged(archive) from error


def _damaged(archive: Path) -> WeightsError:
    return WeightsError(f"{archive} is damaged or no archive that can be read: get it anew.")
