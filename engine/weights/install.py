"""From nothing to weights that can be used, and back to whole ones: what the command line and the page both call.

Loads torch for a conversion only.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from engine.cancel import CancelToken
from engine.errors import InputError, WeightsError
from engine.events import Progress
from engine.files import leftovers, remove_leftovers
from engine.weights.catalogue import CatalogueEntry, entry
from engine.weights.components import (
    COMPONENTS,
    conversion_bytes,
    files_in,
    published_files,
    spend,
    spent,
    whole_components,
)
from engine.weights.download import Downloaded, ProgressCallback, arrived_bytes, download
from engine.weights.files import explained, state_of
from engine.weights.hub import Hub, HuggingFaceHub, PublishedFiles
from engine.weights.installed import damaged_files, download_folder, model_folder, status, verify
from engine.weights.packs import fetch_one
from engine.weights.records import read_conversion


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What `install` did. `verified` is False for files of the user's that could not be compared with the published
    digests; `leftover` is the folder of downloaded files that have served and could not be deleted, if there is one."""

    folder: Path
    size_bytes: int
    verified: bool
    leftover: Path | None


def nothing(_: Progress) -> None:
    """Take no notice of progress."""


def refuse_unaccepted(wanted: CatalogueEntry, *, accepted: bool) -> None:
    """Raise `InputError` for weights whose licence has to be accepted and was not."""
    if wanted.non_commercial and not accepted:
        raise InputError(
            f"{wanted.title} may be used for non-commercial research only: accept that licence first "
            f"(--accept-licence), or go without."
        )


def install(
    name: str,
    source: Path | None = None,
    on_progress: ProgressCallback = nothing,
    cancel: CancelToken | None = None,
    *,
    accepted: bool = False,
) -> Installation:
    """Fetch, verify and where needed convert the weights `name`; goes on where it was interrupted.

    What is converted and whole stays as it is, and nothing is fetched for it. Fetched files are deleted as soon as they
    have served.

    `source`: files of the user's, see `engine.weights.download.download`. Raises as that function and
    `engine.weights.convert.convert_bundle` do; `InputError` for weights that come with the program, or whose licence
    was not accepted.
    """
    wanted = entry(name)
    if wanted.builtin:
        raise InputError(f"{wanted.title} comes with the program: there is nothing to download.")
    refuse_unaccepted(wanted, accepted=accepted)
    hub = hub_of(wanted)
    if wanted.one_of:
        fetch_one(wanted, model_folder(name), download_folder(name), hub, source, on_progress, cancel)
        return _done(name, verified=True)
    if wanted.address:
        download(wanted, download_folder(name), hub, source, on_progress, cancel)
        return _done(name, verified=True)
    return _done(name, verified=_install_converted(wanted, hub, source, on_progress, cancel))


def _install_converted(
    wanted: CatalogueEntry,
    hub: Hub,
    source: Path | None,
    on_progress: ProgressCallback,
    cancel: CancelToken | None,
) -> bool:
    """Make the components of a converted model that are not there, of the files that they alone need; whether these
    were compared with the published digests."""
    folder, downloads = model_folder(wanted.name), download_folder(wanted.name)
    todo, revision = _to_make(wanted.name)
    if source is not None and source.resolve().is_relative_to(downloads.resolve()):
        ours = None  # the user's own folder is never touched, wherever it is
    else:
        ours = downloads
        spend(ours, todo)  # of an installation that was killed, or of an earlier version that kept them
    remove_leftovers(folder)
    got = Downloaded(folder=downloads, verified=True, revision=revision)
    if needed := published_files(todo):
        got = download(wanted, downloads, hub, source, on_progress, cancel, needed, revision)
    if status(wanted.name).problem:
        # Takes seconds to import: only once it is known that there is something to convert.
        from engine.weights.convert import convert_bundle

        convert_bundle(got.folder, folder, on_progress, cancel, only=todo, revision=got.revision, downloads=ours)
    if ours is not None:
        spend(ours, ())
    return got.verified


def _to_make(name: str) -> tuple[tuple[str, ...], str]:
    """The components of a converted model that are missing or known to be damaged, and the state of the published
    repository that the others come from ("": not known, then that they are there says nothing before all are)."""
    if not status(name).problem:
        return (), ""
    try:
        record = read_conversion(model_folder(name))
    except WeightsError:
        return COMPONENTS, ""
    if not record.complete and not record.revision:
        return COMPONENTS, ""
    whole = whole_components(model_folder(name), record)
    return tuple(one for one in COMPONENTS if one not in whole), record.revision


