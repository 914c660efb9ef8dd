"""Fetching the published files: resumable, verified, and with the user's own files used where they are there already.

Knows sizes and digests only from the hub; what they mean is not its business.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from engine.cancel import CancelToken
from engine.errors import InputError, OutputError, WeightsError
from engine.events import Progress
from engine.weights.catalogue import CatalogueEntry
from engine.weights.components import conversion_bytes
from engine.weights.files import check_space, explained, state_of, write_json
from engine.weights.hub import Hub, RemoteFile, RemoteListing
from engine.weights.records import DOWNLOAD_NAME

_PARTIAL = ".part"

ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """Where the files are, and which state of the repository they are. `verified` is False, and `revision` empty, only
    for files of the user's that could not be compared with the hub."""

    folder: Path
    verified: bool
    revision: str = ""


def download(
    wanted: CatalogueEntry,
    folder: Path,
    hub: Hub,
    source: Path | None = None,
    on_progress: ProgressCallback = lambda _: None,
    cancel: CancelToken | None = None,
    only: Collection[str] = (),
    revision: str = "",
) -> Downloaded:
    """Bring all files of an entry together and verify them by size and digest.

    `source` is a folder with files under their published names, or a single one of them. A complete folder is used
    where it is, if its files are to be converted. Otherwise its files are linked into `folder` (copied where links are
    impossible) and only the rest is fetched. An interrupted download goes on at the byte where it stopped. Progress
    counts bytes. `only` names the files of the entry that are wanted, where it is not all of them; `revision` the state
    of the repository, where it is not the newest.

    Raises `OutputError` (space, not writable), `WeightsError` (hub out of reach, damaged or foreign files),
    `InputError` (no such source), `Cancelled`.
    """
    if source is not None and not source.exists():
        raise InputError(f"There is no {source}: check the path.")
    everything = wanted
    if only:
        wanted = dataclasses.replace(wanted, files=tuple(file for file in wanted.files if file.name in only))
    try:
        listing = hub.listing(wanted.repository, revision)
    except WeightsError:
        if source is not None and _is_complete(wanted, source):
            return Downloaded(folder=source, verified=False)
        if (recorded := _recorded_revision(wanted, folder)) and revision in ("", recorded):
            return Downloaded(folder=folder, verified=True, revision=recorded)
        raise
    files = _wanted_files(wanted, listing)
    job = _Job(wanted, folder, hub, listing.revision, on_progress, cancel)
    own = {file.path: path for file in files if (path := _own_file(source, file)) is not None}
    if source is not None and not any(_own_file(source, file) for file in _wanted_files(everything, listing)):
        names = ", ".join(file.name for file in everything.files)
        raise InputError(f"{source} holds none of the published files ({names}): check the path.")
    if source is not None and source.is_dir() and len(own) == len(files) and not wanted.address:
        job.begin(sum(file.size_bytes for file in files))
        for file in files:
            job.check_own(file, own[file.path])
        return Downloaded(folder=source, verified=True, revision=listing.revision)
    job.run(files, own)
    return Downloaded(folder=folder, verified=True, revision=listing.revision)


