"""Clips on disk: written frame by frame under a temporary name, renamed when whole, never seen half-done."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypedDict, cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream
from PIL import GifImagePlugin, Image
from PIL.PngImagePlugin import PngInfo

from engine.errors import InputError, OutputError
from engine.files import hidden_beside, output_error, put_in_place, sync, write_atomically, writing
from engine.provenance import PNG_KEY, SOURCE_TYPE, SOURCE_TYPE_TAG, append_xmp_to_mp4, gif_xmp, xmp
from engine.recipe import (
    GIF_END,
    RECIPE_NAME,
    Recipe,
    append_to_mp4,
    gif_head,
    insert_into_gif,
    read_recipe,
    recipe_to_json,
    webm_tags,
)
from engine.visible_mark import VisibleMark

__all__ = ["ClipWriter", "Recipe", "animated_preview", "check_target", "read_recipe"]

ENDINGS = (".mp4", ".webm", ".gif")
_FRAME_FOLDER_NAMES = re.compile(r"frame_\d{5}\.png|recipe\.json")
_CODECS = {
    ".mp4": ("libx264", {"crf": "12", "preset": "medium"}),
    ".webm": ("libvpx-vp9", {"crf": "18", "b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "0"}),
}


# Without tags every player guesses its own colours for small pictures.
class _Colours(TypedDict):
    format: str
    dst_colorspace: Colorspace
    dst_color_range: ColorRange
    dst_color_trc: ColorTrc
    dst_color_primaries: ColorPrimaries


_YUV: _Colours = {
    "format": "yuv420p",
    "dst_colorspace": Colorspace.ITU709,
    "dst_color_range": ColorRange.MPEG,
    "dst_color_trc": ColorTrc.BT709,
    "dst_color_primaries": ColorPrimaries.BT709,
}


class _Encoder(Protocol):
    """Takes the frames of one file or folder; `finish` completes it, `abandon` lets go of it."""

    def write(self, frame: np.ndarray) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...


def check_target(out: Path) -> None:
    """Raise `InputError` or `OutputError` now for a target that could not be written later; leaves nothing behind."""
    with writing(out):
        _check_name(out)
        # Permissions, mounts and quotas are asked by trying: what they say beforehand is not always so.
        probe = _temporary_name(out)
        probe.touch(exist_ok=False)
        probe.unlink()


def _check_name(out: Path) -> None:
    if out.is_dir():
        _check_folder(out)
    elif out.suffix and out.suffix.lower() not in ENDINGS:
        raise InputError(f"“{out.name}” has an unknown ending; use .mp4, .webm, .gif, or none for PNG frames.")
    elif out.exists() and not out.suffix:
        raise OutputError(f"“{out}” is a file; name a folder for PNG frames, or a clip with its ending.")
    parent = out.parent
    if not parent.is_dir():
        raise OutputError(f"The folder “{parent}” does not exist; make it or choose another place.")
    # The temporary name is short: without this a name that is too long would be found out at the very end.
    out.exists()


def _place(out: Path) -> Path:
    """Where `out` really lies: “.” and links to folders cannot be renamed, the folders they mean can."""
    return out.resolve() if out.is_dir() else out.absolute()


def _temporary_name(out: Path) -> Path:
    """A hidden name beside `out`."""
    ending = out.suffix.lower() if out.suffix.lower() in ENDINGS else ""
    return hidden_beside(_place(out), ending)


def _check_folder(out: Path) -> None:
    """A folder will be replaced as a whole, so it has to be empty or a clip of ours and nothing else."""
    names = [file.name for file in out.iterdir()]
    if out.suffix.lower() in ENDINGS or not all(_FRAME_FOLDER_NAMES.fullmatch(name) for name in names):
        raise OutputError(f"“{out}” is a folder that holds other things; choose another name.")
    if names:
        try:
            read_recipe(out)
        except InputError as error:
            raise OutputError(f"“{out}” holds pictures that are no clip of ours; choose another name.") from error
    if os.path.ismount(out):
        raise OutputError(f"“{out}” is a whole drive; name a folder inside it.")


class ClipWriter:
    """Writes one clip; use it in a `with` statement.

    Leaving it normally puts the whole clip in its place, replacing an earlier one; leaving it by an exception puts
    nothing there. `frame`s are uint8 `[height, width, 3]`; with `mark` each says visibly that it was generated, as the
    file itself always does. Raises `OutputError` for a full disk and the like.
    """

    def __init__(self, out: Path, *, width: int, height: int, fps: int, recipe: Recipe, mark: bool = False) -> None:
        check_target(out)
        self._out = out
        self._recipe = recipe
        self._ending = out.suffix.lower() if out.suffix.lower() in ENDINGS else ""
        self._temporary = _temporary_name(out)
        self._frames = 0
        self._mark = VisibleMark(width, height) if mark else None
        try:
            self._encoder = self._open(width, height, fps)
        except (OSError, FFmpegError) as error:
            self._remove()
            raise _failure(error, out) from error

    def _open(self, width: int, height: int, fps: int) -> _Encoder:
        if self._ending == ".gif":
            return _GifEncoder(self._temporary, (width, height), fps, self._recipe)
        if self._ending:
            return _VideoEncoder(self._temporary, self._ending, (width, height), fps, self._recipe)
        return _FrameFolder(self._temporary, self._recipe)

    def write(self, frame: np.ndarray) -> None:
        """Add a frame."""
        try:
            self._encoder.write(frame if self._mark is None else self._mark.draw(frame))
        except (OSError, FFmpegError) as error:
            raise _failure(error, self._out) from error
        self._frames += 1

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._complete()
        except (OSError, FFmpegError) as failure:
            raise _failure(failure, self._out) from failure
        finally:
            # Closed first, because Windows removes no open file; after a success both have nothing to do.
            self._encoder.abandon()
            self._remove()

    def _complete(self) -> None:
        self._encoder.finish()
        self._check()
        sync(self._temporary)
        if self._out.is_dir():
            _check_folder(self._out)  # rendering takes long: somebody may have put something there
        put_in_place(self._temporary, _place(self._out))

    def _check(self) -> None:
        """The encoder's library only logs some failures of its last writes: count what arrived."""
        if not self._ending or self._ending == ".gif":
            return
        with av.open(str(self._temporary)) as container:
            arrived = sum(packet.size > 0 for packet in container.demux(video=0))
        if arrived != self._frames:
            raise OutputError(f"“{self._out}” could not be written whole; free some space and try again.")

    def _remove(self) -> None:
        if self._temporary.is_dir():
            shutil.rmtree(self._temporary, ignore_errors=True)
            return
        # A drive that went away must not hide what is being told about it.
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


