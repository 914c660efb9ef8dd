"""The built-in cutter as the tests' studio runs it: as it is, but slow on pictures of one shape.

A click that is dropped while the last one is worked on shows only where that takes a while.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from engine.masks.cutter import Guess, Prompts
from engine.masks.grabcut import GrabCut
from engine.masks.worker import run

SLOW_SIZE = (800, 500)
DECODE_S = 0.3


class SlowCutter(GrabCut):
    """Takes 300 ms for each answer about a picture of 800 × 500 px."""

    def mask(self, prepared: Any, prompts: Prompts, before: Guess | None) -> Guess:
        """Answer as GrabCut does, later."""
        if prepared.rgb.shape == (160, 256, 3):
            time.sleep(DECODE_S)
        return super().mask(prepared, prompts, before)


if __name__ == "__main__":
    sys.exit(run(SlowCutter(), Path(sys.argv[1])))
