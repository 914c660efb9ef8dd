"""One file to share: a person, a cast or a scene with its pictures, packed from a sample folder and unpacked again.

A `.lumosx` file is a zip of an official sample folder with a `scene.json`, and beside them a `lumosx.json` that names
the version and the sha256 of every other member. A plain zip of a sample folder is read as well.

Reading trusts nothing: not the number of members nor their sizes, not their names, not their pictures. What is read was
checked before the first pixel is decoded; what is refused leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import struct
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from engine import __version__
from engine.errors import InputError, PictureError
from engine.files import output_error, write_atomically
from engine.picture_decoding import ENDINGS, MAX_FILE_BYTES, picture_size
from engine.pictures import PictureStore, model_picture
from engine.request import RenderSettings
from engine.sample_folder import CAPTION_NAME, SCENE_NAME, write_sample_folder
from engine.scene import Reference, Scene
from engine.scene_file import MAX_FILE_BYTES as MAX_SCENE_BYTES
from engine.scene_file import with_references

ENDING = ".lumosx"
SHARED_ENDINGS = frozenset({ENDING, ".zip"})
LABEL_NAME = "lumosx.json"
FORMAT = "lumosx-share"
MAX_MEMBERS = 256
MAX_BYTES = 256 * 2**20
"""Of the file itself, and again of all its members unpacked."""
MAX_TOTAL_PIXELS = 600_000_000
_MAX_LABEL_BYTES = 2**18
_MAX_INDEX_BYTES = 2**20
_MAX_COMMENT_BYTES = 2**16
_DEPTH = 3
"""Folders of a member at most, counted with its file: subjects/1/face_man.png."""

_STEPS: tuple[Callable[[Path], None], ...] = ()
"""What makes an unpacked folder of each version one of the next."""

_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
_END_BYTES, _END_64_BYTES = 22, 20
_DATE = (1980, 1, 1, 0, 0, 0)
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def version() -> int:
    """The version of files written now."""
    return len(_STEPS) + 1


# -- writing -----------------------------------------------------------------------------------------------------------


def write_shared(
    scene: Scene,
    store: PictureStore,
    out: Path,
    *,
    title: str,
    settings: RenderSettings | None = None,
    whole_pictures: bool = False,
) -> None:
    """Write the scene to `out`, a `.lumosx` file or a `.zip` of the official sample folder; equal scenes, equal bytes.

    The references are packed as the model sees them, cut out and cropped, so that nothing of a photograph travels that
    the scene does not show; `whole_pictures` packs the photographs and their masks instead. Raises `InputError` for
    another ending, `OutputError`, and `PictureError` if a picture is missing in the store.
    """
    if out.suffix.lower() not in SHARED_ENDINGS:
        raise InputError(f"“{out.name}” has an unknown ending; use {ENDING}, or .zip for the sample folder alone.")
    with tempfile.TemporaryDirectory(prefix="lumosx-share-") as temporary:
        root = Path(temporary)
        if not whole_pictures:
            scene, store = _as_seen(scene, store, PictureStore(root / "store"))
        write_sample_folder(scene, store, root / "scene", settings=settings, title=title)
        files = sorted(path for path in (root / "scene").rglob("*") if path.is_file())
        members = {path.relative_to(root / "scene").as_posix(): path.read_bytes() for path in files}
    if sum(map(len, members.values())) > MAX_BYTES or len(members) >= MAX_MEMBERS:
        raise InputError("The scene's pictures are too large for one file; leave some out, or share the cut-outs only.")
    if out.suffix.lower() == ENDING:
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
        label = {"format": FORMAT, "version": version(), "program": __version__, "digests": digests}
        members = {LABEL_NAME: (json.dumps(label, indent=1) + "\n").encode(), **members}
    else:
        folder = _plain_name(title)
        members = {f"{folder}/{name}": data for name, data in members.items()}
    write_atomically(out, _zipped(members))


def _as_seen(scene: Scene, store: PictureStore, seen: PictureStore) -> tuple[Scene, PictureStore]:
    def ready(reference: Reference) -> Reference:
        if not reference.image:
            return reference
        return replace(reference, image=seen.add_array(model_picture(reference, store)), mask=None)

    return with_references(scene, ready), seen


def _zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, _DATE)  # neither the time nor the user who wrote it
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            packed = PurePosixPath(name).suffix.lower() in ENDINGS
            info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return stream.getvalue()


def _plain_name(title: str) -> str:
    words = re.sub(r"[^\w-]+", " ", unicodedata.normalize("NFC", title)).split()
    return "-".join(words).encode()[:80].decode(errors="ignore").strip("-_") or "scene"


# -- reading -----------------------------------------------------------------------------------------------------------


@contextmanager
def unpacked(path: Path) -> Generator[Path]:
    """The sample folder in a `.lumosx` file or a zip, checked and unpacked to a temporary place for the time of the
    `with` statement. A zip that holds its folder as a whole gives the folder its name.

    Raises `InputError` or `PictureError`, in one sentence that names the file, also for what is found wrong inside the
    `with` statement.
    """
    with tempfile.TemporaryDirectory(prefix="lumosx-shared-") as temporary:
        root = Path(temporary)
        try:
            members = _read(path)
            title = _plain_name(members.pop("", b"").decode() or path.stem)
            folder = root / title
            _lay_out(members, folder)
            _bring_up(members.get(LABEL_NAME), folder)
            yield folder
        except (InputError, PictureError) as error:
            # The place is gone when the sentence is read.
            kind = PictureError if isinstance(error, PictureError) else InputError
            raise kind(str(error).replace(f"{root}/", "").replace(str(root), path.name)) from error


def _read(path: Path) -> dict[str, bytes]:
    """All members that matter, by their place in the sample folder; under "" the name of the folder around them."""
    try:
        with path.open("rb") as stream:
            _check_end(stream, path.name)
            with zipfile.ZipFile(stream) as archive:
                return _read_members(archive, path.name)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"“{path}” cannot be read ({reason}); check its name and permissions.") from error
    # What zipfile raises for damaged data besides its own error is not documented.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _damaged(path.name) from error
    except (struct.error, OverflowError, LookupError) as error:
        raise _damaged(path.name) from error


def _check_end(stream: BinaryIO, name: str) -> None:
    """Look at the index of the zip before `zipfile` reads it whole: a file can claim millions of members."""
    size = stream.seek(0, 2)
    if size > MAX_BYTES:
        raise InputError(f"“{name}” is larger than {MAX_BYTES // 2**20} MB; share fewer pictures, or smaller ones.")
    tail_bytes = min(size, _END_BYTES + _END_64_BYTES + _MAX_COMMENT_BYTES)
    stream.seek(size - tail_bytes)
    tail = stream.read(tail_bytes)
    at = len(tail) - _END_BYTES
    if at < 0 or tail[at : at + 4] != _END or tail[-2:] != b"\0\0":
        at = tail.rfind(_END, 0, len(tail) - _END_BYTES + len(_END))
    if at < 0:
        raise InputError(
            f"“{name}” is no file to share scenes; choose one that ends in {ENDING}, or a zip of a folder."
        )
    count, index_bytes = struct.unpack("<10xHL6x", tail[at : at + _END_BYTES])
    if tail[max(0, at - _END_64_BYTES) :][:4] == _END_64 or count > MAX_MEMBERS or index_bytes > _MAX_INDEX_BYTES:
        raise _too_many(name)
    stream.seek(0)


def _read_members(archive: zipfile.ZipFile, name: str) -> dict[str, bytes]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MAX_MEMBERS:
        raise _too_many(name)
    if sum(info.file_size for info in infos) > MAX_BYTES:
        raise InputError(f"“{name}” would unpack to more than {MAX_BYTES // 2**20} MB; it is not opened.")
    places: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for info in infos:
        _check_member(info, name)
        key = unicodedata.normalize("NFC", info.filename).casefold()
        if key in seen:
            raise InputError(f"“{name}” holds two files of the same name (“{info.filename[:80]}”); it is not opened.")
        seen.add(key)
        places[info.filename] = info
    own = LABEL_NAME in places
    around = "" if own else _folder_around(places, name)
    found: dict[str, bytes] = {"": around.rstrip("/").encode()}
    for full, info in places.items():
        place = full.removeprefix(around)
        if not full.startswith(around) or not _of_a_scene(place):
            if own:
                raise InputError(f"“{name}” holds a file that belongs to no scene (“{full[:80]}”); it is not opened.")
            continue
        found[place] = _content(archive, info, _most_bytes(place), name)
    if own:
        _check_digests(found, name)
    return found


def _check_member(info: zipfile.ZipInfo, name: str) -> None:
    member = info.orig_filename
    pure = PurePosixPath(member)
    mode = info.external_attr >> 16
    if (
        pure.is_absolute()
        or ".." in pure.parts
        or any(sign in member for sign in '\\:\0<>"|?*')
        or any(_RESERVED.fullmatch(part) or part.endswith((" ", ".")) for part in pure.parts)
        or not member.isprintable()
        or len(member.encode()) > 400
    ):
        shown = member[:80].encode("ascii", "replace").decode()
        raise InputError(f"“{name}” holds a file whose name is not safe (“{shown}”); it is not opened.")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise InputError(f"“{name}” holds a link or a device instead of a file; it is not opened.")
    if info.flag_bits & 0x1:
        raise InputError(f"“{name}” is locked with a password; unpack it yourself and choose the folder.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _damaged(name)


def _folder_around(places: dict[str, zipfile.ZipInfo], name: str) -> str:
    """The folder in a zip that holds the sample folder, "" if the zip is that folder; ends in "/"."""
    for entry in (SCENE_NAME, CAPTION_NAME):
        if entry in places:
            return ""
    around = {
        full[: -len(PurePosixPath(full).name)]
        for full in places
        if full.endswith((f"/{SCENE_NAME}", f"/{CAPTION_NAME}"))
    }
    tops = [folder for folder in around if folder.count("/") == 1 and not folder.startswith((".", "__MACOSX"))]
    if len(tops) != 1:
        raise InputError(f"“{name}” holds no scene; choose a {ENDING} file, or the zip of one sample folder.")
    return tops[0]


def _of_a_scene(place: str) -> bool:
    pure = PurePosixPath(place)
    known = place in (LABEL_NAME, SCENE_NAME, CAPTION_NAME) or pure.suffix.lower() in ENDINGS
    return known and len(pure.parts) <= _DEPTH and not any(part.startswith(".") for part in pure.parts)


def _most_bytes(place: str) -> int:
    if place == LABEL_NAME:
        return _MAX_LABEL_BYTES
    return MAX_SCENE_BYTES if place in (SCENE_NAME, CAPTION_NAME) else MAX_FILE_BYTES


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most_bytes: int, name: str) -> bytes:
    if info.file_size > most_bytes:
        raise InputError(f"“{name}” holds a file that is too large (“{info.filename[:80]}”); it is not opened.")
    with archive.open(info) as stream:
        data = stream.read(most_bytes + 1)
    if len(data) != info.file_size:
        raise _damaged(name)
    return data


def _check_digests(found: dict[str, bytes], name: str) -> None:
    wanted = _label(found[LABEL_NAME], name).get("digests")
    got = {place: hashlib.sha256(data).hexdigest() for place, data in found.items() if place not in ("", LABEL_NAME)}
    if wanted != got:
        raise InputError(f"“{name}” was damaged or changed on its way; ask for it again.")


def _label(data: bytes, name: str) -> dict[str, Any]:
    try:
        label: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(name) from error
    if not isinstance(label, dict):
        raise _damaged(name)
    fields = cast("dict[str, Any]", label)
    number: object = fields.get("version")
    if fields.get("format") != FORMAT or type(number) is not int or number < 1:
        raise _damaged(name)
    if number > version():
        raise InputError(f"“{name}” was written by a newer version of this program; update to open it.")
    return fields


def _lay_out(members: dict[str, bytes], folder: Path) -> None:
    """Write the checked members below `folder`; the pictures' sizes are known before one is decoded."""
    pixels = 0
    for place, data in members.items():
        if PurePosixPath(place).suffix.lower() in ENDINGS:
            width, height = picture_size(data, place[:80])
            pixels += width * height
        if pixels > MAX_TOTAL_PIXELS:
            most = MAX_TOTAL_PIXELS // 1_000_000
            raise PictureError(f"The pictures have more than {most} million pixels together; share smaller ones.")
    for place, data in members.items():
        target = folder.joinpath(*PurePosixPath(place).parts)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if place != LABEL_NAME:
                target.write_bytes(data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InputError(f"A file and a folder share the name “{place[:80]}”; the scene is not opened.") from error
        except OSError as error:
            raise output_error(error, target) from error


def _bring_up(label: bytes | None, folder: Path) -> None:
    """Make an older version's folder one of today's."""
    if label is not None:
        for step in _STEPS[_label(label, folder.name)["version"] - 1 :]:
            step(folder)


def _damaged(name: str) -> InputError:
    return InputError(f"“{name}” is damaged, or no file to share scenes; ask for it again.")


def _too_many(name: str) -> InputError:
    return InputError(f"“{name}” holds more than the {MAX_MEMBERS} files a scene may have; it is not opened.")
