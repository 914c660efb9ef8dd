"""`bench speed`: what a clip takes, stage by stage, and what the ways to have it sooner cost.

One scene, one seed, several variants, interleaved, so that a machine whose speed drifts treats all alike. A variant
that gives other frames than the full render is a draft: how far its frames are from the full ones stands beside its
time.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np

from engine.bench.network import State
from engine.cancel import CancelToken
from engine.engines import engine_info, resolve_settings
from engine.errors import InputError
from engine.events import Finished, Preview, Progress
from engine.pictures import PictureStore
from engine.request import RenderRequest, RenderSettings
from engine.runtime import Engine
from engine.sources import first_preset, load_source

STAGES = ("load", "prompt", "references", "denoise", "preview", "write")
"""Parts of a render's time; developing and writing the frames go hand in hand and count as one."""


STEP_CACHES = (0.05, 0.1)
"""Shares below which a step is taken over, measured each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to render the scene. `fresh`: nothing is loaded or kept from an earlier render; `settings`: changes."""

    name: str
    fresh: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedFigures:
    """Median seconds of one variant, in all and by stage; `step_s` is one step of painting without previews.

    `psnr_db` compares the frames with those of the full render, None where they are the same.
    """

    variant: str
    engine: str
    width: int
    height: int
    frames: int
    steps: int
    seconds: float
    stages_s: dict[str, float]
    step_s: float
    psnr_db: float | None
    repeats: int


def variants_of(settings: RenderSettings) -> tuple[Variant, ...]:
    """The first render of a scene, the same again, and drafts; the second is the full render the others are held to."""
    steps = settings.num_inference_steps
    found = [Variant(name="first", fresh=True), Variant(name="again")]
    if settings.guidance_scale == 1:
        found.append(Variant(name="with guidance 1.5", settings={"guidance_scale": 1.5}))
    else:
        found.append(Variant(name="without guidance", settings={"guidance_scale": 1.0}))
    found += [
        Variant(name=f"{count} steps", settings={"num_inference_steps": count})
        for count in (steps // 2, steps // 4)
        if count
    ]
    found += [Variant(name=f"step cache {share}", settings={"step_cache": share}) for share in STEP_CACHES]
    if settings.guidance_scale != 1:
        found.append(Variant(name="guidance in half", settings={"guided_share": 0.5}))
    return tuple(found)


def measure_speed(
    engine: str, *, repeats: int = 3, settings: Mapping[str, Any] | None = None, state: State = lambda _: None
) -> tuple[SpeedFigures, ...]:
    """Render the first built-in scene in all variants, `repeats` times each; the first of them warms up uncounted.

    `settings` replace the engine's defaults. Raises `UserError`s as a render does.
    """
    if repeats < 1:
        raise ValueError("at least one repeat has to be timed")
    base = resolve_settings(engine, **(settings or {}))
    variants = variants_of(base)
    times: dict[str, list[dict[str, float]]] = {variant.name: [] for variant in variants}
    frames: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory(prefix="lumosx-speed-") as temporary:
        folder = Path(temporary)
        store = PictureStore(folder / "pictures")
        scene = load_source(first_preset(), store).scene
        kept = Engine(cache=folder / "kept")
        for repeat in range(-1, repeats):
            done = "warming up" if repeat < 0 else f"round {repeat + 1} of {repeats}"
            for number, variant in enumerate(variants):
                state(f"{engine_info(engine).title}, {variant.name}: {done}")
                request = RenderRequest(scene=scene, settings=replace(base, **variant.settings))
                # A folder of its own for every fresh render: nothing that was kept can be found there.
                worker = Engine(cache=folder / f"fresh-{repeat}-{number}") if variant.fresh else kept
                out = folder / f"{number}.mp4"
                seconds = stage_seconds(worker, request, store, out)
                if variant.fresh:
                    worker.release()
                if repeat >= 0:
                    times[variant.name].append(seconds)
                if variant.name not in frames:
                    frames[variant.name] = _frames(out)
        kept.release()
    full = frames[variants[1].name]
    return tuple(
        _figures(variant, base, times[variant.name], psnr_db(frames[variant.name], full)) for variant in variants
    )


def stage_seconds(engine: Engine, request: RenderRequest, pictures: PictureStore, out: Path) -> dict[str, float]:
    """Render to `out` and return the seconds of every stage; what happens before an event belongs to the stage that was
    announced last, except for the making of a preview."""
    seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    stage, since = "load", time.perf_counter()
    for event in engine.render(request, pictures, CancelToken(), out):
        now = time.perf_counter()
        seconds["preview" if isinstance(event, Preview) else stage] += now - since
        since = now
        if isinstance(event, Progress):
            stage = "write" if event.stage == "decode" else event.stage
        elif isinstance(event, Finished):
            break
    return seconds


def _frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def psnr_db(frames: np.ndarray, full: np.ndarray) -> float | None:
    """Peak signal-to-noise ratio of uint8 frames against others of the same shape; None where they are equal."""
    error = float(np.mean((frames.astype(np.float64) - full.astype(np.float64)) ** 2))
    return None if error == 0 else float(10 * np.log10(255**2 / error))


def _figures(variant: Variant, base: RenderSettings, times: list[dict[str, float]], psnr: float | None) -> SpeedFigures:
    settings = replace(base, **variant.settings)
    stages = {stage: median(one[stage] for one in times) for stage in STAGES}
    return SpeedFigures(
        variant=variant.name,
        engine=settings.engine,
        width=settings.width,
        height=settings.height,
        frames=settings.num_frames,
        steps=settings.num_inference_steps,
        seconds=median(sum(one.values()) for one in times),
        stages_s=stages,
        step_s=stages["denoise"] / settings.num_inference_steps,
        psnr_db=psnr,
        repeats=len(times),
    )


def report(figures: tuple[SpeedFigures, ...]) -> str:
    """A table for people and, as the last line, one JSON line for machines."""
    full = figures[1]
    lines = [
        f"One clip with {engine_info(full.engine).title}: {full.width}×{full.height}, {full.frames} frames, "
        f"{full.steps} steps; medians of {full.repeats} interleaved repeats.",
        f"{'':<18}  {'in all':>8}  {'against full':>12}  "
        + "  ".join(f"{stage:>10}" for stage in STAGES)
        + f"  {'one step':>9}  frames against full",
    ]
    for row in figures:
        stages = "  ".join(f"{row.stages_s[stage]:>8.2f} s" for stage in STAGES)
        same = "the same" if row.psnr_db is None else f"{row.psnr_db:.1f} dB"
        lines.append(
            f"{row.variant:<18}  {row.seconds:>6.2f} s  {row.seconds / full.seconds:>12.2f}  {stages}  "
            f"{row.step_s:>7.3f} s  {same}"
        )
    lines.append(json.dumps({"speed": [asdict(row) for row in figures]}))
    return "\n".join(lines)
