"""The plain web routes beside Gradio's: pictures, clips and exports by name, a folder coming in, and who may ask.

Only three folders can be read through them, each by a name that cannot leave it; nothing is served by path.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from engine.errors import InputError, PictureError, UserError
from engine.files import output_error
from engine.masks.kept import view_path
from engine.picture_decoding import ENDINGS, MAX_FILE_BYTES, too_many_bytes
from engine.pictures import PictureStore
from engine.shared_file import MAX_BYTES as MAX_SHARED_BYTES
from engine.shared_file import SHARED_ENDINGS
from studio.clip_pictures import poster, strip, unreadable
from studio.instance import HELLO, hello
from studio.languages import heard, say
from studio.models_desk import UPLOAD_BYTES, ModelsDesk
from studio.thumbnails import thumbnail

_log = logging.getLogger(__name__)

_MEDIA = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "gif": "image/gif",
    "zip": "application/zip",
    "lumosx": "application/octet-stream",
}
_SCENE_FILES = frozenset({*ENDINGS, ".txt", ".json"})
_MAX_FILES = 128
_MAX_FOLDER_BYTES = 256 * 2**20
_MAX_NAME_CHARS = 200
_MAX_NAME_BYTES = 255
"""Of a name on any file system in use; the system's own answer to a longer one is an error, not a no."""
_MAX_MESSAGE_BYTES = 2 * 2**20

_MAX_CLIP_BYTES = 1024 * 2**20
_CLIP_ENDINGS = frozenset({".mp4", ".webm", ".gif"})
_FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}
"""For what has a digest of its content, or its state, in its address."""

FolderReader = Callable[[Path, str], dict[str, Any]]
ClipReader = Callable[[Path, str], dict[str, Any]]
PictureReceiver = Callable[[bytes, str], dict[str, Any]]
SharedReceiver = Callable[[Path, str, bool], dict[str, Any]]


