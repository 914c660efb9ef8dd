"""A very small engine for tests of the page: real events, a real preview, a real clip, no model.

It enters through the studio's own door, `serve(backend=…)`: `python -m tests.browser.tiny_engine` takes the options of
`python -m studio.app`. Words of the prompt make it slow or make it fail.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from engine import __version__
from engine.cancel import CancelToken
from engine.cli.parser import parse_studio
from engine.clip import ClipWriter
from engine.errors import MachineError
from engine.events import Event, Finished, Preview, Progress
from engine.faces.process import FaceProgram, installed_finder
from engine.files import write_atomically
from engine.masks.process import CutterProgram
from engine.masks.programs import BUILT_IN
from engine.paths import data_home
from engine.pictures import PictureStore, RgbArray, model_picture, prepare_reference
from engine.portable import make_recipe
from engine.request import Clip, RenderRequest
from studio.app import serve_as_asked
from studio.backend import Backend
from tests.small_catalogue import use

TOO_BIG = "needs too much memory"
BROKEN = "breaks the program"
SLOW = "slowly"
HURRY = "hurry"
"""A file of this name in the data home lets slow renders come to their end."""


class TinyEngine:
    """Shows the scene's pictures side by side, wandering; the seed says where they begin."""

    def render(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path, *, resume: Path
    ) -> Iterator[Event]:
        """Yield what the real engine yields: stages, steps, previews, and at last the clip."""
        settings = request.settings
        began = time.perf_counter()
        yield Progress(stage="prompt", step=0, num_steps=0, seconds_left=None)
        slow = SLOW in request.scene.prompt
        frames = _frames(request, pictures)
        before = int(resume.read_text()) if resume.exists() else 0
        resume.parent.mkdir(exist_ok=True)
        for step in range(before + 1, settings.num_inference_steps + 1):
            cancel.raise_if_cancelled()
            pause_s = 0.25 if slow and not (data_home() / HURRY).exists() else 0.01
            time.sleep(pause_s)
            if step == 2 and TOO_BIG in request.scene.prompt:
                raise MachineError("This machine has too little memory for that size; choose a smaller one.")
            if step == 2 and BROKEN in request.scene.prompt:
                raise RuntimeError("a secret of the program's inside")
            write_atomically(resume, str(step).encode())  # a kill in between leaves the step before
            left_s = pause_s * (settings.num_inference_steps - step)
            yield Progress(stage="denoise", step=step, num_steps=settings.num_inference_steps, seconds_left=left_s)
            yield Preview(step=step, width=settings.width, height=settings.height, webp=_webp(frames[:: step + 1]))
        recipe = make_recipe(request, pictures, "tiny")
        with ClipWriter(out, width=settings.width, height=settings.height, fps=settings.fps, recipe=recipe) as writer:
            for frame in frames:
                writer.write(frame)
        yield Finished(
            clip=Clip(
                id=out.stem,
                path=out,
                request=request,
                engine_version=__version__,
                weights_digest="tiny",
                seconds=time.perf_counter() - began,
            )
        )


def _frames(request: RenderRequest, pictures: PictureStore) -> list[RgbArray]:
    settings = request.settings
    shown = [
        prepare_reference(model_picture(reference, pictures), settings.width, settings.height)
        for reference in request.scene.references()
    ]
    strip = np.concatenate(shown, axis=1)
    return [
        np.ascontiguousarray(np.roll(strip, -(settings.seed + 8 * number), axis=1)[:, : settings.width])
        for number in range(settings.num_frames)
    ]


def _webp(frames: list[RgbArray]) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    stream = io.BytesIO()
    images[0].save(stream, format="WEBP", save_all=True, append_images=images[1:], duration=120, loop=0, method=0)
    return stream.getvalue()


def finder() -> FaceProgram | None:
    """What finds faces where the test has put a detector."""
    return installed_finder() and FaceProgram(module="tests.small_finder")


def cutters() -> tuple[CutterProgram, ...]:
    """The built-in cutter, slow on pictures of one shape."""
    return (replace(BUILT_IN, module="tests.browser.slow_cutter", arguments=()),)


TINY = Backend(
    make_engine=TinyEngine,
    missing_weights=lambda _: None,
    cutters=cutters,
    face_finder=finder,
    errands="tests.small_errand",
)


if __name__ == "__main__":
    use()
    sys.exit(serve_as_asked(parse_studio(None, "tiny"), TINY))
