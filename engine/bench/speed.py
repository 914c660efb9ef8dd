"""`bench speed`: what a clip takes, stage by stage, and what the ways to have it sooner cost.

One scene, one seed, several variants, interleaved, so that a machine whose speed drifts treats all alike. A variant
that gives other frames than the full render is a draft: how far its frames are from the full ones stands beside its
time, and, where the engine is nano and it is asked for, how many of its people wear their own clothes.
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
from engine.errors import InputError, WeightsError
from engine.events import Finished, Preview, Progress
from engine.models import step_cache_of
from engine.pictures import PictureStore, resized
from engine.rendering import relations_of
from engine.request import SIZE_MULTIPLE, RenderRequest, RenderSettings, StepCacheKind
from engine.runtime import Engine
from engine.sources import first_preset, load_source
from engine.weights import locate
from engine.weights.lora_file import open_merge
from engine.weights.loras import chosen_loras
from engine.weights.magnitudes import magnitudes_for

STAGES = ("load", "prompt", "references", "denoise", "preview", "write")
"""Parts of a render's time; developing and writing the frames go hand in hand and count as one."""


FULL = "again"
"""The name of the full render that others are held against."""
GUIDED = "guidance 1.5"
YOURS = "yours"
"""The name of the draft that was asked for by its settings."""
STEP_CACHES: tuple[tuple[StepCacheKind, float], ...] = (
    ("first-block", 0.05),
    ("first-block", 0.1),
    ("magnitude", 0.06),
    ("magnitude", 0.12),
)
"""Kinds, and shares up to which a step is taken over, measured each."""

SUBJECTS, SCENES_SEED = 2, 1
"""People in the scenes in which it is looked at who wears what, and the seed of these scenes, as `nano eval` has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to render the scene. `fresh`: nothing is loaded or kept from an earlier render; `settings`: changes;
    `against`: the variant it is a draft of."""

    name: str
    fresh: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    against: str = FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedFigures:
    """Median seconds of one variant, in all and by stage; `step_s` is one step of painting without previews.

    `psnr_db` compares the frames with those of the variant `against`, None where they are the same; smaller ones are
    enlarged. `binding`: share of people who wear their own clothes over `scenes` scenes, None if it was not measured.
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
    against: str
    psnr_db: float | None
    repeats: int
    binding: float | None = None
    scenes: int = 0


def variants_of(
    settings: RenderSettings, *, magnitudes: bool = True, yours: Mapping[str, Any] | None = None
) -> tuple[Variant, ...]:
    """The first render of a scene, the same again, and drafts; the second is the full render the others are held to.

    `magnitudes`: whether those of the engine were measured, so that a step cache can go by them. `yours`: settings of
    one draft more, such as a LoRA with the steps it was made for.
    """
    steps = settings.num_inference_steps
    found = [Variant(name="first", fresh=True), Variant(name=FULL)]
    half = {"guided_share": 0.5}
    if settings.guidance_scale == 1:
        found.append(Variant(name=GUIDED, settings={"guidance_scale": 1.5}))
        found.append(Variant(name=f"{GUIDED}, half", settings={"guidance_scale": 1.5, **half}, against=GUIDED))
    else:
        found.append(Variant(name="without guidance", settings={"guidance_scale": 1.0}))
        found.append(Variant(name="guidance in half", settings=half))
    if settings.relation_guidance:
        found.append(Variant(name="without relation guidance", settings={"relation_guidance": 0.0}))
        found.append(Variant(name="relation guidance in half", settings=half))
    found += [
        Variant(name=f"{count} steps", settings={"num_inference_steps": count})
        for count in (steps // 2, steps // 4)
        if count
    ]
    width, height = settings.width // 2, settings.height // 2
    if width % SIZE_MULTIPLE == height % SIZE_MULTIPLE == 0:
        found.append(Variant(name="half canvas", settings={"width": width, "height": height}))
    found += [
        Variant(name=f"{kind} {share}", settings={"step_cache": share, "step_cache_kind": kind})
        for kind, share in STEP_CACHES
        if magnitudes or kind != "magnitude"
    ]
    if yours:
        found.append(Variant(name=YOURS, settings=yours))
    return tuple(found)


def measure_speed(
    engine: str,
    *,
    repeats: int = 3,
    scenes: int = 0,
    settings: Mapping[str, Any] | None = None,
    yours: Mapping[str, Any] | None = None,
    state: State = lambda _: None,
) -> tuple[SpeedFigures, ...]:
    """Render the first built-in scene in all variants, `repeats` times each; the first of them warms up uncounted.

    `scenes`: on so many drawn scenes it is also measured who wears what, for the built-in model. `settings` replace the
    engine's defaults, `yours` are those of one draft more. Raises `UserError`s as a render does.
    """
    if repeats < 1:
        raise ValueError("at least one repeat has to be timed")
    info = engine_info(engine)
    if scenes and not info.builtin:
        raise InputError(f"Who wears what can be measured of the built-in model only: leave out --scenes for {engine}.")
    base = resolve_settings(engine, **(settings or {}))
    variants = variants_of(base, magnitudes=_are_measured(base, state), yours=yours)
    times, frames = _time(base, variants, repeats, state)
    bindings = _bindings(base, variants, scenes, state) if scenes else {}
    return tuple(
        replace(
            _figures(variant, base, times[variant.name], psnr_db(frames[variant.name], frames[variant.against])),
            binding=bindings.get(variant.name),
            scenes=scenes,
        )
        for variant in variants
    )


def _time(
    base: RenderSettings, variants: tuple[Variant, ...], repeats: int, state: State
) -> tuple[dict[str, list[dict[str, float]]], dict[str, np.ndarray]]:
    """Seconds by stage of every repeat, and frames at the size of `base`, by the variant's name."""
    title = engine_info(base.engine).title
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
                state(f"{title}, {variant.name}: {done}")
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
                    frames[variant.name] = resized(_frames(out), base.width, base.height)
        kept.release()
    return times, frames