def file_name(name: str) -> str | None:
    """Return `name` if it is the plain name of a file we may serve, else None."""
    short = len(name.encode(errors="surrogatepass")) <= _MAX_NAME_BYTES
    plain = short and not name.startswith(".") and not any(sign in name for sign in "/\\:\0")
    return name if plain and name.rsplit(".", 1)[-1].lower() in _MEDIA else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRoutes:
    """What the routes answer with.

    `pictures`, `clips` and `exports` answer for whoever sent the request, see `studio.visitors`.
    `read_folder(folder, title)` makes the page's answer from a folder that came in, `receive_picture(data, name)`,
    `receive_clip(path, name)` and `receive_shared(file, name, keep)` do so for a picture, a clip and a shared file,
    `models` for a file of weights, `ask` for a last message of a closed page, `ask_as(request, message)` for a message
    whose headers say in whose name a render is done.
    """

    key: str
    pictures: Callable[[], PictureStore]
    clips: Callable[[], Path]
    exports: Callable[[], Path]
    read_folder: FolderReader
    receive_picture: PictureReceiver
    receive_shared: SharedReceiver
    receive_clip: ClipReader
    ask: Callable[[Any], dict[str, Any]]
    ask_as: Callable[[Request, Any], dict[str, Any]]
    models: ModelsDesk

    def all(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(HELLO, self._greet),
            Route("/studio/picture/{picture}", self._picture),
            Route("/studio/view/{picture}", self._view),
            Route("/studio/clip/{name}", _media(self.clips)),
            Route("/studio/export/{name}", _media(self.exports)),
            Route("/studio/poster/{name}", self._still),
            Route("/studio/strip/{name}", self._still),
            Route("/studio/scene", _answering(self._clip, "file_fault"), methods=["POST"]),
            Route("/studio/folder", _answering(self._folder, "folder_fault"), methods=["POST"]),
            Route("/studio/pictures", self._receive, methods=["POST"]),
            Route("/studio/weights", _answering(self._weights, "file_fault"), methods=["POST"]),
            Route("/studio/shared", _answering(self._shared, "file_fault"), methods=["POST"]),
            Route("/studio/draft", self._last_words, methods=["POST"]),
            Route("/studio/asked", self._asked, methods=["POST"]),
        ]

    def _greet(self, _request: Request) -> Response:
        return JSONResponse(hello(self.key))

    def _picture(self, request: Request) -> Response:
        try:
            path = thumbnail(
                self.pictures(),
                request.path_params["picture"],
                request.query_params.get("mask"),
                request.query_params.get("role"),
                large="large" in request.query_params,
            )
        except PictureError as error:
            return PlainTextResponse(heard(str(error)), 404)
        return _file(path, "image/webp", _FOR_GOOD)

    def _view(self, request: Request) -> Response:
        name = request.path_params["picture"]
        if name not in self.pictures():
            return _missing()
        # made when the picture was opened for cutting
        return _file(view_path(name), "image/webp", _FOR_GOOD)

    async def _folder(self, request: Request) -> dict[str, Any]:
        return await _receive_folder(request, self.read_folder)

    async def _receive(self, request: Request) -> Response:
        name = request.query_params.get("name", "")[:_MAX_NAME_CHARS] or say("the_picture")
        data = await _body(request, MAX_FILE_BYTES)
        if data is None:
            return JSONResponse({"error": heard(str(too_many_bytes(name)))})
        return JSONResponse(await run_in_threadpool(self.receive_picture, data, name))

    async def _weights(self, request: Request) -> dict[str, Any]:
        name, file = request.query_params.get("name", ""), request.query_params.get("file", "")
        accepted = request.query_params.get("accepted") == "true"
        place = self.models.upload_place(name, file)
        too_large = say("file_too_large", most=UPLOAD_BYTES // 2**20)
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > UPLOAD_BYTES:  # too much even to be dropped
            raise InputError(too_large)
        await _write_body(request, place, UPLOAD_BYTES, too_large)
        return await run_in_threadpool(self.models.take_upload, name, place, accepted=accepted)

    async def _shared(self, request: Request) -> dict[str, Any]:
        return await _receive_shared(request, self.receive_shared)

    def _still(self, request: Request) -> Response:
        name, frame = file_name(request.path_params["name"]), request.query_params.get("frame", "0")
        clip = None if name is None else self.clips() / name
        if clip is None or not clip.is_file() or not (frame.isascii() and frame.isdigit()):
            return _missing()
        try:
            path = poster(clip, int(frame[:6])) if "poster" in request.url.path else strip(clip)
        except UserError:  # a page that shows it says so by the picture alone
            return Response(unreadable(), media_type="image/webp", headers={"Cache-Control": "no-store"})
        return _file(path, "image/webp", _FOR_GOOD)

    async def _clip(self, request: Request) -> dict[str, Any]:
        name = request.query_params.get("name", "")[:_MAX_NAME_CHARS] or say("the_clip")
        return await _receive_clip(request, name, self.receive_clip)

    async def _asked(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.ask_as, request, await _message(request)))

    async def _last_words(self, request: Request) -> Response:
        # a page that is being closed can only leave a message, not wait for an answer
        message = await _message(request)
        if not isinstance(message, dict) or cast("dict[str, Any]", message).get("do") != "keep":
            return PlainTextResponse(say("guard_drafts_only"), 400)
        return JSONResponse(await run_in_threadpool(self.ask, message))


def _media(folder: Callable[[], Path]) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        name = file_name(request.path_params["name"])
        if name is None:
            return _missing()
        return _file(folder() / name, _MEDIA[name.rsplit(".", 1)[1].lower()], {"Cache-Control": "private, no-cache"})

    return answer


def _missing() -> Response:
    return PlainTextResponse(say("guard_no_file"), 404)


def _file(path: Path, media_type: str, headers: dict[str, str]) -> Response:
    if not path.is_file():
        return _missing()
    return FileResponse(path, media_type=media_type, headers=headers)


async def _message(request: Request) -> Any:
    """Return the message that was sent as JSON, None if it is none."""
    try:
        return json.loads(await _body(request, _MAX_MESSAGE_BYTES) or b"")
    except (ValueError, RecursionError):
        return None


