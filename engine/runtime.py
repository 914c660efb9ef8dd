"""The engine: a request goes in, events and a clip come out."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import torch

from engine import __version__
from engine.cancel import CancelToken
from engine.checkpoint import Checkpoint
from engine.clip import ClipWriter, check_target, remove_leftovers
from engine.codec import to_json
from engine.conditioning import TensorCache, make_conditioning
from engine.errors import InputError, MachineError
from engine.events import Event, Finished, Progress
from engine.live_picture import LivePicture
from engine.memory.pace import Pace, PaceBook, operations_of_step
from engine.memory.profiles import NO_LIMITS, Limits, check_profile, place_of, plan_for, sizes_of, work_of
from engine.model.layout import Relations
from engine.model.pipeline import Conditioning, LumosXPipeline, draw_noise
from engine.models import EngineModel, choose_device, free_memory
from engine.paths import cache_dir, pace_file
from engine.pictures import PictureStore
from engine.portable import make_recipe
from engine.request import Clip, RenderRequest, RenderSettings
from engine.weights import locate


class Engine:
    """Renders requests one after another and keeps the last used model loaded between them."""

    def __init__(
        self, device: torch.device | None = None, cache: Path | None = None, limits: Limits = NO_LIMITS
    ) -> None:
        """`device`: where to compute (default: the fastest here); `cache`: folder of kept embeddings and latents;
        `limits`: the most memory to use."""
        self._device = device
        self._limits = limits
        self._cache = cache
        self._model: EngineModel | None = None

    def render(
        self,
        request: RenderRequest,
        pictures: PictureStore,
        cancel: CancelToken,
        out: Path,
        *,
        include_pictures: bool = True,
        resume: Path | None = None,
    ) -> Iterator[Event]:
        """Render `request` to `out` (.mp4, .webm, .gif or a folder for PNG frames).

        Yields `Progress` for the stages load, prompt, references, denoise (step by step), decode and write, `Preview`s
        as often as they cost nearly nothing, and `Finished` at the end. Cancelling takes effect within one step and
        leaves nothing behind. Without `include_pictures` the clip's recipe holds the scene but not its pictures. Raises
        `UserError`s and `Cancelled`.

        `resume`: a file for the last finished step. A render that was cancelled, failed or was killed goes on from it
        and gives the identical clip; what it holds of another request, other weights or another machine is passed
        over. It is removed once the clip is whole.
        """
        started = time.monotonic()
        check_target(out)
        remove_leftovers(out.parent)
        try:
            with closing(self._render(request, pictures, cancel, out, include_pictures, resume, started)) as events:
                yield from events
        except torch.OutOfMemoryError as error:
            self.release()
            raise MachineError(
                "The card ran out of memory: close other programs, choose a smaller size or fewer frames, or the "
                "memory profile of a smaller card, such as “6gb”."
            ) from error

    def release(self) -> None:
        """Let the loaded model go."""
        if self._model is not None:
            self._model.release()
        self._model = None

    def _render(
        self,
        request: RenderRequest,
        pictures: PictureStore,
        cancel: CancelToken,
        out: Path,
        include_pictures: bool,
        resume: Path | None,
        started: float,
    ) -> Generator[Event]:
        yield _begin("load")
        model = self._model_for(request)
        cancel.raise_if_cancelled()
        # Before the work, not after it: a picture that is missing or too large to travel is told at once.
        recipe = make_recipe(request, pictures if include_pictures else None, model.digest)
        conditioning = yield from make_conditioning(
            model, request, pictures, TensorCache(self._cache or cache_dir() / "conditioning"), cancel
        )
        cancel.raise_if_cancelled()
        checkpoint = None if resume is None else Checkpoint(resume, _run_key(model, request))
        latents, step_s = yield from self._denoise(model, request.settings, conditioning, cancel, checkpoint)
        yield _begin("decode")
        settings = request.settings
        developing = time.monotonic()
        with ClipWriter(out, width=settings.width, height=settings.height, fps=settings.fps, recipe=recipe) as writer:
            yield from _write(model.decoder(), latents, writer, settings.num_frames, cancel)
        if checkpoint is not None:
            checkpoint.remove()
        if step_s is not None:
            _note_pace(model, request, step_s, time.monotonic() - developing)
        yield Finished(
            clip=Clip(
                id=secrets.token_hex(8),
                path=out,
                request=request,
                engine_version=__version__,
                weights_digest=model.digest,
                seconds=time.monotonic() - started,
            )
        )

    def _model_for(self, request: RenderRequest) -> EngineModel:
        """The engine's model in the way that the memory plan of this request chooses; kept if it is the same."""
        settings = request.settings
        check_profile(settings.profile)
        # Missing weights are told before missing memory.
        locate(settings.engine)
        device = self._device or choose_device(place_of(settings.profile))
        free = self._limits.within(free_memory(device))
        way = plan_for(settings, len(request.scene.references()), free).way
        if self._model is None or (self._model.engine, self._model.device, self._model.way) != (
            settings.engine,
            device,
            way,
        ):
            self.release()
            self._model = EngineModel(settings.engine, way, device)
        return self._model

    def _denoise(
        self,
        model: EngineModel,
        settings: RenderSettings,
        conditioning: Conditioning,
        cancel: CancelToken,
        checkpoint: Checkpoint | None,
    ) -> Generator[Event, None, tuple[torch.Tensor, float | None]]:
        """Paint; the latents, and the seconds of a step after the first, which warms up (None: there was no second)."""
        pipeline = model.pipeline()
        noise = draw_noise(_latent_shape(pipeline, settings), (settings.seed,))
        num_steps = settings.num_inference_steps
        start = None if checkpoint is None else checkpoint.read(noise.shape, num_steps)
        before = 0 if start is None else start.steps_done
        latents = noise if start is None else start.latents
        live = LivePicture(model.colours(), settings.fps)
        begun = warm = time.monotonic()
        yield Progress(stage="denoise", step=before, num_steps=num_steps, seconds_left=None)
        steps = pipeline.sample(
            noise,
            conditioning,
            num_inference_steps=num_steps,
            guidance_scale=settings.guidance_scale,
            shift=settings.shift,
            relations=relations_of(settings),
            start=start,
        )
        with closing(steps):
            for step in steps:
                latents = step.latents
                done = step.index + 1
                if done == before + 1:
                    warm = time.monotonic()
                if checkpoint is not None:
                    checkpoint.keep(step.state, now=done == num_steps or cancel.cancelled)
                cancel.raise_if_cancelled()
                left_s = (time.monotonic() - begun) / (done - before) * (num_steps - done)
                yield Progress(stage="denoise", step=done, num_steps=num_steps, seconds_left=left_s)
                look = live.look(step.clean, done) if done < num_steps else None
                if look is not None:
                    yield look
        warm_steps = num_steps - before - 1
        return latents, (time.monotonic() - warm) / warm_steps if warm_steps > 0 else None


