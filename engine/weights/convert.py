"""One-time conversion of the published bundle into a diffusers folder of safetensors.

Everything is checked before anything is written. Then part after part is written into a temporary folder and renamed,
so that an interrupted conversion leaves whole parts only and a second run does what is left. Tensors keep their dtype,
bit for bit. Memory stays at one tensor plus the pages of one source file that the system keeps mapped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from engine.cancel import CancelToken
from engine.errors import OutputError, WeightsError
from engine.events import Progress
from engine.weights import refusals
from engine.weights.bundle import (
    Bundle,
    check_fit,
    find_bundle,
    find_part,
    fingerprint,
    read_network_config,
    text_encoder_config,
    vae_config,
)
from engine.weights.checkpoints import Checkpoint, find_checkpoint, open_checkpoint, read_network_state
from engine.weights.dcp import TensorInfo
from engine.weights.files import FileRecord, check_space, explained, record_file, write_json
from engine.weights.original import (
    NETWORK,
    PUBLISHED_NETWORK,
    TEXT_ENCODER,
    VAE,
    Part,
    network_config_from_original,
    to_diffusers_network,
    to_diffusers_vae,
    to_transformers_umt5,
    umt5_config_from_original,
    vae_config_from_original,
)
from engine.weights.records import CONVERSION_NAME, ConversionRecord, read_conversion, write_conversion
from engine.weights.shards import SHARD_BYTES, write_shards

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
_PARTIAL = ".partial"
_INDEX = "model_index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One component to be written: `write(folder, on_bytes)` fills a folder and returns the records of its weights."""

    name: str
    source: str
    num_bytes: int
    write: Callable[[Path, Callable[[int], None]], dict[str, FileRecord]]


def convert_bundle(
    source: Path,
    out: Path,
    on_progress: ProgressCallback = lambda _: None,
    cancel: CancelToken | None = None,
    shard_bytes: int = SHARD_BYTES,
    only: Collection[str] = (),
) -> ConversionRecord:
    """Convert the bundle at `source` (see `find_bundle`) into the diffusers folder `out`.

    `out` is new, empty, or the place of an earlier conversion, whose finished parts are kept. Progress counts bytes
    written. Raises `WeightsError` for sources that are incomplete, damaged or not LumosX, `OutputError` for a target
    that cannot be written or is too small, `Cancelled`.

    `only` names components of a whole model that are to be made again; then the parts of the others need not be there.
    """
    record = _open_target(out)
    if only and not record.complete:
        raise refusals.interrupted(out)
    tasks = _plan_some(source, only, shard_bytes) if only else _plan(find_bundle(source), shard_bytes)
    todo = [task for task in tasks if not _is_done(out, record, task)]
    total = sum(task.num_bytes for task in tasks)
    done = total - sum(task.num_bytes for task in todo)
    check_space(out, sum(task.num_bytes for task in todo) + (1 << 24), "The converted model")
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
    # What is made again stays on record as it was: until it is there the model is known to lack it, and nothing else.
    record = ConversionRecord(complete=not todo or bool(only), components=dict(record.components))
    write_conversion(out, record)
    for task in todo:
        counter = _Counter(f"convert {task.name}", done, total, on_progress, cancel)
        files = _run(out, task, counter)
        done += task.num_bytes
        record.components[task.name] = {"source": task.source, "files": files}
        write_conversion(out, record)
    record = ConversionRecord(complete=True, components=record.components)
    write_conversion(out, record)
    on_progress(Progress(stage="convert", step=total, num_steps=total, seconds_left=0.0))
    return record


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
        if any(not entry.name.endswith(_PARTIAL) for entry in out.iterdir()):
            raise _in_the_way(out)
        return ConversionRecord(complete=False, components={})
    for stale in out.glob(f".*{_PARTIAL}"):
        if not psutil.pid_exists(_process_of(stale)):
            shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)
    try:
        return read_conversion(out)
    except WeightsError:
        return ConversionRecord(complete=False, components={})


def _in_the_way(out: Path) -> OutputError:
    return OutputError(
        f"{out} is not a converted model and was left as it is: move it away, or convert into an empty folder."
    )


