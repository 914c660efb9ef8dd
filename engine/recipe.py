"""Recipes: the whole request of a clip, written into the clip's own file, and read back as a stranger's data.

Where it lies: an mp4 ends in a `uuid` box that players pass over; a webm has a tag; a gif an application extension
before its end; a folder of frames a `recipe.json`. The text is JSON, compressed everywhere but in the folder.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO

from engine.codec import from_json, to_json
from engine.errors import InputError, UserError
from engine.request import RenderRequest

FORMAT = "lumosx-recipe"
VERSION = 1
MAX_RECIPE_BYTES = 64 * 2**20
MAX_PICTURES_BYTES = 40 * 2**20
"""Of all pictures of a recipe together; as base64, and with the scene, they stay below `MAX_RECIPE_BYTES`."""
MAX_VALUES = 200_000
"""How many values a recipe may hold; a few megabytes of empty lists would take a gigabyte of memory."""
MAX_BOXES = 4096
"""How many boxes of an mp4, or elements of a webm, are looked at for a recipe."""
BOX_ID = uuid.UUID("6c756d6f-7378-4073-a172-656369706531").bytes
WEBM_TAG = "LUMOSX_RECIPE"
WEBM_TAG_BYTES = 4 * 2**20
"""Readers of webm pass over longer tags, so a long recipe takes several."""
_WEBM_TAG = re.compile(rf"{WEBM_TAG}_\d\d".encode())
GIF_APPLICATION = b"LUMOSXST1.0"
GIF_END = b";"
RECIPE_NAME = "recipe.json"


MAX_EDITS = 64
"""How many edits of a clip its recipe lists, and how many characters the word for one may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What was done to a clip since it was rendered: a word for each edit, in their order, and what it measures now.

    width, height: px. num_frames: frames in the file. Raises `InputError` for what no edit makes.
    """

    steps: tuple[str, ...]
    width: int
    height: int
    fps: int
    num_frames: int

    def __post_init__(self) -> None:
        plain = len(self.steps) <= MAX_EDITS and all(len(step) <= MAX_EDITS for step in self.steps)
        if not plain or not all(0 < size <= 2**16 for size in (self.width, self.height, self.fps, self.num_frames)):
            raise InputError("The clip's recipe tells of edits that cannot be; it is not opened.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a clip was made. `pictures`: PNG files of the request's pictures and masks by id, empty if left out for
    sharing; `engine_title`: the engine's name for people; `edited`: None for a clip as it was rendered.

    Raises `InputError` for pictures that are too large to travel or belong to no reference.
    """

    request: RenderRequest
    engine_version: str
    weights_digest: str
    engine_title: str
    pictures: Mapping[str, bytes]
    edited: Edited | None = None

    def __post_init__(self) -> None:
        references = self.request.scene.references()
        known = {reference.image for reference in references} | {reference.mask for reference in references}
        if not known.issuperset(self.pictures):
            raise InputError("The clip's recipe has a picture that belongs to nothing in its scene; it is not opened.")
        if sum(map(len, self.pictures.values())) > MAX_PICTURES_BYTES:
            raise InputError(
                "The scene's pictures are too large to travel in a clip; scale them down, or render without pictures."
            )

    @property
    def statement(self) -> str:
        """What the file says about itself to everybody."""
        made = f"AI-generated with LumosX Studio {self.engine_version} ({self.engine_title})"
        return made if self.edited is None else f"{made}, edited ({', '.join(self.edited.steps)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    request: RenderRequest
    engine_version: str
    weights_digest: str
    engine_title: str
    pictures: dict[str, bytes]


def recipe_to_json(recipe: Recipe) -> str:
    """The recipe as text; the same for the same recipe."""
    stored = _Stored(
        request=recipe.request,
        engine_version=recipe.engine_version,
        weights_digest=recipe.weights_digest,
        engine_title=recipe.engine_title,
        pictures=dict(sorted(recipe.pictures.items())),
    )
    document = {"format": FORMAT, "version": VERSION, "statement": recipe.statement, "recipe": to_json(stored)}
    if recipe.edited is not None:
        document["edited"] = to_json(recipe.edited)  # beside the recipe, where earlier versions pass over it
    return json.dumps(document, ensure_ascii=False)