def _note_pace(model: EngineModel, request: RenderRequest, step_s: float, write_s: float) -> None:
    """Keep what this render says about the next one's time."""
    work = work_of(request.settings, len(request.scene.references()))
    pace = Pace(
        operations_per_s=operations_of_step(sizes_of(model.engine), work) / max(step_s, 1e-6),
        pixels_per_s=work.width * work.height * work.num_frames / max(write_s, 1e-6),
    )
    PaceBook(pace_file()).note(model.engine, model.device.type, model.way, pace)


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


def relations_of(settings: RenderSettings) -> Relations:
    """The network's switches as the settings have them."""
    return Relations(
        positions=settings.relational_positions,
        self_attention=settings.relational_self_attention,
        cross_attention=settings.relational_cross_attention,
        strength=settings.binding_strength,
        unpooling=settings.unpooling,
    )


def _run_key(model: EngineModel, request: RenderRequest) -> str:
    """Names everything that a run's numbers depend on; a program or a machine that computes otherwise begins anew."""
    text = json.dumps([__version__, torch.__version__, model.digest, str(model.dtype), model.device.type])
    return hashlib.sha256((text + json.dumps(to_json(request), sort_keys=True)).encode()).hexdigest()


def _begin(stage: str) -> Progress:
    return Progress(stage=stage, step=0, num_steps=0, seconds_left=None)


def _latent_shape(pipeline: LumosXPipeline, settings: RenderSettings) -> tuple[int, int, int, int]:
    try:
        return pipeline.latent_shape(settings.width, settings.height, settings.num_frames)
    except ValueError as error:
        raise InputError(f"{error}; choose a width and height that are multiples of 16.") from error