def _process_of(partial: Path) -> int:
    number = partial.name.removesuffix(_PARTIAL).rpartition(".")[2]
    return int(number) if number.isdecimal() else -1


def _is_done(out: Path, record: ConversionRecord, task: _Task) -> bool:
    entry = record.components.get(task.name)
    if entry is None or entry["source"] != task.source:
        return False
    return all(
        (out / name).is_file() and (out / name).stat().st_size == file.size_bytes
        for name, file in entry["files"].items()
    )


def _run(out: Path, task: _Task, on_bytes: Callable[[int], None]) -> dict[str, FileRecord]:
    """Write one component under a temporary name, rename it, and return the records of all its files relative to
    `out`."""
    temporary = out / f".{task.name}.{os.getpid()}{_PARTIAL}"
    final = out / task.name
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with explained(final):
            temporary.mkdir()
            written = task.write(temporary, on_bytes)
            for file in sorted(temporary.iterdir()):
                if file.name not in written:
                    written[file.name] = record_file(file)
            if task.name == _INDEX:
                os.replace(temporary / _INDEX, final)
                return {_INDEX: written[_INDEX]}
            if final.exists():
                shutil.rmtree(final)
            os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return {f"{task.name}/{name}": file for name, file in written.items()}


def _plan(bundle: Bundle, shard_bytes: int) -> list[_Task]:
    """Open and check every part; nothing is written before all of them are known to be right."""
    original = bundle.network_config()
    network, network_config = _network_task(bundle.network, original, bundle.config, shard_bytes)
    text, text_config = _text_task(bundle.text_encoder, shard_bytes)
    vae, vae_arguments = _vae_task(bundle.vae, shard_bytes)
    check_fit(bundle, network_config, text_config, vae_arguments)
    tokenizer, tokenizer_class, num_tokens = _tokenizer_task(bundle.tokenizer)
    if num_tokens > int(text_config["vocab_size"]):
        raise refusals.mixed(bundle.tokenizer, bundle.text_encoder)
    return [
        tokenizer,
        vae,
        text,
        network,
        _scheduler_task(),
        _index_task(tokenizer_class, _text_tokens(original, bundle.config)),
    ]


def _plan_some(source: Path, names: Collection[str], shard_bytes: int) -> list[_Task]:
    """Open and check the parts that the components `names` are made of; the others need not be there."""
    tasks: list[_Task] = []
    config = source / "config.json" if (source / "config.json").is_file() else None
    original = read_network_config(config)
    if "vae" in names:
        tasks.append(_vae_task(find_part(source, "vae"), shard_bytes)[0])
    if "text_encoder" in names:
        tasks.append(_text_task(find_part(source, "text_encoder"), shard_bytes)[0])
    if "transformer" in names:
        tasks.append(_network_task(find_checkpoint(source), original, config, shard_bytes)[0])
    if "scheduler" in names:
        tasks.append(_scheduler_task())
    if "tokenizer" in names or _INDEX in names:
        tokenizer, tokenizer_class, _ = _tokenizer_task(find_part(source, "tokenizer"))
        tasks.append(tokenizer)
        if _INDEX in names:
            tasks.append(_index_task(tokenizer_class, _text_tokens(original, config)))
    return tasks


