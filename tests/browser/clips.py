"""Finished clips put straight into a studio's folder: quicker than rendering, and their frames can be told apart."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageSequence

from engine.clip import ClipWriter
from engine.engines import resolve_settings
from engine.pictures import PictureStore
from engine.portable import make_recipe
from engine.request import RenderRequest
from engine.sources import load_source
from tests.browser.scenes import PROMPT, write_pair

FPS = 12
WIDTH, HEIGHT = 128, 96


def write_clip(
    folder: Path,
    name: str,
    *,
    seed: int = 1,
    num_frames: int = 25,
    prompt: str = PROMPT,
    times: int = 1,
    made: str = "",
) -> Path:
    """Write a clip of the test pair, newer than all others; frame n, up to 31, has the grey level 8 n.

    It is so many `times` as wide and as high as usual, to make work with it last. Its name says when it was `made`.
    """
    width, height = times * WIDTH, times * HEIGHT
    with tempfile.TemporaryDirectory() as work:
        write_pair(Path(work) / "pair", prompt)
        store = PictureStore(Path(work) / "pictures")
        settings = resolve_settings(
            "nano", width=width, height=height, num_frames=num_frames, fps=FPS, seed=seed, num_inference_steps=3
        )
        request = RenderRequest(scene=load_source(str(Path(work) / "pair"), store).scene, settings=settings)
        recipe = make_recipe(request, store, "tests")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{made or time.strftime('%Y%m%d-%H%M%S')}-{name}-seed{seed}.mp4"
    with ClipWriter(path, width=width, height=height, fps=FPS, recipe=recipe) as writer:
        for number in range(num_frames):
            writer.write(np.full((height, width, 3), 8 * (number % 32), np.uint8))
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    return path


def levels(path: Path) -> list[int]:
    """Return the numbers of the frames that a clip shows, as `write_clip` made them."""
    with av.open(str(path)) as container:
        return [round(float(frame.to_ndarray(format="rgb24").mean()) / 8) for frame in container.decode(video=0)]


def seconds(path: Path) -> float:
    """Return how long a saved file plays, by its frames' own times."""
    if path.suffix == ".gif":
        with Image.open(path) as image:
            durations_ms = [float(frame.info["duration"]) for frame in ImageSequence.Iterator(image)]
        return sum(durations_ms) / 1000
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        shown = [(packet.pts, packet.duration) for packet in container.demux(stream) if packet.pts is not None]
        last, duration = max(shown)
        return float((last + (duration or 0)) * stream.time_base)
