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
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from engine.cancel import CancelToken
from engine.errors import OutputError, WeightsError
from engine.events import Progress
from engine.weights.bundle import Bundle, check_fit, find_bundle, fingerprint, text_encoder_config, vae_config
from engine.weights.checkpoints import Checkpoint, open_checkpoint, read_network_state
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
) -> ConversionRecord:
    """Convert the bundle at `source` (see `find_bundle`) into the diffusers folder `out`.

    `out` is new, empty, or the place of an earlier conversion, whose finished parts are kept. Progress counts bytes
    written. Raises `WeightsError` for sources that are incomplete, damaged or not LumosX, `OutputError` for a target
    that cannot be written or is too small, `Cancelled`.
    """
    bundle = find_bundle(source)
    record = _open_target(out)
    tasks = _plan(bundle, shard_bytes)
    todo = [task for task in tasks if not _is_done(out, record, task)]
    total = sum(task.num_bytes for task in tasks)
    done = total - sum(task.num_bytes for task in todo)
    check_space(out, sum(task.num_bytes for task in todo) + (1 << 24), "The converted model")
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
    record = ConversionRecord(complete=not todo, components=dict(record.components))
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
        raise OutputError(f"{out} is a file: choose a folder for the converted model.")
    if not (out / CONVERSION_NAME).is_file():
        if any(not entry.name.endswith(_PARTIAL) for entry in out.iterdir()):
            raise OutputError(f"{out} already holds other files: choose an empty folder for the converted model.")
        return ConversionRecord(complete=False, components={})
    for stale in out.glob(f".*{_PARTIAL}"):
        if not psutil.pid_exists(_process_of(stale)):
            shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)
    try:
        return read_conversion(out)
    except WeightsError:
        return ConversionRecord(complete=False, components={})


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
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
    from transformers import UMT5Config, UMT5EncoderModel

    from engine.model.transformer import LumosXTransformer3DModel

    original = bundle.network_config()
    network, text, vae = (open_checkpoint(path) for path in (bundle.network, bundle.text_encoder, bundle.vae))
    network_config = network_config_from_original(original)
    text_config = umt5_config_from_original(text_encoder_config(text))
    vae_arguments = vae_config_from_original(vae_config(vae))
    with torch.device("meta"):
        network_model = LumosXTransformer3DModel(**network_config)
        vae_model = AutoencoderKLWan(**vae_arguments)
        text_model = UMT5EncoderModel(UMT5Config(**text_config))
    text_model.config.architectures = ["UMT5EncoderModel"]
    text_model.config.dtype = text.tensors["token_embedding.weight"].dtype
    names = [
        (NETWORK, network, network_model, "transformer", "diffusion_pytorch_model", network_model.save_config),
        (TEXT_ENCODER, text, text_model, "text_encoder", "model", text_model.config.save_pretrained),
        (VAE, vae, vae_model, "vae", "diffusion_pytorch_model", vae_model.save_config),
    ]
    weights = [
        _weights_task(folder, part, checkpoint, _expected(model), stem, save_config, shard_bytes, bundle.config)
        for part, checkpoint, model, folder, stem, save_config in names
    ]
    check_fit(network_config, text_config, vae_arguments)
    tokenizer, tokenizer_class = _tokenizer_task(bundle, int(text_config["vocab_size"]))
    text_tokens = int(original.get("text_len", PUBLISHED_NETWORK["text_len"]))
    return [tokenizer, *weights[::-1], _scheduler_task(), _index_task(tokenizer_class, text_tokens)]


def _expected(model: torch.nn.Module) -> dict[str, TensorInfo]:
    # The embedding's second, tied name is not stored.
    return {
        name: TensorInfo(tuple(value.shape), value.dtype)
        for name, value in model.state_dict().items()
        if name != "encoder.embed_tokens.weight"
    }


def _weights_task(
    folder: str,
    part: Part,
    checkpoint: Checkpoint,
    expected: Mapping[str, TensorInfo],
    stem: str,
    save_config: Callable[[Path], Any],
    shard_bytes: int,
    config: Path | None,
) -> _Task:
    stored = part.match(checkpoint.tensors, expected)
    tensors = {new: checkpoint.tensors[old] for new, old in stored.items()}

    def write(target: Path, on_bytes: Callable[[int], None]) -> dict[str, FileRecord]:
        records = write_shards(target, stem, tensors, lambda new: checkpoint.read(stored[new]), on_bytes, shard_bytes)
        save_config(target)
        return records

    return _Task(
        name=folder,
        source=fingerprint(checkpoint.path, config if part is NETWORK else None),
        num_bytes=sum(info.num_bytes for info in tensors.values()),
        write=write,
    )


def _tokenizer_task(bundle: Bundle, vocab_size: int) -> tuple[_Task, str]:
    """The tokenizer's files, copied as they are, and the class that reads them."""
    files = [file for file in sorted(bundle.tokenizer.iterdir()) if file.suffix in (".json", ".model", ".txt")]
    with _tokenizer_errors(bundle.tokenizer):
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(str(bundle.tokenizer), local_files_only=True)
        size, tokenizer_class = len(tokenizer), type(tokenizer).__name__
    if size > vocab_size:
        raise WeightsError(
            f"The tokenizer {bundle.tokenizer} has {size} tokens, the text encoder only {vocab_size}: use parts of "
            "one bundle."
        )

    def write(target: Path, on_bytes: Callable[[int], None]) -> dict[str, FileRecord]:
        for file in files:
            shutil.copyfile(file, target / file.name)
        return {file.name: record_file(target / file.name, on_bytes) for file in files}

    total = sum(file.stat().st_size for file in files)
    return _Task(name="tokenizer", source=fingerprint(*files), num_bytes=total, write=write), tokenizer_class


@contextmanager
def _tokenizer_errors(folder: Path) -> Generator[None, None, None]:
    try:
        yield
    except Exception as error:  # the tokenizers library raises bare Exception for a damaged file
        raise WeightsError(f"{folder} holds no readable tokenizer: download that folder again.") from error


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
