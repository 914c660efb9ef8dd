"""Carrying an edit out: frames are decoded once and in order, arranged in time by moviepy, and written as a new clip.

The decoded frames lie in a temporary file, because clips run backwards and over again and may be larger than memory.
"""

from __future__ import annotations

import operator
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.clip import ClipWriter, read_recipe
from engine.files import writing
from engine.pictures import RgbArray
from studio.clip_edits import ClipEdit, ClipFacts, edited_recipe, joined_frames, num_frames, once_frames, range_of
from studio.formats import frames_of, measure

Report = Callable[[int, int], None]
"""Called with what is done and what there is to do, in frames; may raise `Cancelled`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reel:
    """A clip's decoded frames, uint8 `[num_frames, height, width, 3]`, in a temporary file."""

    facts: ClipFacts
    frames: np.memmap[Any, np.dtype[np.uint8]]


def make_clip(edit: ClipEdit, paths: Sequence[Path], target: Path, work: Path, report: Report) -> None:
    """Write the new clip to `target`; `paths` are the files of `edit.clips`, `work` a folder for temporary files.

    Raises:
        InputError: a clip cannot be read, does not say how it was made, or the edit asks for frames it has not.
        OutputError: the new clip or the temporary files cannot be written.
    """
    recipe = read_recipe(paths[0])
    facts = [measure(path) for path in paths]
    total = num_frames(edit, facts)
    to_do = total + sum(one.num_frames for one in facts)
    with writing(work), ExitStack() as stack:
        work.mkdir(parents=True, exist_ok=True)
        reels: list[_Reel] = []
        done = 0
        for path, known in zip(paths, facts, strict=True):
            reels.append(_reel(stack, path, known, work, lambda number, before=done: report(before + number, to_do)))
            done += known.num_frames
        clip = _arranged(edit, reels)
        first = facts[0]
        made = edited_recipe(recipe, edit, facts)
        with ClipWriter(target, width=first.width, height=first.height, fps=first.fps, recipe=made) as writer:
            for number in range(total):
                # in the middle of a frame's time no rounding can lead to its neighbour
                writer.write(np.ascontiguousarray(clip.get_frame((number + 0.5) / first.fps), dtype=np.uint8))
                report(done + number + 1, to_do)


def _reel(stack: ExitStack, path: Path, facts: ClipFacts, work: Path, report: Callable[[int], None]) -> _Reel:
    file = stack.enter_context(tempfile.TemporaryFile(dir=work, prefix="reel-"))  # noqa: SIM115 (the stack is one)
    for number, frame in enumerate(frames_of(path), start=1):
        file.write(np.ascontiguousarray(frame).tobytes())
        report(number)
    file.flush()
    shape = (facts.num_frames, facts.height, facts.width, 3)
    return _Reel(facts=facts, frames=np.memmap(file, np.uint8, "r", shape=shape))


def _arranged(edit: ClipEdit, reels: Sequence[_Reel]) -> Any:
    """Return the edit as a clip of moviepy, to be asked for its frames at the first clip's rate."""
    from moviepy import concatenate_videoclips, vfx  # takes a while, and only edits need it

    facts = reels[0].facts
    start, end = range_of(edit, facts)
    whole = _playing(reels[0])
    # every length is given in whole frames: what moviepy works out itself may be a hair too short
    once_s = once_frames(edit, facts) / facts.fps
    part = whole.subclipped(start / facts.fps, end / facts.fps).with_effects([vfx.MultiplySpeed(edit.speed)])
    part = _stepped(part, once_s, facts.fps)
    if edit.back and once_frames(edit, facts) > 2:
        # not TimeMirror: that one counts from a frame's beginning, and here a frame is asked for in its middle
        mirrored = part.time_transform(partial(operator.sub, once_s), keep_duration=True)
        way_back = mirrored.subclipped(1 / facts.fps, once_s - 1 / facts.fps)
        part = concatenate_videoclips([part, way_back])
    if edit.times > 1:
        part = part.with_effects([vfx.Loop(n=edit.times)])
    if not edit.joined:
        return part
    following = [_fitted(_playing(reel), facts, joined_frames(reel.facts, facts.fps)) for reel in reels[1:]]
    return concatenate_videoclips([part, *following])


def _playing(reel: _Reel) -> Any:
    from moviepy import VideoClip

    facts, frames = reel.facts, reel.frames

    def frame_at(time_s: float) -> RgbArray:
        return np.asarray(frames[min(max(int(time_s * facts.fps + 1e-6), 0), facts.num_frames - 1)])

    return VideoClip(frame_at, duration=facts.num_frames / facts.fps)


def _fitted(clip: Any, facts: ClipFacts, length: int) -> Any:
    """Return a clip `length` frames long that fills the size of `facts` as far as its shape allows, the rest black."""
    from moviepy import CompositeVideoClip, vfx

    width, height = clip.size
    size = (facts.width, facts.height)
    if (width, height) != size:
        scale = min(facts.width / width, facts.height / height)
        resized = clip.with_effects([vfx.Resize((max(1, round(width * scale)), max(1, round(height * scale))))])
        clip = CompositeVideoClip([resized.with_position("center")], size=size, bg_color=(0, 0, 0))
    return _stepped(clip, length / facts.fps, facts.fps)


def _stepped(clip: Any, duration_s: float, fps: int) -> Any:
    """Return a clip that holds each of its frames for the whole time of one: the same whichever way time runs."""
    from moviepy import VideoClip

    def frame_at(time_s: float) -> RgbArray:
        return clip.get_frame((int(time_s * fps + 1e-6) + 0.01) / fps)

    return VideoClip(frame_at, duration=duration_s)
