"""`bench memory`: what renders take at their peak, each in a fresh process, beside what the plan predicts.

The published model's parts have random weights of the real size. All of the network's weights are in memory; of its
equal blocks only a few are run, for a block's passing results are gone before the next begins.
"""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.bench.fresh_process import Measured, in_fresh_process
from engine.bench.network import State
from engine.engines import engine_info
from engine.memory.plan import CHUNK_TOKENS, MemoryPlan, Way, Work, predict, tokens_of
from engine.memory.sizes import PUBLISHED, ModelSizes, read_sizes
from engine.paths import builtin_presets_dir, cache_dir
from engine.weights import locate

_PROGRAM = "engine.runtime"
"""What a render has loaded whatever its stage."""
TEXT_TOKENS = 128
"""Length of the prompt that the text encoder reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySize:
    """What is measured; the defaults are the published model and a clip of nine frames at 832×480.

    `network`, `vae`, `text_encoder`: changes to the published configurations; `sizes`: those of the parts; `casts`: the
    sizes of the subject groups, measured each; `preset`: what the built-in model renders.
    """

    network: dict[str, Any] = field(default_factory=dict[str, Any])
    vae: dict[str, Any] = field(default_factory=dict[str, Any])
    text_encoder: dict[str, Any] = field(default_factory=dict[str, Any])
    sizes: ModelSizes = PUBLISHED
    width: int = 832
    height: int = 480
    num_frames: int = 9
    casts: tuple[tuple[int, ...], ...] = ((), (3, 3, 2))
    preset: str = "01-two-friends-in-the-park"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFigures:
    """One prediction beside its measurement: which engine, in which way, which stage of a render."""

    profile: str
    engine: str
    stage: str
    references: int
    tokens: int
    predicted_peak_bytes: int
    measured_peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFigures:
    """All that was measured; the text encoder's bytes are those of its weights."""

    text_encoder_bytes: int
    text_encoder_peak_bytes: int
    plans: tuple[PlanFigures, ...]


def measure_memory(*, size: MemorySize | None = None, state: State = lambda _: None) -> MemoryFigures:
    """Measure the text encoder, the network with every cast in the quickest and the leanest way, and a whole render.

    Raises `OutputError` if the disk has too little space for the text encoder.
    """
    size = size or MemorySize()
    from engine.bench.random_models import write_text_encoder

    folder = cache_dir() / "bench" / "text_encoder"
    text_bytes = write_text_encoder(folder, size.text_encoder, state)
    state("the text encoder, layer by layer")
    text = in_fresh_process(f"{__name__}:encode", folder=str(folder), tokens=TEXT_TOKENS)
    plans: list[PlanFigures] = []

    def add(row: PlanFigures) -> None:
        plans.append(row)
        # What is known is told at once: the rest may take minutes.
        state(_line(row))

    add(_text_row(size, text))
    for cast in size.casts:
        for profile, way in (("resident", Way()), ("lean", Way(chunk_tokens=CHUNK_TOKENS))):
            add(_network_row(size, cast, profile, way, state))
    state("a whole render of the built-in model")
    add(_nano_row(size))
    return MemoryFigures(text_encoder_bytes=text_bytes, text_encoder_peak_bytes=text.peak_bytes, plans=tuple(plans))


def _text_row(size: MemorySize, text: Measured) -> PlanFigures:
    work = Work(width=size.width, height=size.height, num_frames=size.num_frames)
    plan = predict(size.sizes, work, Way(stream_text=True), card=False)
    return PlanFigures(
        profile="streamed",
        engine="lumosx",
        stage="prompt",
        references=0,
        tokens=TEXT_TOKENS,
        predicted_peak_bytes=_stage(plan, "prompt"),
        measured_peak_bytes=text.peak_bytes,
    )


def _network_row(size: MemorySize, cast: tuple[int, ...], profile: str, way: Way, state: State) -> PlanFigures:
    state(f"the network with {sum(cast)} references, {profile}")
    work = Work(width=size.width, height=size.height, num_frames=size.num_frames, references=sum(cast))
    measured = in_fresh_process(
        f"{__name__}:denoise",
        network=size.network,
        vae=size.vae,
        canvas=[size.num_frames, size.height, size.width],
        cast=cast,
        chunk_tokens=way.chunk_tokens,
    )
    return PlanFigures(
        profile=profile,
        engine="lumosx",
        stage="denoise",
        references=sum(cast),
        tokens=tokens_of(size.sizes, work),
        predicted_peak_bytes=_stage(predict(size.sizes, work, way, card=False), "denoise"),
        measured_peak_bytes=measured.peak_bytes,
    )