class _Job:
    """One download into one folder."""

    def __init__(
        self,
        wanted: CatalogueEntry,
        folder: Path,
        hub: Hub,
        revision: str,
        on_progress: ProgressCallback,
        cancel: CancelToken | None,
    ) -> None:
        self._wanted, self._folder, self._hub, self._revision = wanted, folder, hub, revision
        self._report, self._cancel = on_progress, cancel
        self._verified = _recorded_files(folder)
        self._complete = _recorded_complete(folder)
        self._stage, self._done, self._total, self._began, self._moved = "", 0, 0, 0.0, 0

    def begin(self, total: int) -> None:
        """Start counting towards `total` bytes."""
        self._total, self._done, self._moved, self._began = total, 0, 0, time.monotonic()

    def run(self, files: tuple[RemoteFile, ...], own: dict[str, Path]) -> None:
        """Link what the user has, fetch the rest, verify everything."""
        names = {file.name for file in self._wanted.files}
        missing = [file for file in files if not self._is_verified(file)]
        to_fetch = [file for file in missing if file.path not in own]
        arrived = sum(max(_size(self._partial(file)), _size(self._folder / file.path)) for file in to_fetch)
        copied = self._copied(missing, own)
        to_store = sum(file.size_bytes for file in to_fetch) - arrived + sum(file.size_bytes for file in copied)
        if self._wanted.address:  # used as they are
            check_space(self._folder, to_store, "The download")
        else:
            linked = {file.path for file in missing if file.path in own and file not in copied}
            linked |= {file.path for file in files if _is_linked(self._folder / file.path)}
            check_space(
                self._folder,
                to_store
                + conversion_bytes(
                    [(file.path, file.size_bytes) for file in files],
                    [(file.path, file.size_bytes) for file in files if file.path not in linked],
                ),
                "The download with its one-time conversion",
            )
        self._complete -= names
        self.begin(sum(file.size_bytes for file in files))
        self._done = self._total - sum(file.size_bytes for file in missing)
        with explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        for file in missing:
            target = self._folder / file.path
            with explained(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            if file.path in own:
                self.check_own(file, own[file.path])
                link(own[file.path], target)
            elif target.is_file() and self._matches(file, target, self._look):
                # Whole, but not on record: the record was lost, or the program was stopped before writing it.
                self._advance(file.size_bytes)
            else:
                self._fetch(file, target)
            self._remember(file, target)
        self._complete |= names
        self._write_record()

    def check_own(self, file: RemoteFile, path: Path) -> None:
        """Compare a file of the user's with the hub's size and digest."""
        self._stage = f"check {file.path}"
        size = path.stat().st_size
        if size != file.size_bytes:
            raise WeightsError(
                f"{path} has {size} bytes, the published file {file.size_bytes}: it is truncated or another file, "
                "take it away and try again."
            )
        if not self._matches(file, path, self._advance):
            raise WeightsError(f"{path} is not the published file: take it away and try again.")

    def _fetch(self, file: RemoteFile, target: Path) -> None:
        partial = self._partial(file)
        self._stage = f"download {file.path}"
        present = _size(partial)
        if present > file.size_bytes:
            partial.unlink()
            present = 0
        self._done += present
        if present < file.size_bytes or not present:
            self._hub.fetch(self._wanted.repository, self._revision, file, partial, self._advance)
        if not self._matches(file, partial, self._look):
            partial.unlink(missing_ok=True)
            raise WeightsError(f"{file.path} arrived damaged and was thrown away: try again.")
        with explained(target):
            os.replace(partial, target)

    def _advance(self, num_bytes: int) -> None:
        self._look(num_bytes)
        self._done += num_bytes
        self._moved += num_bytes
        elapsed = time.monotonic() - self._began
        left = (self._total - self._done) * elapsed / self._moved if elapsed > 1 and self._moved > 0 else None
        self._report(Progress(stage=self._stage, step=self._done, num_steps=self._total, seconds_left=left))

    def _look(self, _: int) -> None:
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()

    def _matches(self, file: RemoteFile, path: Path, on_bytes: Callable[[int], None]) -> bool:
        if path.stat().st_size != file.size_bytes:
            return False
        expected = next((one.sha256 for one in self._wanted.files if one.name == file.path and one.sha256), file.sha256)
        if expected is None and file.git_sha1 is None:
            return True
        # Small files are known to the hub by git's name for them: sha1 over a header and the content.
        digest = (
            hashlib.sha256() if expected else hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)
        )
        with path.open("rb") as stream:
            while piece := stream.read(1 << 22):
                digest.update(piece)
                on_bytes(len(piece))
        return digest.hexdigest() == (expected or file.git_sha1)

    def _partial(self, file: RemoteFile) -> Path:
        """Named by the content it will have, so that two revisions never mix."""
        identity = (file.sha256 or file.git_sha1 or self._revision)[:12]
        return self._folder / f"{file.path}.{identity}{_PARTIAL}"

    def _copied(self, missing: list[RemoteFile], own: dict[str, Path]) -> list[RemoteFile]:
        """The user's files that lie on another disk and may have to be copied."""
        place = self._folder
        while not place.exists():
            place = place.parent
        device = place.stat().st_dev
        return [file for file in missing if file.path in own and own[file.path].stat().st_dev != device]

    def _is_verified(self, file: RemoteFile) -> bool:
        path = self._folder / file.path
        entry = self._verified.get(file.path)
        return entry is not None and entry == _seen(path) | {"digest": file.sha256 or file.git_sha1}

    def _remember(self, file: RemoteFile, path: Path) -> None:
        self._verified[file.path] = _seen(path) | {"digest": file.sha256 or file.git_sha1}
        self._write_record()

    def _write_record(self) -> None:
        record = {"repository": self._wanted.repository, "revision": self._revision, "complete": sorted(self._complete)}
        write_json(self._folder / DOWNLOAD_NAME, {**record, "files": self._verified})


