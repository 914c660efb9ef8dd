"""One way to read every form a published checkpoint comes in: a distributed-checkpoint folder, a `.pt`/`.pth` file or
safetensors. Opening reads names and shapes only; tensors are read one by one, so that no checkpoint has to fit into
memory.

Pickles are read with `weights_only=True` and nothing else. Knows how checkpoints are wrapped (`ema.`, `module.`,
`model_state`), not what the tensors mean.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import torch

from engine.weights import refusals
from engine.weights.dcp import METADATA_NAME, DistributedCheckpoint, TensorInfo, open_distributed
from engine.weights.pickles import load_tensors

NETWORK_FILES = ("LumosX_models.safetensors", "LumosX_models.pt", "LumosX_models.pth")
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_WRAPPERS = ("state_dict", "model_state", "module")
_PREFIXES = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "diffusion_model.")
_GROUPS = ("ema", "model", "optimizer")
_UNSAFE = re.compile(r"GLOBAL (\S+)")
"""How torch names a class or function that it refuses to call; of any other error the pickle itself is damaged."""


class _Store(Protocol):
    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...
    def read(self, name: str) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of one state dict under their plain names (no `ema.`, no `module.`).

    `tensors` gives shape and dtype of each; `read(name)` its values on the CPU, to be used at once and not kept.
    """

    path: Path
    tensors: dict[str, TensorInfo]
    _stored_names: dict[str, str]
    _store: _Store

    def read(self, name: str) -> torch.Tensor:
        """Values of one tensor. `WeightsError` if they are damaged."""
        return self._store.read(self._stored_names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Tensors of a `.pt` file, mapped from the disk and paged in when touched."""

    values: dict[str, torch.Tensor]

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        return {name: TensorInfo(tuple(value.shape), value.dtype) for name, value in self.values.items()}

    def read(self, name: str) -> torch.Tensor:
        return self.values[name].detach()


@dataclass(frozen=True, slots=True)
class Safetensors:
    """One safetensors file: shape and dtype of its tensors under their stored names, and the texts in its head."""

    path: Path
    tensors: dict[str, TensorInfo]
    texts: dict[str, str]

    def read(self, name: str) -> torch.Tensor:
        """Values of one tensor, on the CPU. `WeightsError` if they are damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                return cast(torch.Tensor, file.get_tensor(name))
        except (OSError, SafetensorError) as error:
            raise refusals.damaged_at(self.path, name) from error


def open_checkpoint(path: Path, prefer: str = "ema") -> Checkpoint:
    """Open the weights at `path`, whatever their form.

    `path` is a file, a distributed-checkpoint folder, or a folder holding either under its published name. Of a
    checkpoint that carries several sets of weights the set `prefer` ("ema" or "model") is taken; without such a set,
    "ema" falls back to the model's own weights, since then there are no others. Raises `WeightsError` in one sentence.
    """
    path = find_checkpoint(path, prefer)
    if path.is_dir():
        store = open_distributed(path)
        return _select(path, store, prefer, store.others)
    if path.suffix == ".safetensors":
        return _select(path, open_safetensors(path), prefer, frozenset())
    values, others = _open_pickle(path, prefer)
    return _select(path, _Loaded(values), prefer, others)


def find_checkpoint(path: Path, prefer: str = "ema") -> Path:
    """The file or distributed-checkpoint folder meant by `path`; `WeightsError` if there is none."""
    if path.is_file():
        if path.name == METADATA_NAME or path.suffix == ".distcp":
            return path.parent
        return path
    if not path.exists():
        raise refusals.nothing_there(path)
    places = (path, path / "all", path / prefer)
    models = (path / "LumosX_models", path / "LumosX_models" / "all", path / "LumosX_models" / prefer)
    for folder in (*places, *models):
        if (folder / METADATA_NAME).is_file():
            return folder
    for folder in (path, path / "LumosX_models"):
        named = [folder / name for name in NETWORK_FILES if (folder / name).is_file()]
        found = sorted(file for file in folder.glob("*") if file.suffix in SUFFIXES) if folder.is_dir() else []
        if named or (folder.name == "LumosX_models" and len(found) == 1):
            return (named or found)[0]
    orphans = sorted(path.glob("**/*.distcp"))
    if orphans:
        raise refusals.no_metadata(orphans[0].parent)
    raise refusals.no_network(path)


def read_network_state(path: Path, prefer: str = "ema") -> dict[str, torch.Tensor]:
    """The whole state dict at `path` (see `open_checkpoint`) with original key names, bit for bit, in memory."""
    checkpoint = open_checkpoint(path, prefer)
    return {name: checkpoint.read(name) for name in checkpoint}


def _select(path: Path, store: _Store | DistributedCheckpoint, prefer: str, others: frozenset[str]) -> Checkpoint:
    """Choose one set of weights and give its tensors their plain names."""
    stored = store.tensors
    grouped = [group for group in _GROUPS if any(name.startswith(f"{group}.") for name in stored)]
    candidates = [prefer] if prefer != "ema" else ["ema", "model"]
    group = next((candidate for candidate in candidates if candidate in grouped), None)
    if group is None and grouped and not any(_plain(stored, grouped)):
        raise refusals.no_weights(path)
    prefix = f"{group}." if group else ""
    names: dict[str, str] = {}
    for name in [*stored, *others]:
        belongs = name.startswith(prefix) if prefix else not name.startswith(tuple(f"{other}." for other in grouped))
        if not belongs:
            continue
        if name in others:
            raise refusals.surplus(path, name)
        plain = _strip(name.removeprefix(prefix))
        if plain in names:
            raise refusals.twice(path, plain)
        names[plain] = name
    if not names:
        raise refusals.no_weights(path)
    return Checkpoint(path, {plain: stored[name] for plain, name in names.items()}, names, store)


def _plain(stored: Mapping[str, TensorInfo], grouped: list[str]) -> Iterator[str]:
    return (name for name in stored if not name.startswith(tuple(f"{group}." for group in grouped)))


def _strip(name: str) -> str:
    """Drop the prefixes that training wrappers put before, or (sharding) inside, a parameter's name."""
    stripped = name.replace("_fsdp_wrapped_module.", "").replace("_orig_mod.", "")
    while prefix := next((prefix for prefix in _PREFIXES if stripped.startswith(prefix)), None):
        stripped = stripped.removeprefix(prefix)
    return stripped


def open_safetensors(path: Path) -> Safetensors:
    """Open a safetensors file; nothing but its head is read. `WeightsError` if it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            texts = cast("dict[str, str]", file.metadata() or {})
            tensors: dict[str, TensorInfo] = {}
            for name in cast("list[str]", list(file.keys())):
                part = file.get_slice(name)
                tensors[name] = TensorInfo(tuple(part.get_shape()), _SAFETENSORS_DTYPES[part.get_dtype()])
    except (OSError, SafetensorError, KeyError) as error:
        raise refusals.damaged(path) from error
    return Safetensors(path, tensors, texts)


def _open_pickle(path: Path, prefer: str) -> tuple[dict[str, torch.Tensor], frozenset[str]]:
    """Tensors and the names of other entries of a `.pt` file, unwrapped."""
    try:
        # Only files in torch's zip form can be mapped; old ones have to be read as a whole.
        content = load_tensors(path, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        unsafe = _UNSAFE.search(str(error))
        raise (refusals.could_run(path, unsafe[1]) if unsafe else refusals.damaged(path)) from error
    except Exception as error:  # of a damaged file torch raises nearly any exception
        raise refusals.damaged(path) from error
    entries = _unwrap(content, prefer)
    if entries is None:
        raise refusals.no_weights(path)
    values = {str(name): value for name, value in entries.items() if isinstance(value, torch.Tensor)}
    return values, frozenset(str(name) for name in entries if str(name) not in values)


def _unwrap(content: object, prefer: str) -> dict[object, object] | None:
    """Follow `{"ema": {…}}`, `{"model_state": {…}}` and the like down to the dict that holds tensors."""
    keys = (prefer, *_WRAPPERS, "model") if prefer == "ema" else (prefer, *_WRAPPERS)
    while isinstance(content, dict):
        entries = cast("dict[object, object]", content)
        inner = next((entries[key] for key in keys if isinstance(entries.get(key), dict)), None)
        if inner is None:
            return entries if any(isinstance(value, torch.Tensor) for value in entries.values()) else None
        content = inner
    return None


_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