async def _body(request: Request, most_bytes: int) -> bytes | None:
    """Return what was sent, None if it is more than `most_bytes` (the rest is read and dropped, so that the answer
    arrives)."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= most_bytes:
            parts.append(part)
        else:
            parts.clear()
    return b"".join(parts) if size <= most_bytes else None


def _answering(
    receive: Callable[[Request], Awaitable[dict[str, Any]]], fault: str
) -> Callable[[Request], Awaitable[Response]]:
    """Make a route of what takes in something that is sent; `fault` is the key of what is said if that fails."""

    async def answer(request: Request) -> Response:
        try:
            return JSONResponse(await receive(request))
        except UserError as error:
            return JSONResponse({"error": heard(str(error))})
        except ClientDisconnect:  # the page went away half-way: no fault, and nobody is left to hear of it
            return Response(status_code=400)
        except Exception:
            _log.exception("taking in what was sent failed")
            return JSONResponse({"error": say(fault)})

    return answer


async def _write_body(request: Request, path: Path, most_bytes: int, too_large: str) -> None:
    """Write what is sent to a file, whole or not at all. Raises `InputError` with `too_large`, or `OutputError`."""
    size, declared = 0, request.headers.get("content-length", "")
    try:
        if declared.isdigit() and int(declared[:20]) > most_bytes:  # no disk is filled with what will not be kept
            async for _part in request.stream():
                pass
            raise InputError(too_large)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            async for part in request.stream():
                size += len(part)
                if size <= most_bytes:  # the rest is read and dropped, so that the answer arrives
                    await run_in_threadpool(out.write, part)
        if size > most_bytes:
            raise InputError(too_large)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise output_error(error, path) from error
        raise


async def _receive_shared(request: Request, receive_shared: SharedReceiver) -> dict[str, Any]:
    name = PurePosixPath(request.query_params.get("name", "").replace("\\", "/")[:_MAX_NAME_CHARS]).name
    ending = PurePosixPath(name).suffix.lower()
    if ending not in SHARED_ENDINGS:
        raise InputError(say("shared_wrong_kind", name=name))
    with tempfile.TemporaryDirectory(prefix="lumosx-sent-") as temporary:
        path = Path(temporary) / f"shared{ending}"
        too_large = say("shared_too_large", name=name, most=MAX_SHARED_BYTES // 2**20)
        await _write_body(request, path, MAX_SHARED_BYTES, too_large)
        try:
            return await run_in_threadpool(receive_shared, path, name, "keep" in request.query_params)
        except UserError as error:
            raise InputError(str(error).replace(str(path), name).replace(path.name, name)) from error


async def _receive_clip(request: Request, name: str, receive: ClipReader) -> dict[str, Any]:
    ending = Path(name).suffix.lower()
    if ending not in _CLIP_ENDINGS:
        raise InputError(say("clip_wrong_kind", name=name))
    with tempfile.TemporaryDirectory(prefix="lumosx-clip-") as folder:
        path = Path(folder) / f"clip{ending}"
        too_large = say("clip_too_large", name=name, most=_MAX_CLIP_BYTES // 2**20)
        await _write_body(request, path, _MAX_CLIP_BYTES, too_large)
        return await run_in_threadpool(receive, path, name)


async def _receive_folder(request: Request, read_folder: FolderReader) -> dict[str, Any]:
    size = request.headers.get("content-length", "")
    if not size.isdigit() or int(size) > _MAX_FOLDER_BYTES:
        raise InputError(say("folder_too_large", most=_MAX_FOLDER_BYTES // 2**20))
    try:
        async with request.form(max_files=_MAX_FILES, max_fields=_MAX_FILES) as form:
            paths = [str(path) for path in form.getlist("path")]
            files = [file for file in form.getlist("file") if isinstance(file, UploadFile)]
            return await _read_sent(paths, files, read_folder)
    except HTTPException as error:  # what the form parser's refusal becomes
        raise InputError(say("folder_too_many", most=_MAX_FILES)) from error


async def _read_sent(paths: list[str], files: list[UploadFile], read_folder: FolderReader) -> dict[str, Any]:
    if not files or len(paths) != len(files):
        raise InputError(say("folder_empty"))
    with tempfile.TemporaryDirectory(prefix="lumosx-folder-") as temporary:
        for path, file in zip(paths, files, strict=True):
            target = inside(Path(temporary), path)
            if target is not None:
                data = await file.read()
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(data)
                except (FileExistsError, IsADirectoryError, NotADirectoryError, UnicodeEncodeError) as error:
                    raise InputError(say("folder_bad_name")) from error
                except OSError as error:
                    raise output_error(error, target) from error
        title = next(iter(PurePosixPath(paths[0]).parts), "")
        try:
            return await run_in_threadpool(read_folder, Path(temporary), title)
        except InputError as error:  # where it lay for a moment says nothing to whoever sent it
            raise InputError(str(error).replace(temporary, title)) from error


def inside(root: Path, path: str) -> Path | None:
    """Return where a sent file goes below `root`, without the picked folder's own name; None for what no scene needs.

    Raises:
        InputError: the path would leave the folder.
    """
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if any(part in ("..", "/") or ":" in part or "\0" in part for part in parts):
        raise InputError(say("folder_name_out"))
    below = list(parts[1:])
    if (
        not below
        or len(below) > 3
        or PurePosixPath(path).suffix.lower() not in _SCENE_FILES
        or below[-1].startswith(".")
    ):
        return None
    return root.joinpath(*below)