def _text_tokens(original: Mapping[str, Any], config: Path | None) -> int:
    try:
        return int(original.get("text_len", PUBLISHED_NETWORK["text_len"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise refusals.damaged(config or "config.json") from error


def _network_task(
    path: Path, original: Mapping[str, Any], config: Path | None, shard_bytes: int
) -> tuple[_Task, dict[str, Any]]:
    from engine.model.transformer import LumosXTransformer3DModel

    checkpoint = open_checkpoint(path)
    arguments = network_config_from_original(original, config or "config.json")
    with torch.device("meta"):
        model = LumosXTransformer3DModel(**arguments)
    return _weights_task(NETWORK, checkpoint, model, "transformer", model.save_config, shard_bytes, config), arguments


def _text_task(path: Path, shard_bytes: int) -> tuple[_Task, dict[str, Any]]:
    from transformers import UMT5Config, UMT5EncoderModel

    checkpoint = open_checkpoint(path)
    arguments = umt5_config_from_original(text_encoder_config(checkpoint))
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**arguments))
    model.config.architectures = ["UMT5EncoderModel"]
    model.config.dtype = checkpoint.tensors["token_embedding.weight"].dtype
    task = _weights_task(
        TEXT_ENCODER, checkpoint, model, "text_encoder", model.config.save_pretrained, shard_bytes, None
    )
    return task, arguments


def _vae_task(path: Path, shard_bytes: int) -> tuple[_Task, dict[str, Any]]:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    checkpoint = open_checkpoint(path)
    arguments = vae_config_from_original(vae_config(checkpoint))
    with torch.device("meta"):
        model = AutoencoderKLWan(**arguments)
    return _weights_task(VAE, checkpoint, model, "vae", model.save_config, shard_bytes, None), arguments


def _expected(model: torch.nn.Module) -> dict[str, TensorInfo]:
    # The embedding's second, tied name is not stored.
    return {
        name: TensorInfo(tuple(value.shape), value.dtype)
        for name, value in model.state_dict().items()
        if name != "encoder.embed_tokens.weight"
    }


def _weights_task(
    part: Part,
    checkpoint: Checkpoint,
    model: torch.nn.Module,
    folder: str,
    save_config: Callable[[Path], Any],
    shard_bytes: int,
    config: Path | None,
) -> _Task:
    stem = "model" if part is TEXT_ENCODER else "diffusion_pytorch_model"
    expected = _expected(model)
    stored = part.match(checkpoint.path, checkpoint.tensors, expected)
    tensors = {new: checkpoint.tensors[old] for new, old in stored.items()}

    def write(target: Path, on_bytes: Callable[[int], None]) -> dict[str, FileRecord]:
        records = write_shards(target, stem, tensors, lambda new: checkpoint.read(stored[new]), on_bytes, shard_bytes)
        save_config(target)
        return records

    return _Task(
        name=folder,
        source=fingerprint(checkpoint.path, config),
        num_bytes=sum(info.num_bytes for info in tensors.values()),
        write=write,
    )


def _tokenizer_task(folder: Path) -> tuple[_Task, str, int]:
    """The tokenizer's files, copied as they are, the class that reads them, and how many tokens it has."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".json", ".model", ".txt")]
    with _tokenizer_errors(folder):
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        size, tokenizer_class = len(tokenizer), type(tokenizer).__name__

    def write(target: Path, on_bytes: Callable[[int], None]) -> dict[str, FileRecord]:
        for file in files:
            shutil.copyfile(file, target / file.name)
        return {file.name: record_file(target / file.name, on_bytes) for file in files}

    total = sum(file.stat().st_size for file in files)
    return _Task(name="tokenizer", source=fingerprint(*files), num_bytes=total, write=write), tokenizer_class, size


@contextmanager
def _tokenizer_errors(folder: Path) -> Generator[None, None, None]:
    try:
        yield
    except Exception as error:  # the tokenizers library raises bare Exception for a damaged file
        raise refusals.no_tokenizer(folder) from error


def _scheduler_task() -> _Task:
    from engine.model.scheduler import LumosXScheduler

    scheduler = LumosXScheduler()

    def write(target: Path, _: Callable[[int], None]) -> dict[str, FileRecord]:
        scheduler.save_pretrained(target)
        return {}

    return _Task(name="scheduler", source=_content_source(dict(scheduler.config)), num_bytes=0, write=write)


def _index_task(tokenizer_class: str, text_tokens: int) -> _Task:
    """The pipeline's own file, as `LumosXPipeline.save_pretrained` writes it; the last, since it makes the folder
    loadable."""
    import diffusers

    index = {
        "_class_name": "LumosXPipeline",
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["engine.model.scheduler", "LumosXScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "text_tokens": text_tokens,
        "tokenizer": ["transformers", tokenizer_class],
        "transformer": ["engine.model.transformer", "LumosXTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }

    def write(target: Path, _: Callable[[int], None]) -> dict[str, FileRecord]:
        write_json(target / _INDEX, index)
        return {}

    return _Task(name=_INDEX, source=_content_source(index), num_bytes=0, write=write)


def _content_source(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
