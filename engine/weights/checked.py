"""What reading the files of weights has shown, remembered by size and time of change: read once, not at every start.

A file that was found damaged stays so until it is another one. Without a place to remember (a read-only home) files
are read again next time, that is all.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

from engine.errors import OutputError, WeightsError
from engine.paths import cache_dir
from engine.prompt_text import shortened
from engine.weights.files import record_file, state_of, write_json

_DAMAGED = "damaged"
_NAME = "weights-verified.json"


def damage(path: Path, repair: str) -> WeightsError:
    """The error for a damaged file; `repair` says what helps."""
    return WeightsError(f"{path} is damaged: {repair}.")


def marked_damaged(paths: Iterable[Path]) -> list[Path]:
    """Those files that a reading has found damaged and that are still the same files."""
    known = _remembered()
    return [path for path in paths if str(path) in known and known[str(path)] == _seen(path, _DAMAGED)]


def refuse_damaged(paths: Iterable[Path], repair: str) -> None:
    """Raise `WeightsError` for the first of `marked_damaged`."""
    for path in marked_damaged(paths):
        raise damage(path, repair)


def read_changed(digests: Mapping[Path, str], repair: str) -> None:
    """Compare files with their sha256, reading those alone that changed since they were read last.

    Raises `WeightsError` for the first one that is missing, cannot be read, or differs.
    """
    known = _remembered()
    fresh: dict[str, object] = {}
    try:
        for path, digest in digests.items():
            seen = _seen(path, digest)
            if seen is None:
                raise WeightsError(f"{path.parent / shortened(path.name)} is missing: {repair}.")
            if known.get(str(path)) != seen and _digest(path, repair) != digest:
                fresh[str(path)] = _seen(path, _DAMAGED)
                raise damage(path, repair)
            fresh[str(path)] = seen
    finally:
        _remember(known, fresh)


def read_all(digests: Mapping[Path, str], on_bytes: Callable[[int], None] = lambda _: None) -> list[Path]:
    """Read every file and compare it with its sha256; those that are missing, cannot be read, or differ."""
    fresh: dict[str, object] = {}
    bad: list[Path] = []
    for path, digest in digests.items():
        try:
            whole = record_file(path, on_bytes).sha256 == digest
        except (OSError, ValueError):
            whole = False
        fresh[str(path)] = _seen(path, digest if whole else _DAMAGED)
        if not whole:
            bad.append(path)
    _remember(_remembered(), fresh)
    return bad


def remember_written(digests: Mapping[Path, str]) -> None:
    """Remember files whose digests were taken while they were written: nothing is read."""
    _remember(_remembered(), {str(path): _seen(path, digest) for path, digest in digests.items()})


def _seen(path: Path, what: str) -> list[object] | None:
    state = state_of(path)
    return None if state is None else [state.st_size, state.st_mtime_ns, what]


def _remembered() -> dict[str, object]:
    try:
        data: object = json.loads((cache_dir() / _NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", data) if isinstance(data, dict) else {}


def _remember(known: Mapping[str, object], fresh: Mapping[str, object]) -> None:
    if all(known.get(path) == seen for path, seen in fresh.items()):
        return
    merged = {path: seen for path, seen in {**known, **fresh}.items() if seen is not None}
    with contextlib.suppress(OSError, OutputError):
        cache_dir().mkdir(parents=True, exist_ok=True)
        write_json(cache_dir() / _NAME, merged)


def _digest(path: Path, repair: str) -> str:
    try:
        return record_file(path).sha256
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path.parent / shortened(path.name)} is missing or cannot be read: {repair}.") from error
