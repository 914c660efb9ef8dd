"""The process that renders on one card: with the real engine and a tiny model where LUMOSX_TINY_ASSETS names its
folder, else with an engine of sleep that writes down where it was beside each clip.

LUMOSX_DIE_AT asks it to die after a step: once, or, at step 0, each time. As long as a file `hold` lies beside the
clips, no render goes beyond step `HELD_AT`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine import render_process
from engine.cancel import CancelToken
from engine.errors import InputError
from engine.events import Event, Finished, Notice, Progress
from engine.files import write_atomically
from engine.memory.cards import VISIBLE
from engine.pictures import PictureStore
from engine.request import Clip, RenderRequest

ASSETS = "LUMOSX_TINY_ASSETS"
DIE_AT = "LUMOSX_DIE_AT"
HOLD, HELD_AT = "hold", 5


class SleepingEngine:
    """Paints nothing, a hundredth of a second for each step; a seed of 13 is a user's mistake."""

    def render(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path, *, resume: Path
    ) -> Iterator[Event]:
        """Tell the steps, die where that is asked, and leave a file for a clip."""
        del pictures
        steps, mark = request.settings.num_inference_steps, out.parent / "died"
        with (out.parent / "seen.txt").open("a", encoding="utf-8") as seen:
            seen.write(f"{os.environ[VISIBLE]} {os.getpid()} {out.name}\n")
        if request.settings.seed == 13:
            raise InputError("This seed brings bad luck; choose another.")
        yield Notice(text="It sleeps.")
        for step in range(int(resume.read_text()) if resume.exists() else 0, steps + 1):
            cancel.raise_if_cancelled()
            time.sleep(0.01)
            while step > HELD_AT and (out.parent / HOLD).exists():
                cancel.raise_if_cancelled()
                time.sleep(0.01)
            resume.parent.mkdir(exist_ok=True)
            write_atomically(resume, str(step).encode())  # a kill in between leaves the step before
            yield Progress(stage="denoise", step=step, num_steps=steps, seconds_left=None)
            if step == int(os.environ.get(DIE_AT, "-1")) and not (step and mark.exists()):
                mark.touch()
                os._exit(9)
        out.write_bytes(b"clip")
        yield Finished(
            clip=Clip(id="c", path=out, request=request, engine_version="0", weights_digest="d", seconds=1.0)
        )


def main() -> int:
    """Render as the real process does."""
    if ASSETS in os.environ:
        from engine.weights import installed

        assets = Path(os.environ[ASSETS])
        installed.assets_dir = lambda: assets
    else:
        sleeping: Any = SleepingEngine()
        render_process._engine = lambda _: sleeping  # pyright: ignore[reportPrivateUsage]
    return render_process.main()


if __name__ == "__main__":
    sys.exit(main())
