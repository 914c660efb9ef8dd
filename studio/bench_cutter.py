"""The cutter that `bench studio` adds: as quick as a network that has looked at the picture already, and no quicker.

What is measured with it is everything else between a click and the mask: the page, the server and the cutter's process.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.masks.cutter import Guess, Prompts
from engine.masks.process import CutterProgram
from engine.masks.worker import run
from engine.pictures import PictureId, RgbArray

DECODE_S = 0.05
_REACH = 0.15
"""How far a thing reaches around a click, as a share of the picture's longer side."""
TIMED = CutterProgram(
    name="timed",
    title="A cutter that takes 50 ms",
    note="For measuring only: it keeps what is near a click.",
    builtin=False,
    module="studio.bench_cutter",
)


class TimedCutter:
    """Keeps a disc around every click, after 50 ms; its sizes are those of Segment Anything."""

    look_px = 1024
    work_px = 256

    def ready(self, picture: PictureId) -> bool:
        """Always: nothing has to be looked at."""
        return True

    def prepare(self, picture: PictureId, rgb: RgbArray, work: tuple[int, int]) -> tuple[int, int]:
        """Return the size of its answers."""
        return work

    def mask(self, prepared: Any, prompts: Prompts, before: Guess | None) -> Guess:
        """Answer after 50 ms."""
        time.sleep(DECODE_S)
        height, width = prepared
        rows, columns = np.ogrid[0:height, 0:width]
        kept = np.zeros((height, width), np.bool_)
        for click in prompts.clicks:
            near = (rows - click.y) ** 2 + (columns - click.x) ** 2 <= (_REACH * max(height, width)) ** 2
            kept = kept | near if click.include else kept & ~near
        return Guess(soft=kept.astype(np.float32))


if __name__ == "__main__":
    sys.exit(run(TimedCutter(), Path(sys.argv[1])))