def repair(
    name: str, on_progress: ProgressCallback = nothing, cancel: CancelToken | None = None, *, accepted: bool = False
) -> Installation:
    """Read every file, throw the damaged ones away, and bring only these again.

    Raises as `install` does.
    """
    wanted = entry(name)
    if wanted.builtin:
        verify(name)
        raise InputError(f"{wanted.title} is whole: there is nothing to repair.")
    folder = model_folder(name)
    bad: list[Path] = []
    if folder.exists():
        counter = ByteCounter(f"check {name}", status(name).size_bytes, on_progress, cancel)
        # without a record of what should be there the installation finds out
        with contextlib.suppress(WeightsError):
            bad = damaged_files(name, counter.add)
            if not bad and wanted.address:
                return _done(name, verified=True)
    for path in bad:
        with explained(path):
            path.unlink(missing_ok=True)
    # The licence of what is here was accepted when it came.
    return install(name, None, on_progress, cancel, accepted=accepted or folder.exists())


def check(name: str, on_progress: ProgressCallback = nothing, cancel: CancelToken | None = None) -> int:
    """Read and compare every installed file; the number of files. Raises as `engine.weights.verify` does."""
    return verify(name, ByteCounter(f"check {name}", status(name).size_bytes, on_progress, cancel).add)


def leftover(name: str) -> Path | None:
    """The folder of downloaded files that have served and are still there: they could not be deleted, or are of an
    earlier version. None if there is none."""
    folder = download_folder(name)
    return None if folder == model_folder(name) or spent(folder) or status(name).problem else folder


def remove_leftover(name: str) -> int:
    """Delete what `leftover` names; bytes freed. Raises `WeightsError` if there is nothing to delete."""
    folder = leftover(name)
    if folder is None:
        raise WeightsError(f"There is no finished download of {entry(name).title}: nothing to delete.")
    freed = sum(size for _, _, size in files_in(folder, published_files(COMPONENTS)))
    with explained(folder):
        if failed := spend(folder, ()):
            raise failed
    return freed


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an installation takes: bytes to fetch in all, bytes of them that are here already, and the free bytes of
    disk it wants at its fullest."""

    download_bytes: int
    arrived_bytes: int
    disk_bytes: int


def needs(name: str) -> Needs:
    """What installing `name` would take now, by the catalogue's sizes; asks nobody."""
    wanted = entry(name)
    if not wanted.address:
        return _needs_converted(wanted)
    total = wanted.approximate_bytes
    arrived = min(arrived_bytes(download_folder(name)), total)
    kept = wanted.files[0].approximate_bytes if wanted.archive is not None else 0
    return Needs(download_bytes=total, arrived_bytes=arrived, disk_bytes=total - arrived + kept)


def _needs_converted(wanted: CatalogueEntry) -> Needs:
    """What making the components that are not there yet would take."""
    needed = published_files(_to_make(wanted.name)[0])
    files = [(one.name, one.approximate_bytes) for one in wanted.files if one.name in needed]
    here = files_in(download_folder(wanted.name), needed)
    total = sum(size for _, size in files)
    arrived = min(sum(size for _, size, _ in here), total)
    # files of the user's that were linked have their space elsewhere
    linked = [(path, freed - size) for path, size, freed in here]
    disk = total - arrived + conversion_bytes(files, [*files, *linked])
    begun = sum(_bytes_in(path) for path in leftovers(model_folder(wanted.name)))
    return Needs(download_bytes=total, arrived_bytes=arrived, disk_bytes=max(disk - begun, 0))


def _bytes_in(path: Path) -> int:
    return sum(state.st_size for one in (path, *path.rglob("*")) if (state := state_of(one)) is not None)


def hub_of(wanted: CatalogueEntry) -> Hub:
    """Where the files of an entry come from."""
    return PublishedFiles(wanted) if wanted.address else HuggingFaceHub()


def source_of(wanted: CatalogueEntry) -> str:
    """The address that the files of an entry come from, for people to read."""
    return wanted.address or f"https://huggingface.co/{wanted.repository}"


def _done(name: str, *, verified: bool) -> Installation:
    now = status(name)
    if now.problem:
        raise WeightsError(now.problem)
    return Installation(folder=now.folder, size_bytes=now.size_bytes, verified=verified, leftover=leftover(name))


class ByteCounter:
    """Turns counted bytes into progress, and notices a cancel."""

    def __init__(self, stage: str, total: int, show: ProgressCallback, cancel: CancelToken | None = None) -> None:
        self._stage, self._total, self._show, self._cancel = stage, total, show, cancel
        self._done, self._began = 0, time.monotonic()

    def add(self, num_bytes: int) -> None:
        """Count bytes that were read. Raises `Cancelled`."""
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()
        self._done += num_bytes
        elapsed = time.monotonic() - self._began
        left = max(self._total - self._done, 0) * elapsed / self._done if elapsed > 1 and self._done else None
        self._show(Progress(stage=self._stage, step=self._done, num_steps=self._total, seconds_left=left))
