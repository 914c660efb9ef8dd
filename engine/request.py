"""What a render depends on, and what comes of it: settings, the request, the finished clip. Values only, no pixels."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.codec import LATER
from engine.errors import InputError, SceneError
from engine.scene import UNBOUND_CODES, Scene

Unpooling = Literal["published", "corrected"]
Attention = Literal["auto", "native", "flash", "sage"]
ATTENTIONS: tuple[Attention, ...] = ("auto", "native", "flash", "sage")

StepCacheKind = Literal["first-block", "magnitude"]
STEP_CACHE_KINDS: tuple[StepCacheKind, ...] = ("first-block", "magnitude")

SIZE_MULTIPLE = 16
"""Sizes are multiples of this: the VAE makes 8 px one latent cell, the network makes 2 × 2 cells one token."""
SIZE_RANGE_PX = (SIZE_MULTIPLE, 2048)
FRAMES_RANGE = (1, 401)
FPS_RANGE = (1, 60)
STEPS_RANGE = (1, 200)
GUIDANCE_RANGE = (0.0, 30.0)
SHIFT_RANGE = (0.1, 30.0)
BINDING_RANGE = (0.0, 4.0)
SHARE_RANGE = (0.0, 1.0)
RELATION_GUIDANCE_RANGE = (0.0, 10.0)
LORA_RANGE = (-4.0, 4.0)
MAX_LORAS = 4
SEED_RANGE = (0, 2**63 - 1)
MAX_VOLUME = 1280 * 720 * 241
"""Largest width × height × num_frames in pixels: ten seconds of 720p at 24 fps; beyond it no engine here has a use."""


_DIGEST = re.compile("[0-9a-f]{64}")
_MAX_LORA_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraChoice:
    """A LoRA of the user's and how strongly it is added, −4 to 4 (0: not at all).

    `digest` is the sha256 of its file, by which alone it is found among the user's own; `name` is for people. Neither
    is ever a path. Constructing one with a value out of range raises `InputError`.
    """

    name: str
    digest: str
    strength: float = 1.0

    def __post_init__(self) -> None:
        named = 0 < len(self.name) <= _MAX_LORA_NAME and self.name.isprintable()
        if not named or not _DIGEST.fullmatch(self.digest):
            raise InputError("A LoRA is named by its name and the sha256 of its file; choose it again from the list.")
        _check_range("strength of a LoRA", self.strength, LORA_RANGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSettings:
    """How to render: everything a clip depends on besides its scene. No field is optional; `engine.engines` knows
    defaults.

    width, height: px, multiples of 16 up to 2048. num_frames: 4 n + 1, up to 401. fps: 1–60. num_inference_steps:
    1–200. guidance_scale: 0–30 (1 = no guidance). shift: time shift of the schedule, 0.1–30. seed: 0 – 2⁶³−1. engine: a
    name of `engine.engines`. profile: how memory is used, "auto" leaves it to the machine; never changes the clip.
    binding_strength: MCAM's r, 0–4. relational_positions, relational_self_attention, relational_cross_attention: R2PE,
    CSAM and MCAM. relation_guidance, 0–10: how far every step is led away from what the network would paint without
    CSAM (0: not at all; else one pass more). unpooling: see `engine.model.layout`.

    Two ways to a quicker draft: step_cache, 0–1 (0: never): a step that differs little takes what the network's blocks
    did over from the step before. step_cache_kind says what is held against that share: "first-block", the change that
    the first block makes; "magnitude", what the steps taken over are off by in all, as a calibration of these weights
    foretells. guided_share, 0–1: guidance in this part of the steps, from the first on; the others take one pass,
    whatever the guidance.

    loras: at most four of the user's LoRAs, added to the network in this order. attention: what computes it, see
    `engine.model.backends`; “sage” is a draft, too, the others agree up to rounding. Constructing settings with a value
    out of range raises `InputError`.
    """

    width: int
    height: int
    num_frames: int
    fps: int
    num_inference_steps: int
    guidance_scale: float
    shift: float
    seed: int
    negative_prompt: str
    engine: str
    profile: str = "auto"
    binding_strength: float = 0.5
    relational_positions: bool = True
    relational_self_attention: bool = True
    relational_cross_attention: bool = True
    unpooling: Unpooling = "published"
    step_cache: float = field(default=0.0, metadata={LATER: True})
    guided_share: float = field(default=1.0, metadata={LATER: True})
    relation_guidance: float = field(default=0.0, metadata={LATER: True})
    step_cache_kind: StepCacheKind = field(default="first-block", metadata={LATER: True})
    loras: tuple[LoraChoice, ...] = field(default=(), metadata={LATER: True})
    attention: Attention = field(default="auto", metadata={LATER: True})

    @property
    def guided_steps(self) -> int:
        """How many steps, from the first on, have guidance of any kind."""
        return math.ceil(self.guided_share * self.num_inference_steps)

    def passes(self, references: int) -> tuple[str, ...]:
        """Names of the passes through the network in a guided step with so many pictures; the others have the first."""
        led_away = references > 0 and self.relation_guidance and self.relational_self_attention
        guided = ("uncond",) if self.guidance_scale != 1 else ()
        return ("cond", *guided, *(("unrelated",) if led_away else ()))

    def __post_init__(self) -> None:
        _check_size("width", self.width)
        _check_size("height", self.height)
        _check_frames(self.num_frames)
        _check_range("fps", self.fps, FPS_RANGE)
        _check_range("number of steps", self.num_inference_steps, STEPS_RANGE)
        _check_range("guidance scale", self.guidance_scale, GUIDANCE_RANGE)
        _check_range("shift", self.shift, SHIFT_RANGE)
        _check_range("seed", self.seed, SEED_RANGE)
        _check_range("binding strength", self.binding_strength, BINDING_RANGE)
        _check_range("step cache", self.step_cache, SHARE_RANGE)
        _check_range("guided share", self.guided_share, SHARE_RANGE)
        _check_range("relation guidance", self.relation_guidance, RELATION_GUIDANCE_RANGE)
        _check_loras(self.loras)
        if self.width * self.height * self.num_frames > MAX_VOLUME:
            frames = max(1, (MAX_VOLUME // (self.width * self.height) - 1) // 4 * 4 + 1)
            raise InputError(
                f"{self.num_frames} frames of {self.width}x{self.height} are too much; "
                f"choose at most {frames} frames at this size, or a smaller size."
            )
        if self.unpooling not in ("published", "corrected"):
            raise InputError(f"The un-pooling “{self.unpooling}” is unknown; choose published or corrected.")
        if self.step_cache_kind not in STEP_CACHE_KINDS:
            raise InputError(
                f"The step cache “{self.step_cache_kind}” is unknown; choose {' or '.join(STEP_CACHE_KINDS)}."
            )
        check_attention(self.attention)
        if not self.engine or not self.profile:
            raise InputError("The settings need an engine and a profile; name both.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest:
    """A complete scene plus settings; equal requests and equal weights give equal frames.

    Raises `SceneError` unless the scene can render. `allow_unbound` lets references through that no words are bound to.
    """

    scene: Scene
    settings: RenderSettings
    allow_unbound: bool = False

    def __post_init__(self) -> None:
        problems = self.scene.problems()
        if self.allow_unbound:
            problems = tuple(problem for problem in problems if problem.code not in UNBOUND_CODES)
        if problems:
            raise SceneError(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A finished clip on disk and everything it was made of.

    `path`: the file, or the folder of PNG frames. `weights_digest`: what `engine.weights` says about the engine's
    files. `seconds`: how long the render took.
    """

    id: str
    path: Path
    request: RenderRequest
    engine_version: str
    weights_digest: str
    seconds: float