def _wanted_files(wanted: CatalogueEntry, listing: RemoteListing) -> tuple[RemoteFile, ...]:
    for part in wanted.files:
        if not any(part.covers(file.path) for file in listing.files):
            raise WeightsError(
                f"The repository {wanted.repository} no longer holds {part.name}: update the program, or use --from "
                "with files you have."
            )
    return tuple(file for file in listing.files if any(part.covers(file.path) for part in wanted.files))


def _own_file(source: Path | None, file: RemoteFile) -> Path | None:
    """The user's copy of a published file."""
    if source is None:
        return None
    if source.is_file():
        return source if source.name == Path(file.path).name else None
    path = source / file.path
    return path if path.is_file() else None


def _is_complete(wanted: CatalogueEntry, source: Path) -> bool:
    return source.is_dir() and all((source / part.name).exists() for part in wanted.files)


def link(source: Path, target: Path) -> None:
    """Put the user's file in place without a second copy where the file system can do that."""
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or a file system without links
        temporary = target.with_name(f"{target.name}{_PARTIAL}")
        try:
            with explained(target):
                shutil.copyfile(source, temporary)
                os.replace(temporary, target)
        except OutputError:
            temporary.unlink(missing_ok=True)
            raise


def _is_linked(path: Path) -> bool:
    """Whether a file has another name elsewhere: then deleting it frees nothing."""
    state = state_of(path)
    return state is not None and state.st_nlink > 1


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _seen(path: Path) -> dict[str, Any]:
    """Size and time of change, empty for a file that is not there or cannot be, by its name."""
    state = state_of(path)
    if state is None:
        return {}
    return {"size_bytes": state.st_size, "mtime_ns": state.st_mtime_ns}


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", dict(json.loads((folder / DOWNLOAD_NAME).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError, RecursionError):
        # Nothing was verified yet, or the record is lost: then the files are checked again.
        return {}


def _recorded_files(folder: Path) -> dict[str, dict[str, Any]]:
    files = _read_record(folder).get("files")
    entries = cast("dict[str, object]", files) if isinstance(files, dict) else {}
    return {path: cast("dict[str, Any]", entry) for path, entry in entries.items() if isinstance(entry, dict)}


def arrived_bytes(folder: Path) -> int:
    """How much of a download that is not finished lies in `folder`, partial files included."""
    return sum(_size(path) for path in folder.rglob("*") if path.name != DOWNLOAD_NAME) if folder.is_dir() else 0


def _recorded_complete(folder: Path) -> set[str]:
    """The entry's files and folders that had arrived as a whole when the record was written."""
    complete: object = _read_record(folder).get("complete")
    return {str(name) for name in cast("list[object]", complete)} if isinstance(complete, list) else set()


def _recorded_revision(wanted: CatalogueEntry, folder: Path) -> str:
    """Which state of the repository everything wanted is that was downloaded and verified before and has not been
    touched since; "" if anything is not there."""
    if not {file.name for file in wanted.files} <= _recorded_complete(folder):
        return ""
    files = {
        path: entry
        for path, entry in _recorded_files(folder).items()
        if any(file.covers(path) for file in wanted.files)
    }
    whole = all(entry == {**_seen(folder / path), "digest": entry.get("digest")} for path, entry in files.items())
    return str(_read_record(folder).get("revision", "")) if whole else ""
