"""The engine: a request goes in, events and a clip come out."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from engine.calibration import measure_magnitudes
from engine.cancel import CancelToken
from engine.checkpoint import Checkpoint
from engine.clip import check_target
from engine.conditioning import TensorCache, make_conditioning
from engine.errors import MachineError
from engine.events import Event, Notice, Progress
from engine.files import remove_leftovers
from engine.memory.giving_back import give_back
from engine.memory.looks import room_for_decoder
from engine.memory.plan import Budget, MemoryPlan
from engine.memory.profiles import NO_LIMITS, Limits, check_profile, place_of, plan_for
from engine.models import EngineModel, choose_device, free_memory
from engine.paths import cache_dir
from engine.pictures import PictureStore
from engine.portable import make_recipe
from engine.rendering import Run, develop, lasting, paint, run_key
from engine.request import RenderRequest, RenderSettings
from engine.weights import locate
from engine.weights.loras import chosen_loras
from engine.weights.magnitudes import Magnitudes, keep_magnitudes, magnitudes_for


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
        as often as they cost nearly nothing, and `Finished` at the end. A `Notice` says what else is to be known: that
        memory ran out and the render goes on from its last finished step in a leaner way, that the attention asked for
        cannot be had, or what is wrong with the preview decoder. Cancelling takes effect within one step and leaves
        nothing behind. Without `include_pictures` the clip's recipe holds the scene but not its pictures. Raises
        `UserError`s and `Cancelled`.

        `resume`: a file for the last finished step. A render that was cancelled, failed or was killed goes on from it
        and gives the identical clip; what it holds of another request, other weights or another machine is passed
        over. It is removed once the clip is whole.
        """
        yield from self._tidily(self._render((request,), pictures, cancel, (out,), include_pictures, resume))

    def render_seeds(
        self,
        request: RenderRequest,
        pictures: PictureStore,
        cancel: CancelToken,
        outs: Mapping[int, Path],
        *,
        include_pictures: bool = True,
    ) -> Iterator[Event]:
        """Render `request` once for every seed in `outs`, to the file named there: events as `render` has them, and a
        `Finished` for each clip.

        As many as the memory holds are painted together, for what becomes of the references is the same for all. The
        clips are those of separate renders up to rounding: painted together, sums are taken in another order.
        """
        requests = [replace(request, settings=replace(request.settings, seed=seed)) for seed in outs]
        targets = list(outs.values())
        begin = 0
        while begin < len(requests):
            count = self._together(requests[begin:])
            part = slice(begin, begin + count)
            yield from self._tidily(
                self._render(tuple(requests[part]), pictures, cancel, tuple(targets[part]), include_pictures, None)
            )
            begin += count

    def calibrate(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken
    ) -> Generator[Event, None, Path]:
        """Measure by `request` what the step cache “magnitude” has to know of its engine's weights, and keep it with
        them: the file. Yields `Progress` as a render does, without decode and write. Raises `UserError`s and
        `Cancelled`."""
        yield Progress(stage="load", step=0, num_steps=0, seconds_left=None)
        request = replace(request, settings=replace(request.settings, step_cache=0.0, guided_share=1.0))
        model = self._model_for((request,))
        cancel.raise_if_cancelled()
        cache = TensorCache(self._cache or cache_dir() / "conditioning")
        try:
            conditioning = yield from make_conditioning(model, request, pictures, cache, cancel)
            measured: Magnitudes = yield from measure_magnitudes(model, request.settings, conditioning, cancel)
        except MachineError:
            self.release()
            raise
        return keep_magnitudes(request.settings.engine, measured)

    def release(self) -> None:
        """Let the loaded model go."""
        if self._model is not None:
            self._model.release()
        self._model = None

    def _tidily(self, events: Generator[Event]) -> Iterator[Event]:
        """The events of a run; however it ends, what it needed beside the model is given back to the machine."""
        try:
            with closing(events):
                yield from events
        finally:
            if self._model is not None:
                give_back(self._model.device)

    def _render(
        self,
        requests: tuple[RenderRequest, ...],
        pictures: PictureStore,
        cancel: CancelToken,
        outs: tuple[Path, ...],
        include_pictures: bool,
        resume: Path | None,
    ) -> Generator[Event]:
        started = time.monotonic()
        for out in outs:
            check_target(out)
            remove_leftovers(out.parent)
        yield Progress(stage="load", step=0, num_steps=0, seconds_left=None)
        request = requests[0]
        model = self._model_for(requests)
        cancel.raise_if_cancelled()
        attention = model.attention(request.settings.attention)
        if attention.notice:
            yield Notice(text=attention.notice)
        run = Run(
            model=model,
            requests=requests,
            outs=outs,
            # Before the work, not after it: a picture that is missing or too large to travel is told at once.
            recipes=tuple(make_recipe(each, pictures if include_pictures else None, model.digest) for each in requests),
            cancel=cancel,
            # What a step cache remembers is in no file: a draft that was broken off begins anew.
            checkpoint=None
            if resume is None or request.settings.step_cache
            else Checkpoint(resume, run_key(model, request, attention)),
            attention=attention,
            started=started,
            sharp_looks=self._has_room_to_look(requests, model),
        )
        cache = TensorCache(self._cache or cache_dir() / "conditioning")
        try:
            with closing(
                lasting(run, "prompt", lambda: make_conditioning(model, request, pictures, cache, cancel))
            ) as events:
                conditioning = yield from events
            cancel.raise_if_cancelled()
            with closing(lasting(run, "denoise", lambda: paint(run, conditioning))) as events:
                latents = yield from events
            with closing(lasting(run, "decode", lambda: develop(run, latents))) as events:
                yield from events
        except MachineError:
            self.release()
            raise

    def _together(self, requests: Sequence[RenderRequest]) -> int:
        """How many of these seeds fit into the memory at once; at least one, whose own plan may refuse it.

        With the first-block cache one at a time: what it skips would be decided for all of them together. What the
        other kind skips is the same for every seed.
        """
        settings = requests[0].settings
        if settings.step_cache and settings.step_cache_kind == "first-block":
            return 1
        for count in range(len(requests), 1, -1):
            try:
                self._plan(requests[:count])
            except MachineError:
                continue
            return count
        return 1

    def _plan(self, requests: Sequence[RenderRequest]) -> MemoryPlan:
        settings = requests[0].settings
        return plan_for(settings, len(requests[0].scene.references()), self._free(settings), copies=len(requests))

    def _has_room_to_look(self, requests: Sequence[RenderRequest], model: EngineModel) -> bool:
        """Whether the small decoder of the live picture fits beside the model."""
        if model.builtin:
            return False
        settings, references = requests[0].settings, len(requests[0].scene.references())
        return room_for_decoder(settings, references, self._free(settings), model.way, copies=len(requests))

    def _free(self, settings: RenderSettings) -> Budget:
        """The memory that a render with these settings may use, before its profile limits it."""
        return self._limits.within(free_memory(self._device or choose_device(place_of(settings.profile))))

    def _model_for(self, requests: Sequence[RenderRequest]) -> EngineModel:
        """The engine's model in the way that the memory plan of these requests chooses; kept if it is the same."""
        settings = requests[0].settings
        check_profile(settings.profile)
        # Missing weights, and what has to be known of them, are told before missing memory.
        locate(settings.engine)
        magnitudes_for(settings)
        loras = chosen_loras(settings)
        device = self._device or choose_device(place_of(settings.profile))
        way = self._plan(requests).way
        if self._model is None or (self._model.engine, self._model.device, self._model.way, self._model.loras) != (
            settings.engine,
            device,
            way,
            loras,
        ):
            self.release()
            self._model = EngineModel(settings.engine, way, device, loras)
        return self._model