def check_attention(name: str) -> Attention:
    """The name of what computes attention; raises `InputError` for another one."""
    for known in ATTENTIONS:
        if name == known:
            return known
    raise InputError(f"The attention “{name}” is unknown; choose one of {', '.join(ATTENTIONS)}.")


def nearest_size(value: int) -> int:
    """The legal width or height in px that is nearest to `value`."""
    low, high = SIZE_RANGE_PX
    return min(max((value + SIZE_MULTIPLE // 2) // SIZE_MULTIPLE * SIZE_MULTIPLE, low), high)


def nearest_frames(value: int) -> int:
    """The legal number of frames (4 n + 1) that is nearest to `value`."""
    low, high = FRAMES_RANGE
    return min(max((value + 1) // 4 * 4 + 1, low), high)


def _check_size(name: str, value: int) -> None:
    low, high = SIZE_RANGE_PX
    if value % SIZE_MULTIPLE or not low <= value <= high:
        raise InputError(
            f"The {name} cannot be {value} px; it has to be a multiple of {SIZE_MULTIPLE} from {low} to {high}, "
            f"the nearest is {nearest_size(value)}."
        )


def _check_frames(value: int) -> None:
    low, high = FRAMES_RANGE
    if value % 4 != 1 or not low <= value <= high:
        raise InputError(
            f"A clip cannot have {value} frames; the number has to be 1, 5, 9 and so on up to {high}, "
            f"the nearest is {nearest_frames(value)}."
        )


def _check_loras(loras: tuple[LoraChoice, ...]) -> None:
    if len(loras) > MAX_LORAS:
        raise InputError(f"{len(loras)} LoRAs are too many for one clip; choose at most {MAX_LORAS}.")
    if len({one.digest for one in loras}) < len(loras):
        raise InputError("The same LoRA is chosen twice; choose it once, with the strength you want.")


def _check_range(name: str, value: float, limits: tuple[float, float]) -> None:
    low, high = limits
    odd = value != value  # not a number; a whole number may be too large to be asked by math.isnan
    if odd or not low <= value <= high:
        nearest = low if odd else min(max(value, low), high)
        shown = value if abs(value) < 10**20 or odd else "so much"
        raise InputError(f"The {name} cannot be {shown}; choose from {low} to {high}, the nearest is {nearest}.")
