"""Weights on this machine: where an engine's model folder is, whether its files are whole, and taking them away again.

Loads no torch: the studio asks here, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from engine.errors import InputError, OutputError, WeightsError
from engine.paths import assets_dir, cache_dir, models_dir
from engine.prompt_text import shortened
from engine.weights.catalogue import CatalogueEntry, entry
from engine.weights.files import FileRecord, explained, readable_size, record_file, state_of, write_json
from engine.weights.records import CONVERSION_NAME, DOWNLOAD_NAME, read_conversion

CARD_NAME = "card.json"
MODEL_ENTRIES = ("transformer", "text_encoder", "vae", "tokenizer", "scheduler", "model_index.json")
_NANO_REPAIR = "restore the folder assets/nano from the project"
_LUMOSX_REPAIR = (
    "run `python3 launcher.py weights download lumosx` again, or `weights convert FOLDER` if you have the files"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """State of one engine's weights: its model folder, the bytes it takes there, and why it cannot be used (empty: it
    can)."""

    name: str
    folder: Path
    size_bytes: int
    problem: str


def locate(engine_name: str) -> Path:
    """The diffusers folder of an engine, known to be whole.

    The built-in model is checked against its digests, which costs nothing while size and time of its files stay the
    same; a converted model is checked for missing and truncated files. Raises `WeightsError` that says which command
    helps, `InputError` for an unknown name.
    """
    folder, wanted = model_folder(engine_name), entry(engine_name)
    if wanted.builtin:
        _check_builtin(folder)
    else:
        _check_sizes(folder, _installed_files(wanted), _repair(wanted))
    return folder


def model_folder(engine_name: str) -> Path:
    """Where the engine's model folder is or would be; `InputError` for an unknown name."""
    return (assets_dir() if entry(engine_name).builtin else models_dir()) / engine_name


def download_folder(engine_name: str) -> Path:
    """Where the published files of an engine are downloaded to, before they are converted; those that are used as they
    are go where they stay."""
    wanted = entry(engine_name)
    return model_folder(engine_name) if wanted.address else models_dir() / "downloads" / wanted.name


def weights_digest(engine_name: str) -> str:
    """One sha256 over the recorded digests of all files of an engine: names its weights in a clip's recipe."""
    digests = _recorded_digests(entry(engine_name))
    text = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def status(engine_name: str) -> Installed:
    """Whether an engine's weights can be used, without raising for what is missing or damaged."""
    folder = model_folder(engine_name)
    problem = ""
    try:
        locate(engine_name)
    except WeightsError as error:
        problem = str(error)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    return Installed(name=engine_name, folder=folder, size_bytes=size, problem=problem)


def verify(engine_name: str, on_bytes: Callable[[int], None] = lambda _: None) -> int:
    """Read every file of an engine and compare size and sha256 with the record; the number of files.

    Raises `WeightsError` naming the first damaged file and how to repair it. `on_bytes` is told what was read.
    """
    folder, wanted = model_folder(engine_name), entry(engine_name)
    repair = _repair(wanted)
    if not wanted.builtin:
        _check_sizes(folder, _installed_files(wanted), repair)
    digests = _recorded_digests(wanted)
    for name, digest in digests.items():
        if _digest(folder / name, repair, on_bytes) != digest:
            raise _damaged(folder / name, repair)
    return len(digests)


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
    ours = (*MODEL_ENTRIES, CONVERSION_NAME)
    return next(
        (path for path in sorted(folder.iterdir()) if path.name not in ours and path.suffix != ".partial"), None
    )


def _repair(wanted: CatalogueEntry) -> str:
    if wanted.builtin:
        return _NANO_REPAIR
    if wanted.address:
        return f"run `python3 launcher.py weights download {wanted.name}` again"
    return _LUMOSX_REPAIR


def _recorded_digests(wanted: CatalogueEntry) -> dict[str, str]:
    """sha256 of every file by its path relative to the model folder."""
    if wanted.builtin:
        return dict(_card_digests(model_folder(wanted.name)))
    return {name: record.sha256 for name, record in _installed_files(wanted).items()}


def _installed_files(wanted: CatalogueEntry) -> Mapping[str, FileRecord]:
    folder = model_folder(wanted.name)
    if not folder.exists():
        own = f"`weights download {wanted.name} --from FILE`" if wanted.address else "`weights convert FOLDER`"
        raise WeightsError(
            f"The weights of {wanted.title} are not installed: run `python3 launcher.py weights download "
            f"{wanted.name}` (about {readable_size(wanted.approximate_bytes)}), or {own} if you have the files."
        )
    if wanted.address:
        return {
            file.name: FileRecord(size_bytes=file.approximate_bytes, sha256=file.sha256 or "") for file in wanted.files
        }
    return _converted_files(folder)


def _converted_files(folder: Path) -> Mapping[str, FileRecord]:
    record = read_conversion(folder)
    if not record.complete:
        raise WeightsError(f"The conversion of the weights in {folder} was interrupted: {_LUMOSX_REPAIR}.")
    return record.files()


def _check_sizes(folder: Path, records: Mapping[str, FileRecord], repair: str) -> None:
    for name, record in records.items():
        path = folder / name
        state = state_of(path)
        if state is None:
            raise WeightsError(f"{folder / shortened(name)} is missing: {repair}.")
        if state.st_size != record.size_bytes:
            raise _damaged(path, repair)


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


def _check_builtin(folder: Path) -> None:
    """Compare the built-in model with its card; digests of files that did not change come from the cache."""
    cache_path = cache_dir() / "weights-verified.json"
    known = _read_cache(cache_path)
    fresh: dict[str, list[object]] = {}
    for name, digest in _card_digests(folder).items():
        path = folder / name
        state = state_of(path)
        if state is None:
            raise WeightsError(f"{folder / shortened(name)} is missing: {_NANO_REPAIR}.")
        seen: list[object] = [state.st_size, state.st_mtime_ns, digest]
        if known.get(str(path)) != seen and _digest(path, _NANO_REPAIR) != digest:
            raise _damaged(path, _NANO_REPAIR)
        fresh[str(path)] = seen
    if any(known.get(path) != seen for path, seen in fresh.items()):
        # Without a cache (a read-only home) the small files are read again next time, that is all.
        with contextlib.suppress(OSError, OutputError):
            cache_path.parent.mkdir(parents=True, exist_ok=True)
            write_json(cache_path, {**known, **fresh})


def _read_cache(path: Path) -> dict[str, object]:
    try:
        data: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", data) if isinstance(data, dict) else {}


def _digest(path: Path, repair: str, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    try:
        return record_file(path, on_bytes).sha256
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path.parent / shortened(path.name)} is missing or cannot be read: {repair}.") from error


def _damaged(path: Path, repair: str) -> WeightsError:
    return WeightsError(f"{path} is damaged: {repair}.")
