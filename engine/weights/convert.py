"""One-time conversion of the published bundle into a diffusers folder of safetensors.

Everything is checked before anything is written. Then part after part is written into a temporary folder and renamed,
so that an interrupted conversion leaves whole parts only and a second run does what is left; a part that is on the disk
and on record no longer needs the published files it was made of. Tensors keep their dtype, bit for bit. Memory stays at
one tensor plus the pages of one source file that the system keeps mapped.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from engine.cancel import CancelToken
from engine.errors import OutputError, WeightsError
from engine.events import Progress
from engine.files import hidden_beside, is_hidden, put_in_place, remove_leftovers, sync, sync_names
from engine.weights import checked
from engine.weights.checkpoints import read_network_state
from engine.weights.components import (
    COMPONENTS,
    INDEX,
    by_component,
    files_in,
    least_disk,
    published_files,
    spend,
    whole_components,
)
from engine.weights.files import FileRecord, check_space, explained, record_file
from engine.weights.original import (
    network_config_from_original,
    to_diffusers_network,
    to_diffusers_vae,
    to_transformers_umt5,
    umt5_config_from_original,
    vae_config_from_original,
)
from engine.weights.planning import Task, plan
from engine.weights.records import CONVERSION_NAME, ConversionRecord, read_conversion, write_conversion
from engine.weights.shards import SHARD_BYTES

__all__ = [
    "convert_bundle",
    "network_config_from_original",
    "read_network_state",
    "to_diffusers_network",
    "to_diffusers_vae",
    "to_transformers_umt5",
    "umt5_config_from_original",
    "vae_config_from_original",
]

ProgressCallback = Callable[[Progress], None]


def convert_bundle(
    source: Path,
    out: Path,
    on_progress: ProgressCallback = lambda _: None,
    cancel: CancelToken | None = None,
    shard_bytes: int = SHARD_BYTES,
    only: Collection[str] = COMPONENTS,
    revision: str = "",
    downloads: Path | None = None,
) -> ConversionRecord:
    """Convert the bundle at `source` (see `find_bundle`) into the diffusers folder `out`.

    `out` is new, empty, or the place of an earlier conversion, whose finished parts are kept. Progress counts bytes
    written. Raises `WeightsError` for sources that are incomplete, damaged or not LumosX, `OutputError` for a target
    that cannot be written or is too small, `Cancelled`.

    `only` names the components to make, where the others are there; then the parts of those need not be. `revision` is
    the state of the published repository that the sources are. `downloads` is a folder of ours with published files:
    each is deleted as soon as every component that it serves for is on the disk and on record.
    """
    record = _open_target(out)
    tasks = plan(source, out, only, shard_bytes)
    total = sum(task.num_bytes for task in tasks)
    whole = whole_components(out, record)
    kept = [one.name for one in tasks if one.name in whole and record.components[one.name]["source"] == one.source]
    todo = _in_order([task for task in tasks if task.name not in kept], out, downloads)
    del tasks
    done = total - sum(task.num_bytes for task in todo)
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
        sync_names(out.parent)
    some = set(only) != set(COMPONENTS)
    # A part of a whole model that is made again stays on record: until it is there the model is known to lack it, and
    # nothing else. Otherwise what is still to be made may have come from elsewhere, and must not be taken for done.
    again = some and record.complete
    left = set[str]() if again else {task.name for task in todo}
    record = ConversionRecord(
        complete=again if todo else _has_all(record),
        components={name: part for name, part in record.components.items() if name not in left},
        revision=revision if not some or record.revision == revision else "",
    )
    write_conversion(out, record)
    while todo:
        task = todo.pop(0)
        files = _run(out, task, _Counter(f"convert {task.name}", done, total, on_progress, cancel))
        done += task.num_bytes
        record.components[task.name] = {"source": task.source, "files": files}
        if not todo:
            record = replace(record, complete=_has_all(record))
        write_conversion(out, record)
        checked.remember_written({out / file: one.sha256 for file, one in files.items()})
        # With the task goes the mapping of its source: a mapped file keeps its space, or cannot be deleted at all.
        del task
        if downloads is not None:
            spend(downloads, [one.name for one in todo])
    on_progress(Progress(stage="convert", step=total, num_steps=total, seconds_left=0.0))
    return record


def _has_all(record: ConversionRecord) -> bool:
    return record.components.keys() >= set(COMPONENTS)


def _in_order(tasks: list[Task], out: Path, downloads: Path | None) -> list[Task]:
    """The tasks in the order that takes the least disk. Raises `OutputError` where there is not even that much."""
    by_name = {task.name: task for task in tasks}
    freed: dict[str, int] = {}
    if downloads is not None:
        freed = by_component((path, freed) for path, _, freed in files_in(downloads, published_files(by_name)))
    order, peak = least_disk({name: task.num_bytes for name, task in by_name.items()}, freed)
    check_space(out, peak + (1 << 24), "The converted model")
    return [by_name[name] for name in order]


class _Counter:
    """Counts written bytes, reports them with an estimate of the time left, and notices a cancel."""

    def __init__(
        self, stage: str, done: int, total: int, on_progress: ProgressCallback, cancel: CancelToken | None
    ) -> None:
        self._stage, self._start, self._done, self._total = stage, done, done, total
        self._report, self._cancel, self._began = on_progress, cancel, time.monotonic()

    def __call__(self, num_bytes: int) -> None:
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()
        self._done += num_bytes
        elapsed = time.monotonic() - self._began
        left = (self._total - self._done) * elapsed / (self._done - self._start) if elapsed > 1 else None
        self._report(Progress(stage=self._stage, step=self._done, num_steps=self._total, seconds_left=left))


def _open_target(out: Path) -> ConversionRecord:
    """The record of an earlier conversion in `out`, empty if there is none; refuses folders that are somebody
    else's."""
    if not out.exists():
        return ConversionRecord(complete=False, components={})
    if not out.is_dir():
        raise _in_the_way(out)
    if not (out / CONVERSION_NAME).is_file():
        if any(not is_hidden(entry) for entry in out.iterdir()):
            raise _in_the_way(out)
        return ConversionRecord(complete=False, components={})
    remove_leftovers(out)
    try:
        return read_conversion(out)
    except WeightsError:
        return ConversionRecord(complete=False, components={})


def _in_the_way(out: Path) -> OutputError:
    return OutputError(
        f"{out} is not a converted model and was left as it is: move it away, or convert into an empty folder."
    )


def _run(out: Path, task: Task, on_bytes: Callable[[int], None]) -> dict[str, FileRecord]:
    """Write one component under a temporary name, bring it to the disk, rename it, and return the records of all its
    files relative to `out`."""
    final = out / task.name
    temporary = hidden_beside(final)
    try:
        with explained(final):
            temporary.mkdir()
            written = task.write(temporary, on_bytes)
            for file in sorted(temporary.iterdir()):
                if file.name not in written:
                    written[file.name] = record_file(file)
            sync(temporary)
            sync_names(temporary)
            if task.name == INDEX:
                os.replace(temporary / INDEX, final)
            else:
                put_in_place(temporary, final)
            sync_names(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return {INDEX: written[INDEX]} if task.name == INDEX else {f"{task.name}/{name}": written[name] for name in written}
