"""One picture on the table: gestures in, masks out, nothing computed twice.

The steps are applied in order, each to what the one before left, so that a later one always wins. A click or a box
that comes after a brush stroke, after another box or onto an earlier mask changes only what it touches; everything else
stays as it was mended. States are remembered by the steps that led to them: one more click costs one answer of the
cutter, undo costs none.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine.masks.components import components
from engine.masks.cutter import BoolArray, Cutter, Guess, Prompts, SoftArray
from engine.masks.gestures import Box, Click, Gesture, Gestures, Stroke
from engine.masks.refine import Edges, feathered, fill_holes, paint
from engine.pictures import MaskArray, PictureId, RgbArray

VIEW_PX = 2048
"""Longer side of what the page shows and of the masks it gets."""
PREVIEW_PX = 512
"""Longest side of the small picture of what the model will see."""

_KEPT_FROM = 32
"""Of an earlier mask, this much grey counts as kept: its feather begins lower, its edge is meant."""
_STATES = 96


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """A guess and where it counts ([h, w] at the guess's size; None: everywhere)."""

    soft: SoftArray
    where: BoolArray | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _State:
    """What the steps so far come to. `layers` in order make the mask at any size; `packed` is it at view size."""

    layers: tuple[_Patch | Stroke, ...]
    packed: npt.NDArray[np.uint8]
    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    guess: Guess | None = None
    start: _State | None = None
    """The state this run of clicks began from; None: from an empty mask."""


def reduced(rgb: RgbArray, longest_px: int) -> RgbArray:
    """The picture with its longer side at most `longest_px`, averaged over areas."""
    height, width = rgb.shape[:2]
    scale = min(1.0, longest_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return rgb if size == (width, height) else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


class Workpiece:
    """See the module. `rgb` is the picture or its view of `VIEW_PX`; `width` and `height` are those of the picture."""

    def __init__(self, picture: PictureId, rgb: RgbArray, width: int, height: int, cutter: Cutter) -> None:
        self.picture = picture
        self.size = (width, height)
        self.view = reduced(rgb, VIEW_PX)
        self.preview = reduced(self.view, PREVIEW_PX)
        self._small = reduced(self.view, cutter.work_px)
        self._look = reduced(self.view, cutter.look_px)
        self._cutter = cutter
        self._prepared: Any = None
        self._edges = Edges(self.view, self._small.shape[:2])
        self._bases: dict[str, BoolArray] = {}
        self._states: OrderedDict[tuple[str, tuple[Gesture, ...]], _State] = OrderedDict()

    @property
    def prepared(self) -> bool:
        """Whether the cutter has looked at the picture."""
        return self._prepared is not None

    def prepare(self) -> None:
        """Let the cutter look at the picture, and find what is the same for every mask's edges, once."""
        self._edges.find()
        if self._prepared is None:
            self._prepared = self._cutter.prepare(self.picture, self._look, self._small.shape[:2])

    def begin_from(self, name: str, mask: MaskArray | None) -> None:
        """Make an earlier mask (at the picture's size; None: nothing kept) known under `name`."""
        height, width = self.view.shape[:2]
        if mask is None:
            base = np.zeros((height, width), dtype=np.bool_)
        elif mask.shape == (height, width):
            base = mask >= _KEPT_FROM
        else:
            hard = (mask >= _KEPT_FROM).astype(np.uint8) * np.uint8(255)
            base = cv2.resize(hard, (width, height), interpolation=cv2.INTER_AREA) > 127
        self._bases = {name: base}

    def knows(self, name: str) -> bool:
        """Whether `begin_from` was called with this name last."""
        return name in self._bases

    def view_mask(self, base: str, gestures: Gestures) -> BoolArray:
        """The mask at the view's size, without feather."""
        state = self._state(base, gestures.steps)
        mask = self._unpacked(state)
        return fill_holes(mask, gestures.steps, self._scale) if gestures.fill_holes else mask

    def full_mask(self, base: str, gestures: Gestures, rgb: RgbArray, earlier: MaskArray | None) -> MaskArray:
        """The finished mask at the size of the whole picture `rgb`, uint8, 255 = keep; `earlier` is the base, whole."""
        width, height = self.size
        mask = np.zeros((height, width), dtype=np.bool_) if earlier is None else earlier >= _KEPT_FROM
        edges = Edges(rgb, self._small.shape[:2])
        for layer in self._state(base, gestures.steps).layers:
            mask = _applied(layer, mask, edges, 1.0)
        if gestures.fill_holes:
            mask = fill_holes(mask, gestures.steps, 1.0)
        return feathered(mask, feather_px(gestures, width, height))

    @property
    def _scale(self) -> float:
        """px of the view per px of the picture"""
        return self.view.shape[1] / self.size[0]

    def _state(self, base: str, steps: tuple[Gesture, ...]) -> _State:
        known = len(steps)
        while known and (base, steps[:known]) not in self._states:
            known -= 1
        if known:
            self._states.move_to_end((base, steps[:known]))
            state = self._states[base, steps[:known]]
        else:
            first = self._bases[base]
            state = _State(layers=(), packed=np.packbits(first))
            if first.any():
                state = replace(state, start=state)
        for number in range(known, len(steps)):
            state = self._after(state, steps[number])
            self._states[base, steps[: number + 1]] = state
            while len(self._states) > _STATES:
                self._states.popitem(last=False)
        return state

    def _after(self, state: _State, step: Gesture) -> _State:
        if isinstance(step, Stroke):
            mask = paint(self._unpacked(state), step, self._scale)
            done = replace(state, layers=(*state.layers, step), packed=np.packbits(mask), guess=None)
            return replace(done, start=done)
        if isinstance(step, Box):
            # another thing: what was there stays, and the clicks to come are about this one
            start = state if state.layers or state.start is not None else None
            state = replace(state, clicks=(), box=step, guess=None, start=start)
        else:
            state = replace(state, clicks=(*state.clicks, step))
        before = state.guess
        if before is None and state.start is not None and not isinstance(step, Box):
            before = Guess(soft=self._small_mask(state.start))
        guess = self._cutter.mask(self._prepared, self._prompts(state), before)
        start = state.start
        if start is None:
            patch = _Patch(guess.soft, None)
            mask = np.zeros(self.view.shape[:2], dtype=np.bool_)
        else:
            patch = _Patch(guess.soft, self._touched(state, start, guess, step))
            mask = self._unpacked(start)
        mask = _applied(patch, mask, self._edges, self._scale)
        layers = (*(start.layers if start is not None else ()), patch)
        return replace(state, layers=layers, packed=np.packbits(mask), guess=guess)

    def _touched(self, state: _State, start: _State, guess: Guess, step: Gesture) -> BoolArray:
        """Where a guess may change the mask it began from: the connected changes that this run's gestures touch."""
        kept, now = self._small_mask(start) > 0.5, guess.soft > 0.5
        fresh = [click for click in state.clicks if click not in start.clicks or state.box is not start.box]
        if isinstance(step, Click) and step not in fresh:
            fresh.append(step)  # the same place once more
        where = np.zeros(kept.shape, dtype=np.bool_)
        for include in (True, False):
            change = now & ~kept if include else kept & ~now
            parts, areas = components(change, diagonal=True)
            taken = np.zeros(areas.size, dtype=np.bool_)
            for click in fresh:
                if click.include is include:
                    small = self._small_click(click)
                    x, y = int(small.x), int(small.y)
                    taken[np.unique(parts[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3])] = True
            if include and state.box is not None and state.box is not start.box:
                small = self._small_box(state.box)
                taken[np.unique(parts[int(small.y0) : int(small.y1) + 1, int(small.x0) : int(small.x1) + 1])] = True
            taken[0] = False
            where |= taken[parts]
        # the edge of a change lies between two rough pixels: the one beyond belongs to it
        return cv2.dilate(where.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0

    def _prompts(self, state: _State) -> Prompts:
        box = self._small_box(state.box) if state.box is not None else None
        return Prompts(clicks=tuple(self._small_click(click) for click in state.clicks), box=box)

    def _small_click(self, click: Click) -> Click:
        height, width = self._small.shape[:2]
        return Click(
            min(click.x * width / self.size[0], width - 1e-3),
            min(click.y * height / self.size[1], height - 1e-3),
            click.include,
        )

    def _small_box(self, box: Box) -> Box:
        height, width = self._small.shape[:2]
        across, down = width / self.size[0], height / self.size[1]
        return Box(box.x0 * across, box.y0 * down, box.x1 * across, box.y1 * down)

    def _small_mask(self, state: _State) -> SoftArray:
        height, width = self._small.shape[:2]
        whole = self._unpacked(state).astype(np.float32)
        return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)

    def _unpacked(self, state: _State) -> BoolArray:
        height, width = self.view.shape[:2]
        return np.unpackbits(state.packed, count=height * width).reshape(height, width).astype(np.bool_)


def feather_px(gestures: Gestures, width: int, height: int) -> float:
    """Width of the soft edge in px of a picture of this size."""
    return gestures.feather / 1000 * max(width, height)


def _applied(layer: _Patch | Stroke, mask: BoolArray, edges: Edges, scale: float) -> BoolArray:
    if isinstance(layer, Stroke):
        return paint(mask, layer, scale)
    new = edges.enlarge(layer.soft)
    if layer.where is None:
        return new
    height, width = mask.shape
    where = cv2.resize(layer.where.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return np.where(where, new, mask)
