"""`bench looks`: what a look at a forming clip takes, coarse and sharp, at the full model's size.

Random latents, and random weights in the small decoder: the time depends on neither. The moving picture is made of
noise, which takes the most.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from engine.bench.network import State
from engine.clip import animated_preview
from engine.live_picture import SHARE
from engine.model.preview import latent_colours
from engine.model.small_decoder import LATENT_CHANNELS, SmallDecoder
from engine.models import choose_device
from engine.weights.preview_decoder import on_device

FULL = (LATENT_CHANNELS, 21, 60, 104)
"""Latents of 81 frames at 832×480."""
_FPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFigures:
    """One kind of look at latents `(C, T, h, w)`: `count` pictures of `width` × `height` px.

    `pictures_s`, `encode_s`: median seconds in which they are made and become a moving picture, where there is no card
    of this process's processor time; `steps_s`: seconds of steps that such a look may come with.
    """

    kind: str
    device: str
    latents: tuple[int, int, int, int]
    count: int
    width: int
    height: int
    pictures_s: float
    encode_s: float
    steps_s: float


def measure_looks(
    *, repeats: int = 3, latents: tuple[int, int, int, int] = FULL, state: State = lambda _: None
) -> tuple[LookFigures, ...]:
    """Measure both kinds, `repeats` looks each, after one of a tiny clip that counts for nothing."""
    device = choose_device()
    torch.manual_seed(0)
    decoder = on_device(SmallDecoder().requires_grad_(False), device)
    colours = latent_colours(Path(), [0.0] * LATENT_CHANNELS)
    assert colours is not None
    clean = torch.randn(1, *latents).to(device)
    kinds: dict[str, Callable[[torch.Tensor], list[np.ndarray]]] = {
        "coarse": colours.frames,
        "sharp": lambda cells: list(decoder.pictures(cells)),
    }
    return tuple(_measure(kind, make, clean, repeats, state) for kind, make in kinds.items())


def _measure(
    kind: str, make: Callable[[torch.Tensor], list[np.ndarray]], clean: torch.Tensor, repeats: int, state: State
) -> LookFigures:
    card = clean.device.type == "cuda"
    clock = time.perf_counter if card else time.process_time
    make(clean[:, :, :1, :8, :8])
    state(f"timing {repeats} {kind} looks")
    making: list[float] = []
    encoding: list[float] = []
    frames: list[np.ndarray] = []
    generator = np.random.default_rng(0)
    for _ in range(repeats):
        began = clock()
        frames = make(clean)  # they are in the computer's memory, so that a card has done its work
        made = clock()
        making.append(made - began)
        noise = [generator.integers(0, 256, frame.shape, dtype=np.uint8) for frame in frames]
        began = clock()
        animated_preview(noise, _FPS)
        encoding.append(clock() - began)
    _, count, rows, columns = clean.shape[1:]
    height, width = frames[0].shape[:2]
    return LookFigures(
        kind=kind,
        device=torch.cuda.get_device_name(clean.device) if card else "processor",
        latents=(clean.shape[1], count, rows, columns),
        count=len(frames),
        width=width,
        height=height,
        pictures_s=median(making),
        encode_s=median(encoding),
        steps_s=(median(making) + median(encoding)) / SHARE,
    )


def report(figures: tuple[LookFigures, ...]) -> str:
    """A table for people and, as the last line, one JSON line for machines."""
    lines = [f"{'look':>8} {'pictures':>14} {'making':>9} {'encoding':>9} {'one in steps of':>16}"]
    for one in figures:
        lines.append(
            f"{one.kind:>8} {f'{one.count} of {one.width}x{one.height}':>14} {one.pictures_s:8.2f}s "
            f"{one.encode_s:8.2f}s {one.steps_s:15.1f}s"
        )
    return "\n".join([*lines, json.dumps({"looks": [asdict(one) for one in figures]})])
