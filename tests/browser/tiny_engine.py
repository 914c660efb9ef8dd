"""A very small engine for tests of the page: real events, a real preview, a real clip, no model.

It runs through the studio's own door (`serve(engine=…)`); words of the prompt make it slow or make it fail.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from engine.cancel import CancelToken
from engine.errors import MachineError
from engine.events import Event, Finished, Preview, Progress
from engine.pictures import PictureStore
from engine.request import RenderRequest

TOO_BIG = "needs too much memory"
BROKEN = "breaks the program"
SLOW = "slowly"


class TinyEngine:
    """Shows the scene's pictures one after another; the seed chooses the first."""

    def render(self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path) -> Iterator[Event]:
        """Yield what the real engine yields: stages, steps, previews, and at last the clip."""
        settings = request.settings
        began = time.perf_counter()
        yield Progress(stage="prompt", step=0, num_steps=0, seconds_left=None)
        pause_s = 0.25 if SLOW in request.scene.prompt else 0.02
        frames = list(_frames(request, pictures))
        for step in range(1, settings.num_inference_steps + 1):
            cancel.raise_if_cancelled()
            time.sleep(pause_s)
            if step == 2 and TOO_BIG in request.scene.prompt:
                raise MachineError("This machine has too little memory for that size; choose a smaller one.")
            if step == 2 and BROKEN in request.scene.prompt:
                raise RuntimeError("a secret of the program's inside")
            left_s = pause_s * (settings.num_inference_steps - step)
            yield Progress(stage="denoise", step=step, num_steps=settings.num_inference_steps, seconds_left=left_s)
            yield Preview(step=step, width=settings.width, height=settings.height, webp=_webp(frames, step))
        clip = _write(out, request, frames, time.perf_counter() - began, pictures)
        yield Finished(clip=clip)