def _are_measured(settings: RenderSettings, state: State) -> bool:
    """Whether the figures that a step cache by magnitudes needs are there; where they are not, `state` is told why."""
    try:
        magnitudes_for(replace(settings, step_cache=1.0, step_cache_kind="magnitude"))
    except WeightsError as error:
        state(f"Left out: {error}")
        return False
    return True


def _bindings(base: RenderSettings, variants: tuple[Variant, ...], scenes: int, state: State) -> dict[str, float]:
    """Share of people who wear their own clothes, by variant, on scenes that nano was never trained on."""
    from engine.nano.evaluation import Sampling, load_pipeline, score_scenes

    folder = locate(base.engine)
    plain = load_pipeline(folder)
    found: dict[str, float] = {}
    for variant in variants:
        settings = replace(base, **variant.settings)
        if variant.fresh:
            continue  # the clip is that of the full render
        pipeline = plain
        if settings.loras:
            pipeline = load_pipeline(folder)
            open_merge(chosen_loras(settings), folder / "transformer").into(pipeline.transformer)
        state(f"{engine_info(base.engine).title}, {variant.name}: who wears what in {scenes} scenes")
        sampling = Sampling(
            num_frames=settings.num_frames,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            relation_guidance=settings.relation_guidance,
            shift=settings.shift,
            negative_prompt=settings.negative_prompt,
            relations=relations_of(settings),
            width=settings.width,
            height=settings.height,
            step_cache=step_cache_of(settings),
            guided_share=settings.guided_share,
        )
        scores = score_scenes(pipeline, scenes, SCENES_SEED, sampling, SUBJECTS)
        found[variant.name] = round(float(np.mean([score.binding for score in scores])), 4)
    return found | {variant.name: found[FULL] for variant in variants if variant.fresh}


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
        against=variant.against,
        psnr_db=psnr,
        repeats=len(times),
    )


def report(figures: tuple[SpeedFigures, ...]) -> str:
    """A table for people and, as the last line, one JSON line for machines."""
    rows = {row.variant: row for row in figures}
    full = rows[FULL]
    told = f" Binding over {full.scenes} scenes of {SUBJECTS} people, chance {1 / SUBJECTS:.2f}." if full.scenes else ""
    lines = [
        f"One clip with {engine_info(full.engine).title}: {full.width}×{full.height}, {full.frames} frames, "
        f"{full.steps} steps; medians of {full.repeats} interleaved repeats.{told}",
        f"{'':<18}  {'in all':>8}  {'against full':>12}  "
        + "  ".join(f"{stage:>10}" for stage in STAGES)
        + f"  {'one step':>9}  {'frames against full':<19}"
        + ("  binding" if full.scenes else ""),
    ]
    for row in figures:
        stages = "  ".join(f"{row.stages_s[stage]:>8.2f} s" for stage in STAGES)
        same = "the same" if row.psnr_db is None else f"{row.psnr_db:.1f} dB"
        binding = "" if row.binding is None else f"  {row.binding:>7.3f}"
        lines.append(
            f"{row.variant:<18}  {row.seconds:>6.2f} s  {row.seconds / rows[row.against].seconds:>12.2f}  {stages}  "
            f"{row.step_s:>7.3f} s  {same:<19}{binding}".rstrip()
        )
    lines += [f"“{row.variant}” is held against “{row.against}”." for row in figures if row.against != FULL]
    lines.append(json.dumps({"speed": [asdict(row) for row in figures]}))
    return "\n".join(lines)
