"""The process that cuts: one question per line of JSON on its standard input, one answer per line on its output.

`python -m engine.masks.worker CUTTER PICTURES`, CUTTER being `built-in` or `segment-anything`, PICTURES the folder of
the picture store. It ends when its input ends, so it never outlives the studio. Every question names its picture and
all gestures; what the process remembers only makes it quicker, so a new process goes on where a dead one was.
"""

from __future__ import annotations

import base64
import io
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from engine.asking import answered, serve
from engine.errors import InputError, PictureError
from engine.files import write_atomically
from engine.masks.cutter import BoolArray, Cutter
from engine.masks.gestures import Gestures, parse_gestures
from engine.masks.grabcut import GrabCut
from engine.masks.kept import trim, view_path
from engine.masks.refine import feathered
from engine.masks.workpiece import Workpiece, feather_px
from engine.pictures import MaskArray, PictureStore, masked
from engine.scene import Role

Json = dict[str, Any]

_MOST_OPEN = 3
_MARGIN_PX = 2


class Worker:
    """Answers questions about the pictures of one store with one cutter."""

    def __init__(self, cutter: Cutter, pictures: PictureStore) -> None:
        self._cutter = cutter
        self._pictures = pictures
        self._open: OrderedDict[str, Workpiece] = OrderedDict()
        self._answers: dict[str, Callable[[Json], Json]] = {
            "open": self._look,
            "prepare": self._prepare,
            "mask": self._mask,
            "keep": self._keep,
        }

    def answer(self, question: Json) -> Json:
        """Return the answer; `{"error": sentence}` for a user's mistake, `{"fault": text}` for one of the program."""
        return answered(lambda asked: self._answers[str(asked["do"])](asked), question)

    def _look(self, question: Json) -> Json:
        """Open a picture: its size, its view on disk, whether `prepare` will be quick."""
        piece = self._piece(str(question["picture"]))
        path = view_path(piece.picture)
        if not path.is_file():
            stream = io.BytesIO()
            # quick rather than small: it only travels on this machine
            Image.fromarray(piece.view).save(stream, format="WEBP", quality=85, method=0)
            write_atomically(path, stream.getvalue())
            trim()
        width, height = piece.size
        return {"width": width, "height": height, "ready": piece.prepared or self._cutter.ready(piece.picture)}

    def _prepare(self, question: Json) -> Json:
        self._piece(str(question["picture"])).prepare()
        return {}

    def _mask(self, question: Json) -> Json:
        """The part of the view with the mask in it as a 1-bit PNG, its place `box` (left, top, width, height in px of
        the view), and a small picture of what the model will see."""
        piece, base, gestures = self._read(question)
        mask = piece.view_mask(base, gestures)
        kept = np.count_nonzero(mask)
        if not kept:
            return {"mask": None, "box": None, "preview": None, "share": 0.0}
        left, top, width, height = box = _box(mask)
        return {
            "mask": _data("png", mask_png(mask[top : top + height, left : left + width])),
            "box": box,
            "preview": _data("jpeg", _preview(piece, mask, gestures, Role(question["role"]))),
            "share": kept / mask.size,
        }

    def _keep(self, question: Json) -> Json:
        """Store the finished mask at the size of the picture; its id."""
        piece, base, gestures = self._read(question)
        earlier = self._pictures.load_mask(base) if base else None
        mask = piece.full_mask(base, gestures, self._pictures.load(piece.picture), earlier)
        if not mask.any():
            raise InputError("Nothing is cut out yet; click the thing to keep.")
        return {"mask": self._pictures.add_mask(mask)}

    def _read(self, question: Json) -> tuple[Workpiece, str, Gestures]:
        piece = self._piece(str(question["picture"]))
        gestures = parse_gestures(question.get("gestures"), *piece.size)
        base = str(question.get("base") or "")
        if not piece.knows(base):
            mask = self._pictures.load_mask(base) if base else None
            if mask is not None and mask.shape != piece.size[::-1]:
                raise PictureError("The earlier mask has another size than the picture; start anew.")
            piece.begin_from(base, mask)
        piece.prepare()
        return piece, base, gestures

    def _piece(self, picture: str) -> Workpiece:
        piece = self._open.get(picture)
        if piece is None:
            rgb = self._pictures.load(picture)
            piece = Workpiece(picture, rgb, rgb.shape[1], rgb.shape[0], self._cutter)
            self._open[picture] = piece
        self._open.move_to_end(picture)
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return piece


def mask_png(mask: BoolArray) -> bytes:
    """A mask as a 1-bit PNG whose kept pixels are black and whose others are transparent: the page tints it."""
    image = Image.frombytes("P", mask.shape[::-1], mask.astype(np.uint8).tobytes())
    image.putpalette([255, 255, 255, 0, 0, 0])
    stream = io.BytesIO()
    image.save(stream, format="PNG", bits=1, transparency=0, compress_level=1)
    return stream.getvalue()


def _box(mask: BoolArray) -> tuple[int, int, int, int]:
    """Left, top, width and height of what is kept and a margin: the page smooths between what is kept and what not."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    right, bottom = min(left + width + _MARGIN_PX, mask.shape[1]), min(top + height + _MARGIN_PX, mask.shape[0])
    left, top = max(left - _MARGIN_PX, 0), max(top - _MARGIN_PX, 0)
    return left, top, right - left, bottom - top


def _covered(mask: BoolArray, width: int, height: int) -> MaskArray:
    """The mask averaged over areas to a smaller size, 255 = all of the area."""
    covered = mask.astype(np.uint8) * np.uint8(255)
    while covered.shape[0] >= 2 * height and covered.shape[1] >= 2 * width:
        # halving is thirty times as quick as averages over areas that are no whole number of pixels
        down, across = covered.shape
        covered = cv2.copyMakeBorder(covered, 0, down % 2, 0, across % 2, cv2.BORDER_REPLICATE)
        covered = cv2.resize(covered, (covered.shape[1] // 2, covered.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(covered, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _preview(piece: Workpiece, mask: BoolArray, gestures: Gestures, role: Role) -> bytes:
    """What the model will see, small: the same finishing and the same cut on reduced pixels."""
    small = piece.preview
    height, width = small.shape[:2]
    covered = _covered(mask, width, height)
    soft_px = feather_px(gestures, width, height)
    alpha = feathered(covered > 127, soft_px) if soft_px >= 1 else covered
    stream = io.BytesIO()
    if not alpha.any():  # smaller than a pixel of the preview
        alpha[covered > 0] = 255
    # a fifth of the time that WebP takes; it only travels on this machine
    Image.fromarray(masked(role, small, alpha)).save(stream, format="JPEG", quality=88, subsampling=0)
    return stream.getvalue()


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def run(cutter: Cutter, pictures: Path) -> int:
    """Serve on the process's own input and output until the questions end."""
    return serve(Worker(cutter, PictureStore(pictures)).answer)


def make_cutter(name: str) -> Cutter:
    """The cutter of this name; torch is imported only for the one that needs it, at its first picture."""
    if name == "segment-anything":
        from engine.masks.segment_anything import SegmentAnything, installed_network

        return SegmentAnything(installed_network)
    return GrabCut()


if __name__ == "__main__":
    cv2.setNumThreads(2)
    sys.exit(run(make_cutter(sys.argv[1]), Path(sys.argv[2])))
