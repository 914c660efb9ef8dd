"""Dolls: parts put together, posed, moved and painted onto a frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from engine.nano.world.drawing import Sprite, arm, head_back, head_front, leg, narrowed, torso
from engine.nano.world.parts import Colour, Garment, Hat, Person

MOTIONS = ("idle", "wave", "walk", "bounce", "sway", "turn")
TURNS = 4
"""Positions of a turned doll to either side."""

NARROWER = 0.25
"""Share of its width that a trunk loses when it is turned."""

HIP, SHOULDER, HEAD = -22.0, -48.0, -62.0
"""Heights of the joints above the feet, in units (up is negative)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Who a doll is and what it wears."""

    person: Person
    garment: Garment
    hat: Hat | None
    trousers: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where a doll stands (`x`, `y` of its feet, units) and how it holds itself (angles in degrees, clockwise; `turn`
    from -1, to its left side of the picture, to 1)."""

    x: float
    y: float
    lift: float = 0.0
    lean: float = 0.0
    tilt: float = 0.0
    left_arm: float = 8.0
    right_arm: float = -8.0
    left_leg: float = 0.0
    right_leg: float = 0.0
    turn: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How a doll moves: `kind` of `MOTIONS`, starting place, speed in units a second, phase in radians."""

    kind: str
    x: float
    y: float
    speed: float
    phase: float
    mirrored: bool


class Doll:
    """A look's sprites at one scale, ready to be painted in any pose."""

    def __init__(self, look: Look, scale: float) -> None:
        self.scale = scale
        self._look = look
        self._hair = head_back(look.person, scale)
        self._turned: dict[int, tuple[Sprite, Sprite]] = {}
        self._arm = arm(look.garment, look.person.skin, scale)
        self._leg = leg(look.trousers, scale)
        self._shoulder = 9.5 if look.garment.shape in ("vest", "dress") else 11.5

    def paint(self, frame: Image.Image, pose: Pose) -> None:
        """Paint the doll onto an RGB frame of the same scale."""
        y = pose.y - pose.lift
        lean = math.radians(pose.lean)
        face, trunk = self._seen_from(pose.turn)
        shoulder = self._shoulder * (1 - NARROWER * abs(pose.turn))

        def joint(dx: float, height: float) -> tuple[float, float]:
            rise = height - HIP
            return pose.x + dx * math.cos(lean) - rise * math.sin(lean), y + HIP + rise * math.cos(
                lean
            ) + dx * math.sin(lean)

        head = joint(0, HEAD)
        paste(frame, self._hair, head, pose.lean + pose.tilt)
        for side, angle in ((-5.0, pose.left_leg), (5.0, pose.right_leg)):
            paste(frame, self._leg, (pose.x + side, y + HIP), angle)
        paste(frame, trunk, joint(0, SHOULDER), pose.lean)
        paste(frame, self._arm, joint(-shoulder, SHOULDER + 3), pose.left_arm + pose.lean)
        paste(frame, self._arm, joint(shoulder, SHOULDER + 3), pose.right_arm + pose.lean)
        paste(frame, face, head, pose.lean + pose.tilt)

    def _seen_from(self, turn: float) -> tuple[Sprite, Sprite]:
        """Head and trunk turned by about `turn`; a few positions are drawn and kept."""
        number = round(turn * TURNS)
        if number not in self._turned:
            share = number / TURNS
            trunk = narrowed(torso(self._look.garment, self.scale), 1 - NARROWER * abs(share))
            self._turned[number] = head_front(self._look.person, self._look.hat, self.scale, share), trunk
        return self._turned[number]


def paste(frame: Image.Image, sprite: Sprite, at: tuple[float, float], degrees: float) -> None:
    """Paste a sprite with its origin at `at` (units of the frame), turned clockwise."""
    x, y = at[0] * sprite.scale, at[1] * sprite.scale
    if abs(degrees) < 0.3:
        corner = (round(x - sprite.origin[0]), round(y - sprite.origin[1]))
        frame.paste(sprite.image, corner, sprite.image)
        return
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    width, height = sprite.image.size
    ox, oy = sprite.origin
    corners = [((cx - ox) * cos - (cy - oy) * sin, (cx - ox) * sin + (cy - oy) * cos)
               for cx, cy in ((0, 0), (width, 0), (0, height), (width, height))]  # fmt: skip
    left, top = math.floor(x + min(c[0] for c in corners)), math.floor(y + min(c[1] for c in corners))
    right, bottom = math.ceil(x + max(c[0] for c in corners)), math.ceil(y + max(c[1] for c in corners))
    dx, dy = left - x, top - y
    data = (cos, sin, cos * dx + sin * dy + ox, -sin, cos, -sin * dx + cos * dy + oy)
    turned = sprite.image.transform(
        (right - left, bottom - top), Image.Transform.AFFINE, data, Image.Resampling.NEAREST
    )
    frame.paste(turned, (left, top), turned)


def draw_motion(rng: np.random.Generator, x: float, y: float, kinds: Sequence[str] = MOTIONS) -> Motion:
    """A random motion of one of `kinds` that starts at (x, y)."""
    return Motion(
        kind=kinds[int(rng.integers(len(kinds)))],
        x=x,
        y=y,
        speed=float(rng.uniform(2.0, 5.0)),
        phase=float(rng.uniform(0, 2 * math.pi)),
        mirrored=bool(rng.integers(2)),
    )


def pose_at(motion: Motion, seconds: float) -> Pose:
    """The pose `seconds` after the start of the clip."""
    cycle = math.sin(2 * math.pi * 0.9 * seconds + motion.phase)
    side = -1 if motion.mirrored else 1
    if motion.kind == "wave":
        raised = 150 + 18 * math.sin(2 * math.pi * 1.4 * seconds + motion.phase)
        arms = (raised, -8.0) if motion.mirrored else (8.0, -raised)
        return Pose(x=motion.x, y=motion.y, tilt=3 * cycle, left_arm=arms[0], right_arm=arms[1])
    if motion.kind == "walk":
        swing = 18 * cycle
        return Pose(
            x=motion.x + side * motion.speed * seconds, y=motion.y, lift=abs(cycle), left_arm=8 + swing,
            right_arm=-8 + swing, left_leg=-swing, right_leg=swing, lean=2 * side,
        )  # fmt: skip
    if motion.kind == "bounce":
        return Pose(x=motion.x, y=motion.y, lift=3 * abs(cycle), left_arm=25 + 12 * cycle, right_arm=-25 - 12 * cycle)
    if motion.kind == "sway":
        return Pose(x=motion.x, y=motion.y, lean=5 * cycle, tilt=-3 * cycle, left_arm=10.0, right_arm=-10.0)
    if motion.kind == "turn":
        turn = math.sin(2 * math.pi * 0.4 * seconds + motion.phase)
        return Pose(x=motion.x, y=motion.y, turn=turn, left_arm=9.0, right_arm=-9.0)
    return Pose(x=motion.x, y=motion.y, tilt=2.5 * cycle, left_arm=9 + 2 * cycle, right_arm=-9 + 2 * cycle)
