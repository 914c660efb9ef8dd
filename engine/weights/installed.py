"""Weights on this machine: where an engine's model folder is, whether its files are whole, and taking them away again.

Loads no torch: the studio asks here, too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from engine.errors import InputError, OutputError, WeightsError
from engine.files import is_hidden
from engine.paths import assets_dir, models_dir
from engine.prompt_text import shortened
from engine.weights import checked, refusals
from engine.weights.catalogue import CatalogueEntry, entry
from engine.weights.files import FileRecord, explained, readable_size, state_of
from engine.weights.records import CONVERSION_NAME, DOWNLOAD_NAME, read_conversion

CARD_NAME = "card.json"
MAGNITUDES_NAME = "magnitudes.json"
"""What `weights calibrate` measured of a model, kept with it; no clip but a draft depends on it."""
MODEL_ENTRIES = ("transformer", "text_encoder", "vae", "tokenizer", "scheduler", "model_index.json")
_NANO_REPAIR = "restore the folder assets/nano from the project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """State of one engine's weights: its model folder, the bytes it takes there, and why it cannot be used (empty: it
    can). `begun`: they have been whole before, so that a problem is damage."""

    name: str
    folder: Path
    size_bytes: int
    problem: str
    begun: bool = True


def locate(engine_name: str) -> Path:
    """The diffusers folder of an engine, known to be whole.

    The built-in model is checked against its digests, which costs nothing while size and time of its files stay the
    same; others are checked for missing and truncated files, and for those that a reading has found damaged. Raises
    `WeightsError` that says what helps, `InputError` for an unknown name.
    """
    folder, wanted = model_folder(engine_name), entry(engine_name)
    if wanted.builtin:
        _check_read(wanted)
    else:
        records = _installed_files(wanted)
        _check_sizes(folder, records, _repair(wanted))
        checked.refuse_damaged([folder / name for name in records], _repair(wanted))
    return folder


def locate_whole(engine_name: str) -> Path:
    """`locate` for whoever is about to load: a file whose size or time is not that of its last check is read and
    compared with its digest. Reads everything once, later only what has changed."""
    folder = locate(engine_name)
    _check_read(entry(engine_name))
    return folder


def model_folder(engine_name: str) -> Path:
    """Where the engine's model folder is or would be; `InputError` for an unknown name."""
    return (assets_dir() if entry(engine_name).builtin else models_dir()) / engine_name


def download_folder(engine_name: str) -> Path:
    """Where the published files of an engine are downloaded to, before they are converted; those that are used as they
    are go where they stay."""
    wanted = entry(engine_name)
    kept = wanted.address and wanted.archive is None
    return model_folder(engine_name) if kept else models_dir() / "downloads" / wanted.name


def weights_digest(engine_name: str) -> str:
    """One sha256 over the recorded digests of all files of an engine: names its weights in a clip's recipe."""
    digests = _recorded_digests(entry(engine_name))
    text = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def status(engine_name: str) -> Installed:
    """Whether an engine's weights can be used, without raising for what is missing or damaged."""
    folder = model_folder(engine_name)
    problem = ""
    try:
        locate(engine_name)
    except WeightsError as error:
        problem = str(error)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    return Installed(
        name=engine_name, folder=folder, size_bytes=size, problem=problem, begun=_was_whole(entry(engine_name))
    )


def verify(engine_name: str, on_bytes: Callable[[int], None] = lambda _: None) -> int:
    """Read every file of an engine and compare size and sha256 with the record; the number of files.

    Raises `WeightsError` naming the first damaged file and how to repair it; from then on `locate` knows of it.
    `on_bytes` is told what was read.
    """
    wanted = entry(engine_name)
    files = damaged_files(engine_name, on_bytes)
    if files:
        raise checked.damage(files[0], _repair(wanted))
    return len(_recorded_digests(wanted))


def damaged_files(engine_name: str, on_bytes: Callable[[int], None] = lambda _: None) -> list[Path]:
    """All files of an engine that are missing or differ from the record, after reading every one of them.

    Raises `WeightsError` where there is no record to compare with.
    """
    folder, wanted = model_folder(engine_name), entry(engine_name)
    digests = {folder / name: digest for name, digest in _recorded_digests(wanted).items()}
    return checked.read_all(digests, on_bytes)


def broken_names(engine_name: str) -> list[str]:
    """Files of an engine, by their path in its folder, that are known to be missing or damaged; reads none of them.

    Empty where there is no record of what should be there.
    """
    folder, wanted = model_folder(engine_name), entry(engine_name)
    try:
        sizes = {} if wanted.builtin else {name: one.size_bytes for name, one in _installed_files(wanted).items()}
        names = list(_recorded_digests(wanted))
    except WeightsError:
        return []
    marked = checked.marked_damaged(folder / name for name in names)
    states = {name: state_of(folder / name) for name in names}
    return [
        name
        for name, state in states.items()
        if state is None or state.st_size != sizes.get(name, state.st_size) or folder / name in marked
    ]


