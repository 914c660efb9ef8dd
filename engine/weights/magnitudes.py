"""What is known of a model's magnitudes: by how much what its blocks add to the stream grows from step to step.

The step cache of that name needs it (`engine.model.step_cache`). It is measured once for each checkpoint by `weights
calibrate` and kept with the model in one small file, which names the weights it was measured of. Loads no torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.codec import from_json, to_json
from engine.engines import engine_info
from engine.errors import InputError, WeightsError
from engine.request import RenderSettings
from engine.weights.files import write_json
from engine.weights.installed import MAGNITUDES_NAME, model_folder, weights_digest

_DIGITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Magnitudes:
    """Ratios of one run, a value for each of its steps and the first 1: of the pass with the prompt, of that with the
    negative prompt and of that without CSAM."""

    cond: tuple[float, ...]
    uncond: tuple[float, ...]
    unrelated: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calibration:
    """The file: runs of different numbers of steps. `weights`: the digest of the model they were measured of."""

    weights: str
    runs: tuple[Magnitudes, ...]


def magnitudes_for(settings: RenderSettings) -> Magnitudes | None:
    """What the step cache of these settings has to know beforehand; None if they ask for none that does.

    Of several runs that were measured, the one whose number of steps is nearest. Raises `WeightsError` that says what
    to do where nothing was measured of these weights.
    """
    if not settings.step_cache or settings.step_cache_kind != "magnitude":
        return None
    if settings.loras:
        raise WeightsError(
            "The magnitudes were measured without LoRAs: choose the step cache “first-block”, or leave out the LoRAs."
        )
    runs = _read(settings.engine).runs
    return min(runs, key=lambda run: (abs(len(run.cond) - settings.num_inference_steps), -len(run.cond)))


def keep_magnitudes(engine_name: str, magnitudes: Magnitudes) -> Path:
    """Keep what was measured with the model; earlier runs stay if they are of the same weights and of another number of
    steps. Returns the file; raises `OutputError`."""
    try:
        before = _read(engine_name).runs
    except WeightsError:
        # Nothing that could be of use: it is what this measurement replaces.
        before = ()
    rounded = Magnitudes(
        **{name: tuple(round(value, _DIGITS) for value in ratios) for name, ratios in asdict(magnitudes).items()}
    )
    kept = [run for run in before if len(run.cond) != len(rounded.cond)]
    runs = tuple(sorted((*kept, rounded), key=lambda run: len(run.cond)))
    path = model_folder(engine_name) / MAGNITUDES_NAME
    write_json(path, to_json(_Calibration(weights=weights_digest(engine_name), runs=runs)))
    return path


def _read(engine_name: str) -> _Calibration:
    """The file of an engine; `WeightsError` where it is missing, damaged or of other weights."""
    path = model_folder(engine_name) / MAGNITUDES_NAME
    digest = weights_digest(engine_name)
    do = (
        f"run `python3 launcher.py weights calibrate {engine_name}`, or choose the step cache “first-block”, which "
        "needs no measuring"
    )
    try:
        found = from_json(_Calibration, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        title = engine_info(engine_name).title
        raise WeightsError(f"The magnitudes of {title} have not been measured yet: {do}.") from error
    except (OSError, ValueError, RecursionError, InputError) as error:
        raise WeightsError(f"{path} is damaged: {do}.") from error
    if found.weights != digest:
        raise WeightsError(f"{path} was measured with other weights than the installed ones: {do}.")
    lengths = [{len(run.cond), len(run.uncond), len(run.unrelated)} for run in found.runs]
    if not lengths or any(len(each) != 1 or 0 in each for each in lengths):
        raise WeightsError(f"{path} is damaged: {do}.")
    return found
