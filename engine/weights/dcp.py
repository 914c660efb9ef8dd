"""Reading torch's distributed checkpoints: a folder with a `.metadata` file and one `.distcp` file per writing process.

Needs no process group and runs nothing that a checkpoint brings along: `.metadata` is a pickle, so it is read with an
allow-list whose classes are inert records of our own, and the tensors are read with `weights_only=True`. Memory stays
at one tensor plus its largest piece. Does not know which model a checkpoint belongs to.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, cast

import torch

from engine.weights import refusals
from engine.weights.pickles import load_tensors

METADATA_NAME = ".metadata"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and dtype of a tensor that has not been read yet."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        """Size of its values."""
        return prod(self.shape) * self.dtype.itemsize


class _Record:
    """What an allowed class of the metadata pickle becomes: attributes without behaviour."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(cast("dict[str, Any]", state))
        elif isinstance(state, tuple) and state:
            # Tensor properties are pickled as a tuple that begins with the dtype.
            self.__dict__["dtype"] = cast("tuple[object, ...]", state)[0]


class _Index(_Record):
    """Key of the storage table: which piece of which tensor."""

    fqn: str
    offset: tuple[int, ...] | None = None

    def __hash__(self) -> int:
        return hash((self.fqn, self.offset))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Index) and (self.fqn, self.offset) == (other.fqn, other.offset)


def _size(values: Iterable[int] = ()) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _name_only(value: object = None) -> str:
    return str(value)


def _path(*parts: str) -> PurePosixPath:
    return PurePosixPath(*parts)


_METADATA = "torch.distributed.checkpoint.metadata"
_SHARDED = "torch.distributed._shard.sharded_tensor.metadata"  # where some of these classes lived before torch 2.3
_ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    (_METADATA, "Metadata"): _Record,
    (_METADATA, "MetadataIndex"): _Index,
    (_METADATA, "TensorStorageMetadata"): _Record,
    (_METADATA, "BytesStorageMetadata"): _Record,
    (_METADATA, "ChunkStorageMetadata"): _Record,
    (_METADATA, "TensorProperties"): _Record,
    (_METADATA, "StorageMeta"): _Record,
    (_METADATA, "_MEM_FORMAT_ENCODING"): _name_only,
    (_SHARDED, "TensorProperties"): _Record,
    (_SHARDED, "MEM_FORMAT_ENCODING"): _name_only,
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): _Record,
    ("torch.serialization", "_get_layout"): _name_only,
    ("torch", "Size"): _size,
    ("collections", "OrderedDict"): OrderedDict,
    **{
        (module, name): _path
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    },
}


class _UnsafeError(Exception):
    """The metadata ask for a class or function that is not allowed; its text is the name."""


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        allowed = _ALLOWED.get((module_name, global_name))
        if allowed is not None:
            return allowed
        if module_name == "torch":
            dtype = getattr(torch, global_name, None)
            if isinstance(dtype, torch.dtype):
                return dtype
        raise _UnsafeError(f"{module_name}.{global_name}")


