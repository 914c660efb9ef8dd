"""What a step cache has to know of a model beforehand, measured by painting one scene in full.

Nothing is decoded and no clip is made; the network's passes are those of a render.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing

from engine.cancel import CancelToken
from engine.errors import MachineError
from engine.events import Progress
from engine.model.pipeline import Conditioning, draw_noise
from engine.model.step_cache import MagnitudeRecorder
from engine.models import EngineModel, out_of_memory
from engine.rendering import latent_shape, relations_of
from engine.request import RenderSettings
from engine.weights.magnitudes import Magnitudes

_GUIDED = 2.0
"""The guidance with which the other passes are measured where the settings have none."""
_NO_MEMORY = (
    "There is not enough memory to measure with these settings: close other programs, or choose a smaller --size or "
    "fewer --frames; the figures hardly depend on either."
)


def measure_magnitudes(
    model: EngineModel, settings: RenderSettings, conditioning: Conditioning, cancel: CancelToken
) -> Generator[Progress, None, Magnitudes]:
    """Paint in full with these settings and measure all passes that guidance may take; if the settings take not all of
    them, that takes two runs.

    Raises `MachineError` where memory runs out, and `Cancelled`.
    """
    own = (settings.guidance_scale, settings.relation_guidance)
    every = (_GUIDED if own[0] == 1 else own[0], own[1] or _GUIDED)
    runs = (own,) if own == every else (own, every)
    num_steps = settings.num_inference_steps
    measured: dict[str, list[float]] = {}
    begun = time.monotonic()
    try:
        for number, (guidance, relation_guidance) in enumerate(runs):
            recorder = MagnitudeRecorder()
            pipeline = model.pipeline()
            steps = pipeline.sample(
                draw_noise(latent_shape(pipeline, settings), (settings.seed,)),
                conditioning,
                num_inference_steps=num_steps,
                guidance_scale=guidance,
                relation_guidance=relation_guidance,
                shift=settings.shift,
                relations=relations_of(settings),
                step_cache=recorder,
            )
            with closing(steps):
                for step in steps:
                    cancel.raise_if_cancelled()
                    done, of = number * num_steps + step.index + 1, len(runs) * num_steps
                    left_s = (time.monotonic() - begun) / done * (of - done)
                    yield Progress(stage="denoise", step=done, num_steps=of, seconds_left=left_s)
            # The settings' own run is the one that counts; the second one adds what it had no passes for.
            measured = {**recorder.ratios, **measured}
    except (MemoryError, RuntimeError, MachineError) as error:
        if not out_of_memory(error):
            raise
        raise MachineError(_NO_MEMORY) from error
    return Magnitudes(**{name: tuple(ratios) for name, ratios in measured.items()})