class _VideoEncoder:
    """H.264 in mp4, VP9 in webm."""

    def __init__(self, path: Path, ending: str, size: tuple[int, int], fps: int, recipe: Recipe) -> None:
        self._path, self._ending, self._text = path, ending, recipe_to_json(recipe)
        self._statement = recipe.statement
        options = {"movflags": "+faststart", "fflags": "+bitexact"} if ending == ".mp4" else {"fflags": "+bitexact"}
        self._container = av.open(str(path), "w", options=options)
        self._container.metadata["title"] = "Made with LumosX Studio"
        self._container.metadata["comment"] = recipe.statement
        if ending == ".webm":
            self._container.metadata.update({SOURCE_TYPE_TAG: SOURCE_TYPE, **webm_tags(self._text)})
        codec, settings = _CODECS[ending]
        # One thread and no version strings: equal frames give equal files.
        stream = self._container.add_stream(codec, rate=Fraction(fps), options={**settings, "flags": "+bitexact"})
        self._stream = cast(VideoStream, stream)  # both codecs are for video
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.colorspace = _YUV["dst_colorspace"]
        self._stream.codec_context.color_range = _YUV["dst_color_range"]
        self._stream.codec_context.color_trc = _YUV["dst_color_trc"]
        self._stream.codec_context.color_primaries = _YUV["dst_color_primaries"]
        self._colours = VideoReformatter()

    def write(self, frame: np.ndarray) -> None:
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        self._container.mux(self._stream.encode(self._colours.reformat(picture, **_YUV)))

    def finish(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()
        if self._ending == ".mp4":
            append_xmp_to_mp4(self._path, self._statement)
            append_to_mp4(self._path, self._text)

    def abandon(self) -> None:
        # The file goes away: what the library fails to write into it does not matter any more.
        with contextlib.suppress(OSError, FFmpegError):
            self._container.close()


class _GifEncoder:
    """An endless gif, every frame whole and with a palette of its own."""

    def __init__(self, path: Path, size: tuple[int, int], fps: int, recipe: Recipe) -> None:
        self._path, self._fps, self._text = path, fps, recipe_to_json(recipe)
        self._number = 0
        self._stream = path.open("wb")
        self._stream.write(gif_head(size, recipe.statement) + gif_xmp(recipe.statement))

    def write(self, frame: np.ndarray) -> None:
        indexed = Image.fromarray(frame).quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        # Pillow's own way to write gifs holds all frames in memory and drops those that repeat.
        self._stream.writelines(GifImagePlugin.getdata(indexed, duration=self._duration_ms(), include_color_table=True))
        self._number += 1

    def _duration_ms(self) -> int:
        """Frames of a gif last whole hundredths of a second: some are longer so that the clip keeps its time.

        None is shorter than two, which players take for a mistake and show slowly.
        """
        begin, end = (round(100 * number / self._fps) for number in (self._number, self._number + 1))
        return 10 * max(2, end - begin)

    def finish(self) -> None:
        self._stream.write(GIF_END)
        self._stream.close()
        insert_into_gif(self._path, self._text)

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()


class _FrameFolder:
    """PNG frames and the recipe in a folder."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self._path, self._number = path, 0
        path.mkdir()
        self._recipe = recipe
        # Frames travel alone, too: each says what it is.
        self._said = PngInfo()
        self._said.add_text("Comment", recipe.statement)
        self._said.add_itxt(PNG_KEY, xmp(recipe.statement))

    def write(self, frame: np.ndarray) -> None:
        Image.fromarray(frame).save(self._path / f"frame_{self._number:05d}.png", pnginfo=self._said)
        self._number += 1

    def finish(self) -> None:
        text = json.dumps(json.loads(recipe_to_json(self._recipe)), ensure_ascii=False, indent=1)
        write_atomically(self._path / RECIPE_NAME, text.encode())

    def abandon(self) -> None:
        pass


def animated_preview(frames: Sequence[np.ndarray], fps: int) -> bytes:
    """An endless animated WebP of frames uint8 `[H, W, 3]`."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    stream = io.BytesIO()
    first.save(
        stream, "WEBP", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, quality=75, method=2
    )
    return stream.getvalue()


def _failure(error: OSError | FFmpegError, out: Path) -> OutputError:
    if isinstance(error, OSError):
        return output_error(error, out)
    return output_error(OSError(error.errno, error.strerror), out)
