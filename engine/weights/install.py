"""From nothing to weights that can be used, and back to whole ones: what the command line and the page both call.

Loads torch for a conversion only.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from engine.cancel import CancelToken
from engine.errors import InputError, WeightsError
from engine.events import Progress
from engine.weights import checked
from engine.weights.catalogue import CatalogueEntry, entry
from engine.weights.download import ProgressCallback, arrived_bytes, converted_bytes, download
from engine.weights.files import explained
from engine.weights.hub import Hub, HuggingFaceHub, PublishedFiles
from engine.weights.installed import damaged_files, download_folder, model_folder, status, verify
from engine.weights.packs import fetch_one

_MADE_OF = {
    "transformer": ("LumosX_models/", "config.json"),
    "text_encoder": ("models_t5_umt5-xxl-enc-bf16.pth",),
    "vae": ("vae.pth",),
    "tokenizer": ("umt5-xxl/",),
    "model_index.json": ("umt5-xxl/", "config.json"),
}
"""Which published files each component of the converted model comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What `install` did. `verified` is False for files of the user's that could not be compared with the published
    digests; `leftover` is the download that is no longer needed, if one is still there."""

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
        return _done(name, verified=True, leftover=None)
    got = download(wanted, download_folder(name), hub, source, on_progress, cancel)
    if wanted.address:
        return _done(name, verified=True, leftover=None)
    # Takes seconds to import: only once it is known that there is something to convert.
    from engine.weights.convert import convert_bundle

    record = convert_bundle(got.folder, model_folder(name), on_progress, cancel)
    folder = model_folder(name)
    checked.remember_written({folder / file: one.sha256 for file, one in record.files().items()})
    return _done(name, verified=got.verified, leftover=leftover(name))


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
            if not bad:
                return _done(name, verified=True, leftover=leftover(name))
    for path in bad:
        with explained(path):
            path.unlink(missing_ok=True)
    if bad and not wanted.address:
        return _make_again(wanted, {path.relative_to(folder).parts[0] for path in bad}, on_progress, cancel)
    # The licence of what is here was accepted when it came.
    return install(name, None, on_progress, cancel, accepted=accepted or folder.exists())


def _make_again(
    wanted: CatalogueEntry, components: set[str], on_progress: ProgressCallback, cancel: CancelToken | None
) -> Installation:
    """Fetch what these components of a converted model are made of, as far as it is no longer here, and convert it."""
    from engine.weights.convert import convert_bundle

    files = {file for name in components for file in _MADE_OF.get(name, ())}
    source = download_folder(wanted.name)
    if files:
        source = download(wanted, source, hub_of(wanted), None, on_progress, cancel, only=files).folder
    record = convert_bundle(source, model_folder(wanted.name), on_progress, cancel, only=components)
    folder = model_folder(wanted.name)
    checked.remember_written({folder / file: one.sha256 for file, one in record.files().items()})
    return _done(wanted.name, verified=True, leftover=leftover(wanted.name))


def check(name: str, on_progress: ProgressCallback = nothing, cancel: CancelToken | None = None) -> int:
    """Read and compare every installed file; the number of files. Raises as `engine.weights.verify` does."""
    return verify(name, ByteCounter(f"check {name}", status(name).size_bytes, on_progress, cancel).add)


def leftover(name: str) -> Path | None:
    """The folder of downloaded files that are no longer needed once they are converted, None if there is none."""
    folder = download_folder(name)
    return folder if folder != model_folder(name) and folder.exists() and not status(name).problem else None


def remove_leftover(name: str) -> int:
    """Delete what `leftover` names; bytes freed. Raises `WeightsError` if there is nothing to delete."""
    folder = leftover(name)
    if folder is None:
        raise WeightsError(f"There is no finished download of {entry(name).title}: nothing to delete.")
    freed = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    with explained(folder):
        shutil.rmtree(folder)
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
    total = wanted.approximate_bytes
    arrived = 0 if wanted.builtin else min(arrived_bytes(download_folder(name)), total)
    if wanted.archive is not None:
        kept = wanted.files[0].approximate_bytes
    else:
        kept = 0 if wanted.address else converted_bytes((one.name, one.approximate_bytes) for one in wanted.files)
    return Needs(download_bytes=total, arrived_bytes=arrived, disk_bytes=total - arrived + kept)


def hub_of(wanted: CatalogueEntry) -> Hub:
    """Where the files of an entry come from."""
    return PublishedFiles(wanted) if wanted.address else HuggingFaceHub()


def source_of(wanted: CatalogueEntry) -> str:
    """The address that the files of an entry come from, for people to read."""
    return wanted.address or f"https://huggingface.co/{wanted.repository}"


def _done(name: str, *, verified: bool, leftover: Path | None) -> Installation:
    now = status(name)
    if now.problem:
        raise WeightsError(now.problem)
    return Installation(folder=now.folder, size_bytes=now.size_bytes, verified=verified, leftover=leftover)


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
