"""The engines by name: what they are, what they default to, and settings made of what the user left open.

Knows no weights and no network; where an engine's files are is `engine.weights`.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any, cast

from engine.codec import from_json
from engine.errors import InputError
from engine.prompt_text import shortened
from engine.request import SIZE_MULTIPLE, LoraChoice, RenderSettings

# Wan's own negative prompt; the published LumosX was made with it. Its reference case holds the same text.
_WAN_NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，"
    "残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，"
    "三条腿，背景人很多，倒着走"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """One engine. `builtin`: its weights come with the program. `text_tokens`: how much of a prompt it reads, in
    tokens. `padded_tokens`: the length to which shorter prompts are filled up with zeros, as in training.

    `licence` is that of the weights; `note` is one sentence for whoever chooses the engine.
    """

    name: str
    title: str
    builtin: bool
    defaults: RenderSettings
    size_multiple: int
    text_tokens: int
    padded_tokens: int
    licence: str
    note: str


_ENGINES = (
    EngineInfo(
        name="nano",
        title="Nano, the built-in preview model",
        builtin=True,
        defaults=RenderSettings(
            width=128,
            height=96,
            num_frames=25,
            fps=12,
            num_inference_steps=20,
            guidance_scale=1.0,
            shift=3.0,
            seed=0,
            negative_prompt="",
            engine="nano",
            relation_guidance=1.5,
        ),
        size_multiple=SIZE_MULTIPLE,
        text_tokens=512,
        padded_tokens=192,
        licence="Apache-2.0",
        note="A very small model trained on drawn figures with one garment and one hat each: "
        "within seconds it shows who wears what, not how it looks.",
    ),
    EngineInfo(
        name="lumosx",
        title="LumosX 1.3B",
        builtin=False,
        defaults=RenderSettings(
            width=832,
            height=480,
            num_frames=81,
            fps=16,
            num_inference_steps=50,
            guidance_scale=6.0,
            shift=8.0,
            seed=0,
            negative_prompt=_WAN_NEGATIVE_PROMPT,
            engine="lumosx",
        ),
        size_multiple=SIZE_MULTIPLE,
        text_tokens=512,
        padded_tokens=512,
        licence="Apache-2.0",
        note="The published model: a download of about 23 GB, and for sensible speed a graphics card.",
    ),
)

DEFAULT_ENGINE = "nano"
_MOST = 10**300


def engine_names() -> tuple[str, ...]:
    """Names of all engines, the built-in one first."""
    return tuple(info.name for info in _ENGINES)


def engine_info(name: str) -> EngineInfo:
    """The engine of this name; `InputError` lists the names there are."""
    for info in _ENGINES:
        if info.name == name:
            return info
    raise InputError(f"There is no engine “{shortened(name)}”; choose one of {', '.join(engine_names())}.")


def draft_of(settings: RenderSettings) -> tuple[str, ...]:
    """What makes these settings a draft of the clip that the engine's own would give: sentence parts, none if nothing
    does."""
    usual = engine_info(settings.engine).defaults
    found: list[str] = []
    if settings.num_inference_steps < usual.num_inference_steps:
        found.append(f"{settings.num_inference_steps} steps instead of {usual.num_inference_steps}")
    if settings.step_cache and settings.step_cache_kind == "first-block":
        found.append(f"steps that change less than {settings.step_cache:g} are taken over")
    elif settings.step_cache:
        found.append(f"steps are taken over until they are off by {settings.step_cache:g}")
    if settings.guided_share < 1 and (settings.guidance_scale != 1 or settings.relation_guidance):
        found.append(f"guidance in the first {settings.guided_share:.0%} of the steps only")
    if settings.attention == "sage":
        found.append("attention in eight bits, where this machine can (sage)")
    return tuple(found)


def resolve_settings(engine: str, **overrides: Any) -> RenderSettings:
    """The engine's defaults with `overrides` (fields of `RenderSettings`; None means "left open").

    Raises `InputError` for a field that does not exist, a value of the wrong type or out of range; it names the nearest
    legal value or name.
    """
    info = engine_info(engine)
    types = {field.name: type(getattr(info.defaults, field.name)) for field in dataclasses.fields(RenderSettings)}
    del types["engine"]
    values: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in types:
            close = difflib.get_close_matches(name, types, n=1, cutoff=0.0)
            raise InputError(f"There is no setting “{shortened(name)}”; did you mean {close[0]}?")
        if value is not None:
            values[name] = _typed(name, value, types[name])
    return dataclasses.replace(info.defaults, **values)


def _typed(name: str, value: Any, wanted: type) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(min(max(value, -_MOST), _MOST))  # too large in any case, but still a number
    if wanted is tuple and isinstance(value, list):  # as JSON has it
        return tuple(from_json(LoraChoice, one) for one in cast("list[Any]", value))
    if type(value) is not wanted:
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", tuple: "a list"}[wanted]
        raise InputError(f"The setting {name} has to be {words}, not “{shortened(str(value))}”.")
    return value
