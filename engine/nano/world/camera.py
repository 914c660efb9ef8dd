"""Where the camera looks: now and then it pans or moves a little nearer and away."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Window = tuple[float, float, float, float]

STILL_SHARE = 0.6
NEAREST = 1.07
PERIOD_S = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """`kind` is "still", "pan" or "zoom"; `phase` in radians of a slow swing."""

    kind: str
    phase: float

    def window(self, seconds: float, width: float, height: float) -> Window:
        """The part (x0, y0, x1, y1) of a `width`×`height` stage that fills the picture; its shape is the stage's."""
        if self.kind == "still":
            return 0.0, 0.0, width, height
        swing = math.sin(2 * math.pi * seconds / PERIOD_S + self.phase)
        zoom = NEAREST if self.kind == "pan" else 1 + (NEAREST - 1) * (1 + swing) / 2
        shown_width, shown_height = width / zoom, height / zoom
        spare_x, spare_y = width - shown_width, height - shown_height
        x0 = spare_x * (1 + swing) / 2 if self.kind == "pan" else spare_x / 2
        return x0, spare_y / 2, x0 + shown_width, spare_y / 2 + shown_height


def draw_camera(rng: np.random.Generator) -> Camera:
    """A random camera, mostly still."""
    kind = "still" if rng.random() < STILL_SHARE else ("pan", "zoom")[int(rng.integers(2))]
    return Camera(kind=kind, phase=float(rng.uniform(0, 2 * math.pi)))