def recipe_from_json(text: str) -> Recipe:
    """Read and check a recipe. Raises `InputError`."""
    if sum(map(text.count, "[{,")) > MAX_VALUES:
        raise InputError("The clip's recipe holds more than any recipe; it is not opened.")
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("The clip's recipe is damaged; render the scene anew.") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError("The clip's recipe is damaged; render the scene anew.")
    version = data.get("version")
    if isinstance(version, int) and version > VERSION:
        raise InputError("The clip was made by a newer version of this program; update to open it.")
    if version != VERSION:
        raise InputError("The clip's recipe is damaged; render the scene anew.")
    try:
        stored = from_json(_Stored, data.get("recipe"))
        edited = from_json(Edited, data["edited"]) if "edited" in data else None
    except UserError as error:
        raise InputError(f"The clip's recipe cannot be read: {error}") from error
    return Recipe(
        request=stored.request,
        engine_version=stored.engine_version,
        weights_digest=stored.weights_digest,
        engine_title=stored.engine_title,
        pictures=stored.pictures,
        edited=edited,
    )


def read_recipe(path: Path) -> Recipe:
    """The recipe of a clip of ours: mp4, webm, gif, or a folder of PNG frames. `InputError` for anything else."""
    readers = {".mp4": _from_mp4, ".webm": _from_webm, ".gif": _from_gif}
    try:
        if path.is_dir():
            text = _from_folder(path)
        else:
            reader = readers.get(path.suffix.lower())
            found = None if reader is None else reader(path)
            text = None if found is None else unpack(found)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"The clip “{path}” cannot be read ({reason}); check its name and permissions.") from error
    except (ValueError, zlib.error, IndexError) as error:
        raise InputError(f"The clip “{path}” is damaged; choose another file.") from error
    if text is None:
        raise InputError(
            f"“{path}” holds no recipe: it was not made by this program, or another program saved it anew."
        )
    return recipe_from_json(text)


def pack(text: str) -> bytes:
    """Compress a recipe for a file."""
    return zlib.compress(text.encode("utf-8"), 6)


def unpack(packed: bytes) -> str:
    """Undo `pack`; `ValueError` for what would grow beyond the limit."""
    decompressor = zlib.decompressobj()
    data = decompressor.decompress(packed, MAX_RECIPE_BYTES)
    if decompressor.unconsumed_tail:
        raise ValueError("the recipe is larger than any recipe")
    return data.decode("utf-8")


def append_to_mp4(path: Path, text: str) -> None:
    """Add the recipe as a `uuid` box at the end of a finished mp4."""
    with path.open("ab") as stream:
        stream.write(_mp4_box(text))


def replace_in_mp4(path: Path, recipe: Recipe) -> bytes:
    """The bytes of an mp4 of ours with another recipe in place of its own; frames and all else stay as they are.

    Raises `InputError` for a damaged file.
    """
    try:
        with path.open("rb") as stream:
            parts: list[bytes] = []
            start = 0
            for kind, size in _boxes(stream):
                end = stream.tell() + size
                if kind != b"uuid" or size < 16 or stream.read(16) != BOX_ID:
                    stream.seek(start)
                    parts.append(stream.read(end - start))
                start = end
    except (OSError, ValueError) as error:
        raise InputError(f"The clip “{path}” cannot be read; delete it, or choose another.") from error
    return b"".join(parts) + _mp4_box(recipe_to_json(recipe))


def _mp4_box(text: str) -> bytes:
    packed = pack(text)
    return (8 + 16 + len(packed)).to_bytes(4, "big") + b"uuid" + BOX_ID + packed


def _from_folder(folder: Path) -> str | None:
    path = folder / RECIPE_NAME
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        data = stream.read(MAX_RECIPE_BYTES + 1)
    if len(data) > MAX_RECIPE_BYTES:
        raise ValueError("the recipe is larger than any recipe")
    return data.decode("utf-8")


def _from_mp4(path: Path) -> bytes | None:
    with path.open("rb") as stream:
        for kind, size in _boxes(stream):
            if kind == b"uuid" and 16 <= size <= MAX_RECIPE_BYTES and stream.read(16) == BOX_ID:
                return stream.read(size - 16)
    return None


