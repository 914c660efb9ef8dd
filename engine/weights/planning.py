"""What a conversion has to do: every part opened and checked, and for each component a task that writes it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.errors import WeightsError
from engine.weights import checked, refusals
from engine.weights.bundle import (
    check_fit,
    find_bundle,
    fingerprint,
    read_config,
    text_encoder_config,
    vae_config,
)
from engine.weights.checkpoints import Checkpoint, open_checkpoint
from engine.weights.components import INDEX
from engine.weights.dcp import TensorInfo
from engine.weights.files import FileRecord, record_file, write_json
from engine.weights.original import (
    NETWORK,
    PUBLISHED_NETWORK,
    TEXT_ENCODER,
    VAE,
    Part,
    network_config_from_original,
    umt5_config_from_original,
    vae_config_from_original,
)
from engine.weights.shards import write_shards

_TOLD = {
    "transformer": ("text_dim", "in_channels"),
    "text_encoder": ("d_model", "vocab_size"),
    "vae": ("z_dim",),
}
"""What `check_fit` asks of each component's configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One component to be written: `write(folder, on_bytes)` fills a folder and returns the records of its weights."""

    name: str
    source: str
    num_bytes: int
    write: Callable[[Path, Callable[[int], None]], dict[str, FileRecord]]


def plan(source: Path, out: Path, names: Collection[str], shard_bytes: int) -> list[Task]:
    """Open and check every part that the components `names` are made of, and that they fit one another and the
    components that are there; nothing is written before all of them are known to be right."""
    bundle = find_bundle(source, names)
    original = bundle.network_config()
    opened: dict[str, Callable[[Path], tuple[Task, Mapping[str, Any]]]] = {
        "transformer": lambda path: _network_task(path, original, bundle.config, shard_bytes),
        "text_encoder": lambda path: _text_task(path, shard_bytes),
        "vae": lambda path: _vae_task(path, shard_bytes),
        "tokenizer": _tokenizer_task,
    }
    tasks: list[Task] = []
    configs: dict[str, Mapping[str, Any]] = {}
    for name, open_part in opened.items():
        if name in bundle.parts:
            task, configs[name] = open_part(bundle.parts[name])
            tasks.append(task)
        else:
            configs[name] = _made_config(out / name)
    check_fit({name: bundle.parts.get(name, out / name) for name in opened}, configs)
    if "scheduler" in names:
        tasks.append(_scheduler_task())
    if INDEX in names:
        tasks.append(_index_task(configs["tokenizer"]["class"], _text_tokens(original, bundle.config)))
    return tasks


def _made_config(folder: Path) -> Mapping[str, Any]:
    """What a component that is converted already says of itself, as its task does."""
    try:
        if folder.name == "tokenizer":
            return _read_tokenizer(folder)
        config = read_config(folder / "config.json")
        return {name: config[name] for name in _TOLD[folder.name]}
    except (WeightsError, KeyError) as error:
        raise checked.damage(folder, refusals.REPAIR) from error


def _text_tokens(original: Mapping[str, Any], config: Path | None) -> int:
    try:
        return int(original.get("text_len", PUBLISHED_NETWORK["text_len"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise refusals.damaged(config or "config.json") from error


def _network_task(
    path: Path, original: Mapping[str, Any], config: Path | None, shard_bytes: int
) -> tuple[Task, dict[str, Any]]:
    from engine.model.transformer import LumosXTransformer3DModel

    checkpoint = open_checkpoint(path)
    arguments = network_config_from_original(original, config or "config.json")
    with torch.device("meta"):
        model = LumosXTransformer3DModel(**arguments)
    return _weights_task(NETWORK, checkpoint, model, "transformer", model.save_config, shard_bytes, config), arguments


def _text_task(path: Path, shard_bytes: int) -> tuple[Task, dict[str, Any]]:
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


def _vae_task(path: Path, shard_bytes: int) -> tuple[Task, dict[str, Any]]:
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
) -> Task:
    stem = "model" if part is TEXT_ENCODER else "diffusion_pytorch_model"
    expected = _expected(model)
    stored = part.match(checkpoint.path, checkpoint.tensors, expected)
    tensors = {new: checkpoint.tensors[old] for new, old in stored.items()}

    def write(target: Path, on_bytes: Callable[[int], None]) -> dict[str, FileRecord]:
        records = write_shards(target, stem, tensors, lambda new: checkpoint.read(stored[new]), on_bytes, shard_bytes)
        save_config(target)
        return records

    return Task(
        name=folder,
        source=fingerprint(checkpoint.path, config),
        num_bytes=sum(info.num_bytes for info in tensors.values()),
        write=write,
    )


def _tokenizer_task(folder: Path) -> tuple[Task, dict[str, Any]]:
    """The tokenizer's files, copied as they are, and what it is."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".json", ".model", ".txt")]
    config = _read_tokenizer(folder)

    def write(target: Path, on_bytes: Callable[[int], None]) -> dict[str, FileRecord]:
        for file in files:
            shutil.copyfile(file, target / file.name)
        return {file.name: record_file(target / file.name, on_bytes) for file in files}

    total = sum(file.stat().st_size for file in files)
    return Task(name="tokenizer", source=fingerprint(*files), num_bytes=total, write=write), config


def _read_tokenizer(folder: Path) -> dict[str, Any]:
    """The class that reads a tokenizer's files, and how many tokens it has."""
    with _tokenizer_errors(folder):
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        return {"class": type(tokenizer).__name__, "num_tokens": len(tokenizer)}


@contextmanager
def _tokenizer_errors(folder: Path) -> Generator[None, None, None]:
    try:
        yield
    except Exception as error:  # the tokenizers library raises bare Exception for a damaged file
        raise refusals.no_tokenizer(folder) from error


def _scheduler_task() -> Task:
    from engine.model.scheduler import LumosXScheduler

    scheduler = LumosXScheduler()

    def write(target: Path, _: Callable[[int], None]) -> dict[str, FileRecord]:
        scheduler.save_pretrained(target)
        return {}

    return Task(name="scheduler", source=_content_source(dict(scheduler.config)), num_bytes=0, write=write)


def _index_task(tokenizer_class: str, text_tokens: int) -> Task:
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
        write_json(target / INDEX, index)
        return {}

    return Task(name=INDEX, source=_content_source(index), num_bytes=0, write=write)


def _content_source(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
