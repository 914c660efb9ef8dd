"""The connected parts of a mask, numbered."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engine.masks.cutter import BoolArray


def components(mask: BoolArray, *, diagonal: bool) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """The number of every pixel's part, [h, w], 0 outside the mask; and the area in px by number.

    `diagonal`: pixels that touch at a corner hang together, too.
    """
    _, parts, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8 if diagonal else 4)
    return np.asarray(parts, np.int32), np.asarray(facts[:, cv2.CC_STAT_AREA], np.int64)