def _boxes(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kinds and content sizes of an mp4's first top-level boxes, the stream standing at each content in turn."""
    position, end = 0, stream.seek(0, 2)
    for _ in range(MAX_BOXES):
        if position + 8 > end:
            return
        stream.seek(position)
        header = stream.read(8)
        size, kind, head = int.from_bytes(header[:4], "big"), header[4:], 8
        if size == 1:
            size, head = int.from_bytes(stream.read(8), "big"), 16
        if size == 0:
            size = end - position
        if size < head or position + size > end:
            raise ValueError("a box leads out of the file")
        yield kind, size - head
        position += size


def _from_webm(path: Path) -> bytes | None:
    parts: dict[bytes, bytes] = {}
    name, size_read = b"", 0
    with path.open("rb") as stream:
        for kind, size in _elements(stream):
            if kind == _EBML.tag_name:
                name = stream.read(size) if size <= 64 else b""
            elif kind == _EBML.tag_string and _WEBM_TAG.fullmatch(name):
                size_read += size
                if size_read > 2 * MAX_RECIPE_BYTES:
                    raise ValueError("the tags are larger than any recipe")
                parts[name] = stream.read(size)
    code = b"".join(parts[name] for name in sorted(parts))
    return base64.b64decode(code, validate=True) if parts else None


class _EBML(IntEnum):
    """Elements of a webm on the way to its tags."""

    header = 0x1A45DFA3
    segment = 0x18538067
    tags = 0x1254C367
    tag = 0x7373
    simple_tag = 0x67C8
    tag_name = 0x45A3
    tag_string = 0x4487


_EBML_MASTERS = frozenset({_EBML.segment, _EBML.tags, _EBML.tag, _EBML.simple_tag})


def _elements(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Ids and content sizes of a webm's first elements, the stream standing at each content in turn.

    Goes into the elements that lead to tags and passes over the content of all others.
    """
    position, end = 0, stream.seek(0, 2)
    for number in range(MAX_BOXES):
        if position >= end:
            return
        stream.seek(position)
        kind, _ = _ebml_number(stream)
        size, unknown = _ebml_number(stream, marked=False)
        if number == 0 and kind != _EBML.header:
            raise ValueError("no webm")
        position = stream.tell()
        if unknown:
            # What was streamed does not know its length; only the whole may be so.
            if kind != _EBML.segment:
                return
        elif position + size > end:
            raise ValueError("an element leads out of the file")
        yield kind, size
        if kind not in _EBML_MASTERS:
            position += size


def _ebml_number(stream: BinaryIO, *, marked: bool = True) -> tuple[int, bool]:
    """A number whose first byte tells its length, with or without the bit that does; and whether it means "unknown"."""
    first = stream.read(1)
    if not first or not first[0]:
        raise ValueError("no number")
    length = 9 - first[0].bit_length()
    rest = stream.read(length - 1)
    if len(rest) != length - 1:
        raise ValueError("a number is cut off")
    value, marker = int.from_bytes(first + rest, "big"), 1 << 7 * length
    return (value if marked else value - marker), value == 2 * marker - 1


def webm_tags(text: str) -> dict[str, str]:
    """The recipe as tags of a webm."""
    code = base64.b64encode(pack(text)).decode()
    starts = range(0, len(code), WEBM_TAG_BYTES)
    return {f"{WEBM_TAG}_{number:02d}": code[at : at + WEBM_TAG_BYTES] for number, at in enumerate(starts)}


def gif_head(size: tuple[int, int], statement: str) -> bytes:
    """The first bytes of an endless gif of `size` px without a palette for all frames, with a comment."""
    screen = b"GIF89a" + size[0].to_bytes(2, "little") + size[1].to_bytes(2, "little") + bytes(3)
    endless = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    return screen + endless + b"\x21\xfe" + _to_gif_blocks(statement.encode())


def insert_into_gif(path: Path, text: str) -> None:
    """Add the recipe as an application extension before the end of a finished gif."""
    blocks = _to_gif_blocks(pack(text))
    with path.open("r+b") as stream:
        stream.seek(-1, 2)
        if stream.read(1) != GIF_END:
            raise ValueError("the gif has no end")
        stream.seek(-1, 2)
        stream.write(b"\x21\xff\x0b" + GIF_APPLICATION + blocks + GIF_END)


def _to_gif_blocks(data: bytes) -> bytes:
    parts = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def _from_gif(path: Path) -> bytes | None:
    with path.open("rb") as stream:
        header = stream.read(13)
        if header[:6] not in (b"GIF87a", b"GIF89a"):
            raise ValueError("no gif")
        stream.seek(_table_bytes(header[10]), 1)
        while (kind := stream.read(1)) != GIF_END:
            if kind == b"\x21":
                label = stream.read(1)
                if label == b"\xff" and stream.read(stream.read(1)[0]) == GIF_APPLICATION:
                    return b"".join(_gif_blocks(stream))
            elif kind == b",":
                stream.seek(_table_bytes(stream.read(9)[8]) + 1, 1)
            else:
                raise ValueError("an unknown block")
            for _ in _gif_blocks(stream):
                pass
    return None


def _table_bytes(flags: int) -> int:
    """Size of the colour table that a gif's flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Sub-blocks up to the empty one that ends them."""
    total = 0
    while size := stream.read(1)[0]:
        total += size
        if total > MAX_RECIPE_BYTES:
            raise ValueError("a block is larger than any recipe")
        yield stream.read(size)
