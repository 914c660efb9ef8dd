"""The user's LoRAs: copies of their files in one folder, each with a small record of what it is. Loads no torch, but to
look into a file that is added.

A request names a LoRA by the digest of its file; it is looked for among the recorded ones and nowhere else. So nothing
that a stranger's recipe says can make the program read any other file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.cancel import CancelToken
from engine.codec import from_json
from engine.engines import engine_info, engine_names
from engine.errors import InputError, WeightsError
from engine.file_names import safe_stem, same_name
from engine.files import hidden_beside, remove_leftovers, write_atomically
from engine.paths import models_dir
from engine.request import LoraChoice, RenderSettings
from engine.weights import checked
from engine.weights.files import check_space, explained, readable_size, state_of
from engine.weights.installed import model_folder

ENDING = ".safetensors"
MAX_BYTES = 4 * 10**9
"""Of one file; the whole network in 16 bits is smaller."""
_MAX_RECORD_BYTES = 10_000
_PIECE_BYTES = 1 << 22
_MAX_NAME_BYTES = 150
"""Leaves room for a number behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLora:
    """One of the user's LoRAs. `engines`: whose networks it fits."""

    name: str
    digest: str
    size_bytes: int
    engines: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Its file."""
        return loras_dir() / f"{self.name}{ENDING}"


def loras_dir() -> Path:
    """Where the user's LoRAs lie."""
    return models_dir() / "loras"


def loras() -> tuple[StoredLora, ...]:
    """The user's LoRAs by name; those whose file or record is gone or damaged are not among them."""
    try:
        records = sorted(loras_dir().glob("*.json"), key=lambda path: same_name(path.stem))
    except OSError:
        return ()
    found = [_read_record(path) for path in records]
    return tuple(one for one in found if one is not None and state_of(one.path) is not None)


def lora_named(text: str) -> StoredLora:
    """The LoRA of this name, or of a digest that begins so. Raises `InputError` that lists the names there are."""
    known = loras()
    by_name = [one for one in known if same_name(one.name) == same_name(text.removesuffix(ENDING))]
    by_digest = [one for one in known if len(text) >= 8 and one.digest.startswith(text.lower())]
    if by_name or len(by_digest) == 1:
        return (by_name or by_digest)[0]
    names = ", ".join(one.name for one in known)
    listed = f"choose one of {names}" if known else "there is none yet"
    raise InputError(
        f"There is no LoRA “{safe_stem(text)}”: {listed}, or add a file with `python3 launcher.py weights add-lora "
        "FILE`."
    )


def chosen_loras(settings: RenderSettings) -> tuple[tuple[StoredLora, float], ...]:
    """The LoRAs of a render with their strengths, those that are not added at all left out.

    Raises `WeightsError` for one that is not here, or does not fit the engine.
    """
    known = {one.digest: one for one in loras()}
    found: list[tuple[StoredLora, float]] = []
    for choice in settings.loras:
        if choice.strength == 0:
            continue
        one = known.get(choice.digest)
        if one is None:
            raise WeightsError(missing(choice))
        if settings.engine not in one.engines:
            raise WeightsError(
                f"The LoRA “{one.name}” was not made for {engine_info(settings.engine).title}: choose another engine "
                "or another LoRA."
            )
        found.append((one, choice.strength))
    return tuple(found)


def missing(choice: LoraChoice) -> str:
    """What to do about a LoRA that a request names and that is not here."""
    return (
        f"The LoRA “{choice.name}” is not on this machine: add its file under Models, or with `python3 launcher.py "
        "weights add-lora FILE`, or render without it (`--no-lora`)."
    )


def check_whole(one: StoredLora, *, again: bool = False) -> None:
    """Compare a LoRA's file with its digest, reading it if it has changed since it was read last, or `again`.

    Raises `WeightsError` for a damaged one.
    """
    if again:
        checked.read_all({one.path: one.digest})
    checked.read_changed({one.path: one.digest}, "add this LoRA's file again, or render without it")