def _nano_row(size: MemorySize) -> PlanFigures:
    settings = engine_info("nano").defaults
    sizes = read_sizes(locate("nano"), 4)
    with tempfile.TemporaryDirectory() as folder:
        measured = in_fresh_process(
            f"{__name__}:render", preset=str(builtin_presets_dir() / size.preset), folder=folder
        )
    work = Work(
        width=settings.width,
        height=settings.height,
        num_frames=settings.num_frames,
        references=measured.result["references"],
    )
    plan = predict(sizes, work, Way(), card=False)
    return PlanFigures(
        profile="auto",
        engine="nano",
        stage="render",
        references=work.references,
        tokens=tokens_of(sizes, work),
        predicted_peak_bytes=plan.ram_bytes,
        measured_peak_bytes=measured.peak_bytes,
    )


def _stage(plan: MemoryPlan, stage: str) -> int:
    return next(peak.ram_bytes for peak in plan.peaks if peak.stage == stage)


# In the fresh process ------------------------------------------------------------------------------------------------


def encode(folder: str, tokens: int) -> dict[str, Any]:
    """Encode a prompt of random words by the encoder in `folder`, layer by layer."""
    import_module(_PROGRAM)
    import torch

    from engine.memory.text_encoder import load_streamed
    from engine.model.precision import quick_products

    encoder = load_streamed(Path(folder), torch.bfloat16, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, encoder.config.vocab_size, (1, tokens), generator=generator)
    with torch.no_grad(), quick_products(encoder.device, torch.bfloat16):
        hidden = encoder(ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return {"shape": list(hidden.shape), "finite": bool(hidden.isfinite().all())}


def denoise(
    network: dict[str, Any], vae: dict[str, Any], canvas: list[int], cast: list[int], chunk_tokens: int
) -> dict[str, Any]:
    """One pass through the first of the network's blocks and the parts around them, the VAE waiting beside it."""
    import_module(_PROGRAM)
    import torch

    from engine.bench.random_models import random_network, random_vae
    from engine.model.precision import quick_products

    model, waiting = random_network(network), random_vae(vae)
    model.chunk_tokens = chunk_tokens
    frames, height, width = (canvas[0] - 1) // 4 + 1, canvas[1] // 8, canvas[2] // 8
    channels, references, words = model.config.in_channels, sum(cast), 512
    with torch.no_grad(), quick_products(torch.device("cpu"), torch.bfloat16):
        video = torch.randn(1, channels, frames, height, width, dtype=torch.bfloat16)
        pictures = torch.randn(1, channels, references, height, width, dtype=torch.bfloat16) if cast else None
        text = torch.randn(1, words, model.config.text_dim, dtype=torch.bfloat16)
        masks = (torch.arange(words) // 3)[None] == torch.arange(references)[:, None] if cast else None
        blocks = model.blocks
        # All weights stay in memory.
        model.blocks = torch.nn.ModuleList(list(blocks)[:1])
        sample = model(video, torch.tensor([500]), text, pictures, tuple(cast), masks).sample
    return {"shape": list(sample.shape), "blocks": len(blocks), "vae": sum(p.numel() for p in waiting.parameters())}


def render(preset: str, folder: str) -> dict[str, Any]:
    """Render a preset with the built-in model to a clip in `folder`; nothing is kept from earlier renders."""
    os.environ["LUMOSX_HOME"] = folder
    from engine.cancel import CancelToken
    from engine.engines import resolve_settings
    from engine.pictures import PictureStore
    from engine.request import RenderRequest
    from engine.runtime import Engine
    from engine.sources import load_source

    store = PictureStore(Path(folder) / "pictures")
    scene = load_source(preset, store).scene
    request = RenderRequest(scene=scene, settings=resolve_settings("nano"))
    for _ in Engine().render(request, store, CancelToken(), Path(folder) / "clip.mp4"):
        pass
    return {"references": len(scene.references())}


def report(figures: MemoryFigures) -> str:
    """A table for people and, as the last line, one JSON line for machines."""
    lines = [
        f"Peaks of fresh processes, mapped pages included. The text encoder's weights are "
        f"{figures.text_encoder_bytes / 1e9:.1f} GB, and it took {figures.text_encoder_peak_bytes / 1e9:.2f} GB.",
        "engine  stage    profile   references  tokens  predicted  measured  error",
    ]
    lines += [_line(row) for row in figures.plans]
    return "\n".join([*lines, json.dumps(asdict(figures))])


def _line(row: PlanFigures) -> str:
    error = row.predicted_peak_bytes / row.measured_peak_bytes - 1
    return (
        f"{row.engine:<6}  {row.stage:<7}  {row.profile:<8}  {row.references:>10}  {row.tokens:>6}  "
        f"{row.predicted_peak_bytes / 1e9:>6.2f} GB  {row.measured_peak_bytes / 1e9:>5.2f} GB  {error:>+5.0%}"
    )
