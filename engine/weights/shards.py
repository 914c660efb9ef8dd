"""Writing safetensors shards tensor by tensor.

The safetensors library wants all tensors of a file in memory at once; its format does not: a length, a JSON header, the
bytes. Written here one tensor at a time and hashed on the way, so that memory stays at one tensor.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from engine.weights.dcp import TensorInfo
from engine.weights.files import FileRecord, explained, record_file, write_json

if TYPE_CHECKING:
    from typing_extensions import Buffer

SHARD_BYTES = 1_000_000_000
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}


def write_shards(
    folder: Path,
    stem: str,
    tensors: Mapping[str, TensorInfo],
    read: Callable[[str], torch.Tensor],
    on_bytes: Callable[[int], None],
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, FileRecord]:
    """Write `tensors` into `folder` as `stem.safetensors`, or as numbered shards of at most `shard_bytes` (more only
    where a single tensor is larger) with the index that diffusers and transformers expect.

    `read` gives the values of a tensor when its turn comes; `on_bytes` is told of every tensor written. Returns the
    records of the files by name. Raises `OutputError` when the disk is full or not writable.
    """
    groups = _split(tensors, shard_bytes)
    records: dict[str, FileRecord] = {}
    placed: dict[str, str] = {}
    for number, names in enumerate(groups, start=1):
        single = len(groups) == 1
        file = f"{stem}.safetensors" if single else f"{stem}-{number:05d}-of-{len(groups):05d}.safetensors"
        records[file] = _write_file(folder / file, {name: tensors[name] for name in names}, read, on_bytes)
        placed |= dict.fromkeys(names, file)
    if len(groups) > 1:
        total = sum(info.num_bytes for info in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(placed.items()))}
        write_json(folder / f"{stem}.safetensors.index.json", index)
        records[f"{stem}.safetensors.index.json"] = record_file(folder / f"{stem}.safetensors.index.json")
    return records


def _split(tensors: Mapping[str, TensorInfo], shard_bytes: int) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    size = 0
    for name, info in tensors.items():
        if groups[-1] and size + info.num_bytes > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += info.num_bytes
    return groups


def _write_file(
    path: Path,
    tensors: Mapping[str, TensorInfo],
    read: Callable[[str], torch.Tensor],
    on_bytes: Callable[[int], None],
) -> FileRecord:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, info in tensors.items():
        start, end = end, end + info.num_bytes
        header[name] = {"dtype": _NAMES[info.dtype], "shape": list(info.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with explained(path), path.open("wb") as stream:
        for part in (len(text).to_bytes(8, "little"), text):
            digest.update(part)
            stream.write(part)
        for name, info in tensors.items():
            values = read(name).contiguous()
            if tuple(values.shape) != info.shape or values.dtype != info.dtype:
                raise ValueError(f"{name} is {tuple(values.shape)} {values.dtype}, announced was {info}")
            data = memoryview(cast("Buffer", values.reshape(-1).view(torch.uint8).numpy()))
            digest.update(data)
            stream.write(data)
            on_bytes(len(data))
        stream.flush()
        os.fsync(stream.fileno())
    return FileRecord(size_bytes=8 + len(text) + end, sha256=digest.hexdigest())
