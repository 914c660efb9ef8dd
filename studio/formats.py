"""Saving a clip for somebody else: in another format, or without the pictures that travel inside it.

The clip itself is handed out as it is. Copies lie in the cache and are made once.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.error import FFmpegError
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.clip import ClipWriter, Recipe, read_recipe
from engine.errors import InputError
from engine.files import hidden_beside, writing
from engine.provenance import PNG_KEY, append_xmp_to_mp4, xmp
from engine.recipe import append_to_mp4, recipe_to_json
from engine.visible_mark import VisibleMark
from studio.clip_edits import ClipFacts
from studio.languages import say

FORMATS = (("mp4", "format_mp4"), ("webm", "format_webm"), ("gif", "format_gif"), ("png", "format_png"))
"""What a clip can be saved as, and the key of its title."""
_STATEMENT = "AI-generated with LumosX Studio"


OnFrame = Callable[[int], None]
"""Called with the number of frames that are done; may raise `Cancelled`, and then nothing is left behind."""


def save_as(
    clip: Path, name: str, folder: Path, *, pictures: bool, mark: bool = False, on_frame: OnFrame = lambda _: None
) -> Path:
    """Return a file of the clip in the format `name`: the clip itself, or a copy in `folder` that is made if need be.

    The clip's recipe goes along; `pictures` says whether the pictures inside it do, too. Frames of a zip have none.
    Every format says that it was generated; with `mark` the frames say so visibly.

    Raises:
        InputError: there is no such format, or the clip cannot be read.
        OutputError: the copy cannot be written.
    """
    if name not in dict(FORMATS):
        raise InputError(say("format_none"))
    same = clip.suffix.lower() == f".{name}"
    if same and pictures and not mark:
        return clip
    stem = clip.stem if pictures or name == "png" else f"{clip.stem}-shared"
    stem = f"{stem}-marked" if mark else stem
    target = folder / f"{stem}.{'zip' if name == 'png' else name}"
    if target.is_file() and target.stat().st_mtime_ns >= clip.stat().st_mtime_ns:
        return target
    with writing(target):
        folder.mkdir(parents=True, exist_ok=True)
    if name == "png":
        _whole(target, lambda draft: _zip_frames(clip, draft, on_frame, mark=mark))
        return target
    recipe = read_recipe(clip)
    if not pictures:
        recipe = dataclasses.replace(recipe, pictures={})
    if same and name == "mp4" and not mark:
        _whole(target, lambda draft: _without_pictures(clip, recipe, draft))
    else:
        _encode(clip, recipe, target, on_frame, mark=mark)
    return target


def measure(clip: Path) -> ClipFacts:
    """Return what a clip's file really holds; frames are counted, not believed. `InputError` if it is no video."""
    with _opened(clip) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate
        width, height = stream.width, stream.height
        frames = sum(packet.size > 0 for packet in container.demux(stream))
    if not rate or not frames:
        raise InputError(say("clip_no_video", name=clip.name))
    return ClipFacts(width=width, height=height, fps=max(1, round(rate)), num_frames=frames)


@contextmanager
def _opened(clip: Path) -> Generator[InputContainer]:
    try:
        with av.open(str(clip)) as container:
            yield container
    except (FFmpegError, IndexError) as error:
        raise InputError(say("clip_unreadable", name=clip.name)) from error


def frames_of(clip: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield a clip's frames in order, uint8 `[height, width, 3]`; `InputError` if it cannot be read."""
    with _opened(clip) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _encode(clip: Path, recipe: Recipe, target: Path, on_frame: OnFrame, *, mark: bool) -> None:
    facts = measure(clip)
    with ClipWriter(target, width=facts.width, height=facts.height, fps=facts.fps, recipe=recipe, mark=mark) as writer:
        for number, frame in enumerate(frames_of(clip), start=1):
            writer.write(frame)
            on_frame(number)


def _without_pictures(clip: Path, recipe: Recipe, draft: Path) -> None:
    """Copy the video as it is, packet by packet, and give it the smaller recipe."""
    with _opened(clip) as source, av.open(str(draft), "w", format="mp4") as copy:
        stream = source.streams.video[0]
        out = copy.add_stream_from_template(stream)
        copy.metadata["comment"] = recipe.statement
        for packet in source.demux(stream):
            if packet.dts is not None:  # the last one is empty and only ends the stream
                packet.stream = out
                copy.mux(packet)
    append_xmp_to_mp4(draft, recipe.statement)
    append_to_mp4(draft, recipe_to_json(recipe))


def _zip_frames(clip: Path, draft: Path, on_frame: OnFrame, *, mark: bool) -> None:
    said = PngInfo()
    said.add_text("Comment", _STATEMENT)
    said.add_itxt(PNG_KEY, xmp(_STATEMENT))
    visible: VisibleMark | None = None
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for number, frame in enumerate(frames_of(clip)):
            if mark and visible is None:
                visible = VisibleMark(frame.shape[1], frame.shape[0])
            stream = io.BytesIO()
            shown = frame if visible is None else visible.draw(frame)
            Image.fromarray(shown).save(stream, format="PNG", pnginfo=said)
            archive.writestr(f"{clip.stem}/frame_{number:04d}.png", stream.getvalue())
            on_frame(number + 1)


def _whole(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make the file under a temporary name; it is renamed when whole and removed when not."""
    draft = hidden_beside(target, ".part")
    try:
        with writing(target):
            write(draft)
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
