"""What a cutter is: something that turns clicks and a box into a rough mask, quickly, once it has looked at a picture.

A cutter works on a reduced picture and answers at its own size; edges at full size, brush, holes and feather are the
same for all cutters and not its business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.masks.gestures import Box, Click
from engine.pictures import PictureId, RgbArray

SoftArray = npt.NDArray[np.float32]
"""[h, w] float32, 0 to 1; more than 0.5 is kept"""
BoolArray = npt.NDArray[np.bool_]
"""[h, w] bool, True = keep"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Clicks and box of one thing, in px of the reduced picture."""

    clicks: tuple[Click, ...]
    box: Box | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guess:
    """A cutter's answer. `memory` is the cutter's own and goes into its next answer; None for a mask from elsewhere."""

    soft: SoftArray
    memory: Any = None


class Cutter(Protocol):
    """`prepare` may take its time and is called once per picture; `mask` has to be quick and repeatable."""

    @property
    def look_px(self) -> int:
        """Longer side in px of the reduced picture that `prepare` wants."""
        ...

    @property
    def work_px(self) -> int:
        """Longer side in px of its answers, and of the picture that prompts are given for."""
        ...

    def ready(self, picture: PictureId) -> bool:
        """Whether `prepare` will be quick for this picture."""
        ...

    def prepare(self, picture: PictureId, rgb: RgbArray, work: tuple[int, int]) -> Any:
        """Look at the picture reduced to `look_px`, [h, w, 3] uint8; returns what `mask` needs of it.

        `work` is (height, width) of its answers, the longer side `work_px` or that of a smaller picture.
        """
        ...

    def mask(self, prepared: Any, prompts: Prompts, before: Guess | None) -> Guess:
        """The thing that the prompts mean. `before` is the guess to go on from.

        Equal arguments give equal answers.
        """
        ...
