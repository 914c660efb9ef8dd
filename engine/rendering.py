"""One render under way: painting and developing, with what is needed to go on when memory runs out in the middle.

Several requests that differ in nothing but their seed are painted together; `engine.runtime` sees to it that they do.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from engine import __version__
from engine.cancel import CancelToken
from engine.checkpoint import Checkpoint
from engine.clip import ClipWriter
from engine.codec import to_json
from engine.errors import InputError, MachineError, WeightsError
from engine.events import Event, Finished, Notice, Progress
from engine.live_picture import LivePicture
from engine.memory.pace import Pace, PaceBook, operations_of_step
from engine.memory.plan import leaner
from engine.memory.profiles import sizes_of, work_of
from engine.model.backends import Choice, attend_with
from engine.model.layout import Relations
from engine.model.pipeline import Conditioning, LumosXPipeline, SamplerState, draw_noise
from engine.model.small_decoder import SmallDecoder
from engine.models import EngineModel, out_of_memory, step_cache_of
from engine.paths import pace_file
from engine.recipe import Recipe
from engine.request import Clip, RenderRequest, RenderSettings

_Result = TypeVar("_Result")

LEANER = (
    "Memory ran out, perhaps because another program took it. The render goes on from its last finished step in a way "
    "that needs less."
)
AGAIN = (
    "Memory ran out, perhaps because another program took it. What could be given back was, and the render goes on "
    "from its last finished step."
)
_NO_MEMORY = (
    "There is not enough memory left for this clip: close other programs, choose a smaller size or fewer frames, or "
    "the memory profile of a smaller card, such as “6gb”."
)


@dataclass(slots=True, kw_only=True)
class Run:
    """What is being rendered, and how far it is.

    `requests` are equal but for their seeds, `outs` and `recipes` one for each; `attention`: what computes it; `state`:
    the last finished step; `finished`: how many clips are whole; `step_s`: seconds of a step once it has warmed up;
    `retried`: memory ran out before where nothing leaner was left; `sharp_looks`: there is room for the small decoder.
    """

    model: EngineModel
    requests: tuple[RenderRequest, ...]
    outs: tuple[Path, ...]
    recipes: tuple[Recipe, ...]
    cancel: CancelToken
    checkpoint: Checkpoint | None
    attention: Choice = field(default_factory=Choice)
    started: float = field(default_factory=time.monotonic)
    state: SamplerState | None = None
    finished: int = 0
    step_s: float | None = None
    retried: bool = False
    sharp_looks: bool = False

    @property
    def settings(self) -> RenderSettings:
        """The settings of all requests, with the seed of the first."""
        return self.requests[0].settings


def lasting(
    run: Run, stage: str, work: Callable[[], Generator[Event, None, _Result]]
) -> Generator[Event, None, _Result]:
    """Do `work`, which begins in `stage`; where memory runs out, again in a leaner way.

    What `work` does has to go on from where `run` stands. Raises `MachineError` if nothing leaner is left and it runs
    out once more.
    """
    while True:
        events = work()
        try:
            while True:
                try:
                    event = next(events)
                except StopIteration as end:
                    return end.value
                if isinstance(event, Progress):
                    stage = event.stage
                yield event
        except (MemoryError, RuntimeError, MachineError) as error:
            if not out_of_memory(error):
                raise
        finally:
            events.close()
        # Only here has the error let go of what the failed step held.
        yield _step_down(run, stage)


def _step_down(run: Run, stage: str) -> Notice:
    """Give back all memory and take the next leaner way for `stage`, or the same once more if there is none."""
    model, references = run.model, len(run.requests[0].scene.references())
    if run.state is not None:
        run.state = SamplerState(run.state.steps_done, run.state.latents.cpu(), run.state.memory.cpu())
    model.release()
    run.sharp_looks = False
    at = {"load": "prompt", "write": "decode"}.get(stage, stage)
    way = leaner(
        sizes_of(model.engine), work_of(run.settings, references), model.way, at, card=model.device.type == "cuda"
    )
    if way is not None:
        model.change_way(way)
        return Notice(text=LEANER)
    if run.retried:
        raise MachineError(_NO_MEMORY)
    run.retried = True
    return Notice(text=AGAIN)


def paint(run: Run, conditioning: Conditioning) -> Generator[Event, None, torch.Tensor]:
    """All steps after the last finished one: clean latents `[requests, C, T, h, w]`."""
    pipeline, settings, checkpoint = run.model.pipeline(), run.settings, run.checkpoint
    attend_with(pipeline.transformer, run.attention.kernel)
    noise = draw_noise(latent_shape(pipeline, settings), tuple(one.settings.seed for one in run.requests))
    num_steps = settings.num_inference_steps
    if run.state is None and checkpoint is not None:
        run.state = checkpoint.read(noise.shape, num_steps)
    before = 0 if run.state is None else run.state.steps_done
    latents = noise if run.state is None else run.state.latents
    live = LivePicture(run.model.colours(), settings.fps, (yield from _small_decoder(run)))
    begun = warm = time.monotonic()
    yield Progress(stage="denoise", step=before, num_steps=num_steps, seconds_left=None)
    steps = pipeline.sample(
        noise,
        conditioning,
        num_inference_steps=num_steps,
        guidance_scale=settings.guidance_scale,
        shift=settings.shift,
        relations=relations_of(settings),
        start=run.state,
        step_cache=step_cache_of(settings),
        guided_share=settings.guided_share,
        relation_guidance=settings.relation_guidance,
    )
    with closing(steps):
        for step in steps:
            latents, run.state = step.latents, step.state
            done = step.index + 1
            now = time.monotonic()
            if done == before + 1:
                warm = now
            else:
                run.step_s = (now - warm) / (done - before - 1)
            if checkpoint is not None:
                checkpoint.keep(step.state, now=done == num_steps or run.cancel.cancelled)
            run.cancel.raise_if_cancelled()
            left_s = (now - begun) / (done - before) * (num_steps - done)
            yield Progress(stage="denoise", step=done, num_steps=num_steps, seconds_left=left_s)
            look = live.look(step.clean, done) if done < num_steps else None
            if look is not None:
                yield look
    return latents


def _small_decoder(run: Run) -> Generator[Notice, None, SmallDecoder | None]:
    """What looks at the forming clip are made with, if it is there and has room; what is wrong with it is said once."""
    if not run.sharp_looks:
        return None
    try:
        return run.model.small_decoder()
    except WeightsError as error:
        run.sharp_looks = False
        yield Notice(
            text=f"The preview decoder cannot be used, and the picture of the forming clip stays coarse. {error}"
        )
    return None


def develop(run: Run, latents: torch.Tensor) -> Generator[Event, None, None]:
    """Decode and write every clip that is not finished yet; `Finished` for each."""
    pipeline, settings = run.model.decoder(), run.settings
    while run.finished < len(run.requests):
        number, begun = run.finished, time.monotonic()
        out = run.outs[number]
        yield Progress(stage="decode", step=0, num_steps=0, seconds_left=None)
        with ClipWriter(
            out, width=settings.width, height=settings.height, fps=settings.fps, recipe=run.recipes[number]
        ) as writer:
            yield from _write(pipeline, latents[number : number + 1], writer, settings.num_frames, run.cancel)
        run.finished += 1
        if run.checkpoint is not None:
            run.checkpoint.remove()
        _note_pace(run, time.monotonic() - begun)
        yield Finished(
            clip=Clip(
                id=secrets.token_hex(8),
                path=out,
                request=run.requests[number],
                engine_version=__version__,
                weights_digest=run.model.digest,
                seconds=(time.monotonic() - run.started) / run.finished,
            )
        )


def _write(
    pipeline: LumosXPipeline, latents: torch.Tensor, writer: ClipWriter, num_frames: int, cancel: CancelToken
) -> Generator[Event]:
    """Decode and write frame by frame: neither memory nor the time to a cancel grows with the clip."""
    begun = time.monotonic()
    with closing(pipeline.frames(latents)) as frames:
        for done, frame in enumerate(frames, 1):
            cancel.raise_if_cancelled()
            writer.write(frame)
            left_s = (time.monotonic() - begun) / done * (num_frames - done)
            yield Progress(stage="write", step=done, num_steps=num_frames, seconds_left=left_s)


def _note_pace(run: Run, write_s: float) -> None:
    """Keep what this render says about the next one's time; with a step cache its steps were not worked out whole."""
    if run.step_s is None or run.settings.step_cache:
        return
    work = work_of(run.settings, len(run.requests[0].scene.references()), copies=len(run.requests))
    pace = Pace(
        operations_per_s=operations_of_step(sizes_of(run.model.engine), work) / max(run.step_s, 1e-6),
        pixels_per_s=work.width * work.height * work.num_frames / max(write_s, 1e-6),
    )
    PaceBook(pace_file()).note(run.model.engine, run.model.device.type, run.model.way, pace)