def add_lora(
    source: Path, on_bytes: Callable[[int, int], None] = lambda _done, _total: None, cancel: CancelToken | None = None
) -> StoredLora:
    """Copy a LoRA file to the user's own, under its own name or that with a number; the same file is kept once, and
    replaces its copy.

    `on_bytes` is told how many bytes of how many are copied. Raises `InputError` for what is no such file,
    `WeightsError` for one that is damaged or fits no engine, `OutputError`, `Cancelled`.
    """
    size = _size_of(source)
    check_space(loras_dir(), size, "This LoRA")
    with explained(loras_dir()):
        loras_dir().mkdir(parents=True, exist_ok=True)
    remove_leftovers(loras_dir())
    temporary = hidden_beside(loras_dir() / source.name, ".part")
    try:
        digest = _copy(source, temporary, size, on_bytes, cancel)
        known = loras()
        name = next((one.name for one in known if one.digest == digest), "") or _free_name(source.stem, known)
        added = StoredLora(name=name, digest=digest, size_bytes=size, engines=_engines_for(temporary, name))
        # The record first: without its file it counts for nothing.
        write_atomically(_record_of(added), json.dumps(asdict(added), ensure_ascii=False, indent=1).encode())
        with explained(added.path):
            os.replace(temporary, added.path)
    finally:
        temporary.unlink(missing_ok=True)
    checked.remember_written({added.path: digest})
    return added


def remove_lora(one: StoredLora) -> int:
    """Delete a LoRA; bytes freed. Raises `OutputError`."""
    with explained(one.path):
        one.path.unlink(missing_ok=True)
        _record_of(one).unlink(missing_ok=True)
    return one.size_bytes


def _free_name(wish: str, known: tuple[StoredLora, ...]) -> str:
    stem = safe_stem(wish).encode()[:_MAX_NAME_BYTES].decode(errors="ignore").strip(" .")
    taken = {same_name(one.name) for one in known}
    name, number = stem, 1
    while same_name(name) in taken:
        number += 1
        name = f"{stem} {number}"
    return name


def _record_of(one: StoredLora) -> Path:
    return loras_dir() / f"{one.name}.json"


def _read_record(path: Path) -> StoredLora | None:
    state = state_of(path)
    if state is None or state.st_size > _MAX_RECORD_BYTES:
        return None
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        one = from_json(StoredLora, data)
        LoraChoice(name=one.name, digest=one.digest)
    except (OSError, ValueError, RecursionError, InputError):
        return None
    # The name is that of its file: a record never points elsewhere.
    fits = one.name == safe_stem(one.name) and same_name(one.name) == same_name(path.stem)
    return one if fits else None


def _size_of(source: Path) -> int:
    state = state_of(source)
    if state is None:
        raise InputError(f"There is no file {source}: check the path.")
    if source.suffix.lower() != ENDING:
        raise InputError(
            f"“{source.name}” is not read: a LoRA has to be a {ENDING} file, for files of other kinds can run programs."
        )
    if state.st_size > MAX_BYTES:
        raise InputError(
            f"“{source.name}” is {readable_size(state.st_size)} large, no LoRA is: choose a file of at most "
            f"{readable_size(MAX_BYTES)}."
        )
    return state.st_size


def _copy(
    source: Path, target: Path, size: int, on_bytes: Callable[[int, int], None], cancel: CancelToken | None
) -> str:
    """Copy a file that may grow meanwhile, not beyond `size`; its sha256."""
    digest, done = hashlib.sha256(), 0
    try:
        stream = source.open("rb")
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror or error}): check the file.") from error
    with stream, explained(target), target.open("wb") as out:
        while done < size and (piece := stream.read(min(_PIECE_BYTES, size - done))):
            if cancel is not None:
                cancel.raise_if_cancelled()
            digest.update(piece)
            out.write(piece)
            done += len(piece)
            on_bytes(done, size)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _engines_for(path: Path, name: str) -> tuple[str, ...]:
    """The engines whose networks the file fits. Raises `WeightsError` as `open_lora` does if there is none."""
    from engine.weights.lora_file import network_shapes, open_lora, published_shapes

    fitting: list[str] = []
    faults: list[WeightsError] = []
    for engine in engine_names():
        try:
            folder = model_folder(engine) / "transformer"
            fetched = folder.exists() or engine_info(engine).builtin
            open_lora(path, name, network_shapes(folder) if fetched else published_shapes())
        except WeightsError as error:
            faults.append(error)
        else:
            fitting.append(engine)
    if not fitting:
        raise faults[-1]  # of the full engine: that is what people have LoRAs for
    return tuple(fitting)