def remove(engine_name: str) -> int:
    """Delete the model folder and the downloaded files of an engine, both only where they are ours; bytes freed.

    Raises `InputError` for the built-in model, `WeightsError` if there is nothing, `OutputError` for anything that
    this program did not write.
    """
    if entry(engine_name).builtin:
        raise InputError("The built-in model comes with the program and cannot be removed: name lumosx instead.")
    folders = [folder for folder in dict.fromkeys(removable(engine_name)) if folder.exists()]
    if not folders:
        raise WeightsError(f"No weights of {engine_name} are installed: there is nothing to remove.")
    freed = 0
    for folder in folders:
        foreign = _foreign(folder, entry(engine_name)) if folder == model_folder(engine_name) else None
        if foreign is not None:
            raise OutputError(
                f"{foreign} was not written by this program: move it away, then remove the weights again."
            )
        freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
        with explained(folder):
            if folder == model_folder(engine_name):
                # Until the last moment an interrupted removal must not look like a whole model.
                (folder / "model_index.json").unlink(missing_ok=True)
            shutil.rmtree(folder)
    return freed


def removable(engine_name: str) -> tuple[Path, Path]:
    """The folders that `remove` deletes."""
    return model_folder(engine_name), download_folder(engine_name)


def _foreign(folder: Path, wanted: CatalogueEntry) -> Path | None:
    """Something in a model folder that no conversion or download puts there."""
    if wanted.address:
        names = tuple(file.name for file in wanted.files)
        return next(
            (path for path in sorted(folder.iterdir()) if not path.name.startswith((*names, DOWNLOAD_NAME, "."))), None
        )
    if not (folder / CONVERSION_NAME).is_file():
        return folder
    ours = (*MODEL_ENTRIES, CONVERSION_NAME, MAGNITUDES_NAME)
    return next((path for path in sorted(folder.iterdir()) if path.name not in ours and not is_hidden(path)), None)


def _repair(wanted: CatalogueEntry) -> str:
    if wanted.builtin:
        return _NANO_REPAIR
    if wanted.address:
        return f"press Repair on the page's Models, or run `python3 launcher.py weights download {wanted.name}` again"
    return refusals.REPAIR


def _recorded_digests(wanted: CatalogueEntry) -> dict[str, str]:
    """sha256 of every file by its path relative to the model folder."""
    if wanted.builtin:
        return dict(_card_digests(model_folder(wanted.name)))
    return {name: record.sha256 for name, record in _installed_files(wanted).items()}


def _installed_files(wanted: CatalogueEntry) -> Mapping[str, FileRecord]:
    folder = model_folder(wanted.name)
    if not folder.exists() or (wanted.address and not _was_whole(wanted)):
        own = f"`weights download {wanted.name} --from FILE`" if wanted.address else "`weights convert FOLDER`"
        raise WeightsError(
            f"The weights of {wanted.title} are not installed: run `python3 launcher.py weights download "
            f"{wanted.name}` (about {readable_size(wanted.approximate_bytes)}), or {own} if you have the files."
        )
    if wanted.address:
        there = [file for file in wanted.files if (folder / file.name).exists()]
        files = (there or list(wanted.files))[:1] if wanted.one_of else wanted.files
        return {file.name: FileRecord(size_bytes=file.approximate_bytes, sha256=file.sha256 or "") for file in files}
    return _converted_files(folder)


def _was_whole(wanted: CatalogueEntry) -> bool:
    """Whether an installation was finished here once, whatever has become of its files."""
    folder = model_folder(wanted.name)
    if wanted.builtin:
        return True
    if wanted.address:  # a file gets its name once it is whole
        return any((folder / file.name).exists() for file in wanted.files)
    try:
        return read_conversion(folder).complete
    except WeightsError:
        return (folder / CONVERSION_NAME).exists()


def _converted_files(folder: Path) -> Mapping[str, FileRecord]:
    record = read_conversion(folder)
    if not record.complete:
        raise refusals.interrupted(folder)
    return record.files()


def _check_sizes(folder: Path, records: Mapping[str, FileRecord], repair: str) -> None:
    for name, record in records.items():
        path = folder / name
        state = state_of(path)
        if state is None:
            raise WeightsError(f"{folder / shortened(name)} is missing: {repair}.")
        if state.st_size != record.size_bytes:
            raise checked.damage(path, repair)


def _card_digests(folder: Path) -> Mapping[str, str]:
    """Digests on the built-in model's card, by path relative to its folder."""
    path = folder / CARD_NAME
    try:
        card = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
        files = cast("dict[str, Any]", card["files"])
        digests = {str(name): str(digest) for name, digest in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is missing or damaged: {_NANO_REPAIR}.") from error
    if not digests or not all(len(digest) == 64 for digest in digests.values()):
        raise WeightsError(f"{path} lists no digests: {_NANO_REPAIR}.")
    return digests


def _check_read(wanted: CatalogueEntry) -> None:
    """Compare the files with their digests, those alone that have changed since they were read last."""
    folder = model_folder(wanted.name)
    checked.read_changed({folder / name: digest for name, digest in _recorded_digests(wanted).items()}, _repair(wanted))