@dataclass(frozen=True, slots=True)
class _Piece:
    """One stored part of a tensor: where it lies in the tensor and in which bytes of which file."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: Path
    start: int
    length: int

    def overlaps(self, other: _Piece) -> bool:
        return all(
            a < b + m and b < a + n
            for a, n, b, m in zip(self.offsets, self.sizes, other.offsets, other.sizes, strict=True)
        )


@dataclass(frozen=True, slots=True)
class DistributedCheckpoint:
    """An opened checkpoint folder.

    `tensors`: every tensor in it by its stored name; `others`: names of stored values that are no tensors. Nothing but
    the metadata has been read yet.
    """

    folder: Path
    tensors: dict[str, TensorInfo]
    others: frozenset[str]
    _pieces: dict[str, tuple[_Piece, ...]] = field(repr=False)

    def read(self, name: str) -> torch.Tensor:
        """The tensor `name`, on the CPU, put together from its pieces. `WeightsError` if a piece is missing or
        damaged."""
        info, pieces = self.tensors[name], self._pieces[name]
        if len(pieces) == 1 and pieces[0].sizes == info.shape:
            return _read_piece(pieces[0], info.dtype, name)
        whole = torch.empty(info.shape, dtype=info.dtype)
        for piece in pieces:
            target = whole
            for axis, (offset, size) in enumerate(zip(piece.offsets, piece.sizes, strict=True)):
                target = target.narrow(axis, offset, size)
            target.copy_(_read_piece(piece, info.dtype, name))
        return whole


def open_distributed(folder: Path) -> DistributedCheckpoint:
    """Open a distributed checkpoint and check that its parts are all there; no tensor is read.

    Raises `WeightsError` for metadata that is damaged or asks for anything but the expected records, for missing or
    truncated files, and for tensors whose pieces leave gaps.
    """
    metadata = _read_metadata(folder / METADATA_NAME)
    try:
        entries = cast("dict[str, Any]", metadata.state_dict_metadata)
        stored = {(key.fqn, key.offset): value for key, value in metadata.storage_data.items()}
        tensors = {
            str(name): TensorInfo(_size(entry.size), _dtype(entry.properties.dtype))
            for name, entry in entries.items()
            if hasattr(entry, "chunks")
        }
        pieces = {name: _pieces_of(folder, name, entries[name].chunks, stored) for name in tensors}
    except (AttributeError, TypeError, ValueError) as error:
        raise refusals.damaged(folder / METADATA_NAME) from error
    _check_files(piece for parts in pieces.values() for piece in parts)
    for name, info in tensors.items():
        _check_cover(folder, name, info, pieces[name])
    return DistributedCheckpoint(folder, tensors, frozenset(entries.keys() - tensors.keys()), pieces)


def _read_metadata(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise refusals.no_metadata(path.parent) from error
    try:
        _check_sizes(data)
        return _MetadataUnpickler(io.BytesIO(data)).load()
    except _UnsafeError as error:
        raise refusals.could_run(path, str(error)) from error
    except Exception as error:  # a damaged pickle raises nearly any exception
        raise refusals.damaged(path) from error


def _check_sizes(data: bytes) -> None:
    """Refuse a pickle that asks for more memory than it could fill. A length that is not there is an error of `genops`;
    the number of a remembered object is not, and the unpickler makes a table up to it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about odd escapes in a stranger's text
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and cast("int", argument) > len(data):
                raise pickle.UnpicklingError("it numbers more objects than it can hold")


def _dtype(value: object) -> torch.dtype:
    if not isinstance(value, torch.dtype):
        raise TypeError(f"{value!r} is no dtype")
    return value


def _pieces_of(
    folder: Path, name: str, chunks: list[Any], stored: dict[tuple[str, tuple[int, ...] | None], Any]
) -> tuple[_Piece, ...]:
    pieces: list[_Piece] = []
    for chunk in chunks:
        offsets, sizes = _size(chunk.offsets), _size(chunk.sizes)
        if prod(sizes) == 0:
            continue
        place = stored.get((name, offsets)) or stored.get((name, None))
        if place is None:
            raise refusals.damaged_at(folder / METADATA_NAME, name)
        if getattr(place, "transform_descriptors", None):  # compressed
            raise refusals.other_form(folder / METADATA_NAME, name)
        relative = str(place.relative_path)
        if relative != PurePosixPath(relative).name or "\\" in relative or ":" in relative:
            raise refusals.leads_out(folder / METADATA_NAME, relative)
        pieces.append(_Piece(offsets, sizes, folder / relative, int(place.offset), int(place.length)))
    return tuple(pieces)


def _check_files(pieces: Iterable[_Piece]) -> None:
    ends: dict[Path, int] = {}
    for piece in pieces:
        ends[piece.file] = max(ends.get(piece.file, 0), piece.start + piece.length)
    for file, end in ends.items():
        if not file.is_file():
            raise refusals.missing(file)
        if file.stat().st_size < end:
            raise refusals.damaged(file)


def _check_cover(folder: Path, name: str, info: TensorInfo, pieces: tuple[_Piece, ...]) -> None:
    fits = all(
        len(piece.offsets) == len(piece.sizes) == len(info.shape)
        and all(o >= 0 and o + n <= whole for o, n, whole in zip(piece.offsets, piece.sizes, info.shape, strict=True))
        and piece.length >= prod(piece.sizes) * info.dtype.itemsize
        for piece in pieces
    )
    # As many values as the tensor has, all inside it, none stored twice: then there is no gap.
    covered = fits and sum(prod(piece.sizes) for piece in pieces) == prod(info.shape)
    if not covered or any(a.overlaps(b) for a, b in combinations(pieces, 2)):
        raise refusals.damaged_at(folder / METADATA_NAME, name)


def _read_piece(piece: _Piece, dtype: torch.dtype, name: str) -> torch.Tensor:
    try:
        with piece.file.open("rb") as stream:
            stream.seek(piece.start)
            data = stream.read(piece.length)
        value = load_tensors(io.BytesIO(data))
    except Exception as error:  # of a damaged file torch raises nearly any exception
        raise refusals.damaged_at(piece.file, name) from error
    if not isinstance(value, torch.Tensor) or tuple(value.shape) != piece.sizes or value.dtype != dtype:
        raise refusals.damaged_at(piece.file, name)
    return value.detach()