def relations_of(settings: RenderSettings) -> Relations:
    """The network's switches as the settings have them."""
    return Relations(
        positions=settings.relational_positions,
        self_attention=settings.relational_self_attention,
        cross_attention=settings.relational_cross_attention,
        strength=settings.binding_strength,
        unpooling=settings.unpooling,
    )


def run_key(model: EngineModel, request: RenderRequest, attention: Choice) -> str:
    """Names everything that a run's numbers depend on; a program or a machine that computes otherwise begins anew."""
    text = json.dumps([__version__, torch.__version__, model.digest, str(model.dtype), model.device.type])
    text += " in eight bits" if model.way.eight_bit else ""
    text += f" by {attention.kernel.value}"
    return hashlib.sha256((text + json.dumps(to_json(request), sort_keys=True)).encode()).hexdigest()


def latent_shape(pipeline: LumosXPipeline, settings: RenderSettings) -> tuple[int, int, int, int]:
    """`(C, T, h, w)` of the latents; `InputError` for a size that does not fit the model."""
    try:
        return pipeline.latent_shape(settings.width, settings.height, settings.num_frames)
    except ValueError as error:
        raise InputError(
            f"A size of {settings.width}x{settings.height} does not fit this model; choose a width and height that are "
            "multiples of 16."
        ) from error
