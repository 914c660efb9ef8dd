"""`bench gpu`: the full model's size on a graphics card, with random weights, under a cap on the card's memory.

Timed are steps of painting with guidance and the developing of the frames; beside them stands the arithmetic floor,
which is the operations counted in a step over the rate at which the card multiplies large matrices.
"""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportPrivateUsage=false

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib import metadata
from statistics import median
from typing import Any

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.bench.network import State
from engine.bench.random_models import random_network, random_vae
from engine.errors import MachineError
from engine.memory.placing import place
from engine.memory.plan import Budget, Way, Work, make_plan
from engine.memory.sizes import PUBLISHED
from engine.model.backends import attend_with, choose_backend
from engine.model.pipeline import Conditioning, LumosXPipeline, draw_noise
from engine.model.precision import quick_products
from engine.model.scheduler import LumosXScheduler
from engine.model.transformer import LumosXTransformer3DModel
from engine.models import compute_dtype
from engine.request import Attention


@dataclass(frozen=True, slots=True, kw_only=True)
class FullSize:
    """What is run; the defaults are the published networks, 832×480, 81 frames and eight references.

    `network`, `vae`: changes to the published configurations; `groups`: sizes of the subject groups.
    """

    network: dict[str, Any] = field(default_factory=dict[str, Any])
    vae: dict[str, Any] = field(default_factory=dict[str, Any])
    width: int = 832
    height: int = 480
    frames: int = 81
    words: int = 512
    groups: tuple[int, ...] = (3, 3, 2)
    matrix: int = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFigures:
    """One run. `step_s`: median seconds of a step with guidance; `floor_s`: its operations at the card's matrix rate.

    `peak_bytes`: the card's memory at its highest over steps and developing, `planned_bytes` what the plan says of it
    (None without a card); `way`: where the parts lay; `attention`: what computed it; `vram_limit_bytes` None without a
    cap.
    """

    card: str
    vram_limit_bytes: int | None
    way: dict[str, Any]
    attention: str
    planned_bytes: int | None
    peak_bytes: int
    steps: int
    step_s: float
    operations_per_step: int
    matrix_operations_per_s: float
    floor_s: float
    decode_s: float
    versions: dict[str, str]


def find_card() -> torch.device:
    """The CUDA card; `MachineError` where there is none."""
    if not torch.cuda.is_available():
        raise MachineError(
            "There is no CUDA card in this machine, or PyTorch cannot use it: run “doctor” to see what there is, and "
            "“bench speed” for figures on this processor."
        )
    return torch.device("cuda", torch.cuda.current_device())


@torch.no_grad()
def measure_gpu(
    device: torch.device,
    *,
    vram_limit_bytes: int | None = None,
    steps: int = 3,
    size: FullSize | None = None,
    attention: Attention = "auto",
    state: State = lambda _: None,
) -> GpuFigures:
    """Run `steps` steps (one more warms up) and the developing on `device`, with at most `vram_limit_bytes` of a card.

    Raises `MachineError` where the cap is too small for any way to run, or the attention asked for cannot be had.
    """
    size = size or FullSize()
    way, planned = _plan(device, vram_limit_bytes, size)
    dtype = compute_dtype(device, builtin=False)
    state("measuring how fast large matrices are multiplied")
    rate = matrix_rate(device, dtype, size.matrix)
    state(f"drawing random weights; the network is {way.network}")
    pipeline = _pipeline(size, dtype)
    chosen = choose_backend(attention, device, dtype, int(pipeline.transformer.config.attention_head_dim))
    if chosen.notice:
        raise MachineError(chosen.notice)
    attend_with(pipeline.transformer, chosen.kernel)
    place(pipeline, way, device)
    conditioning = _conditioning(pipeline, size)
    operations = 2 * operations_of_pass(size)
    _reset_peak(device)
    try:
        latents, seconds = _steps(pipeline, conditioning, size, steps, device, state)
        state("developing the frames")
        started = time.perf_counter()
        with closing(pipeline.frames(latents)) as frames:
            for _ in frames:
                pass
        decode_s = time.perf_counter() - started
    except torch.OutOfMemoryError as error:
        raise MachineError("The cap is too small, though the plan promised otherwise; allow more memory.") from error
    return GpuFigures(
        card=torch.cuda.get_device_name(device) if device.type == "cuda" else "processor",
        vram_limit_bytes=vram_limit_bytes,
        way=asdict(way),
        attention=chosen.kernel.value,
        planned_bytes=planned,
        peak_bytes=_peak_bytes(device),
        steps=steps,
        step_s=median(seconds),
        operations_per_step=operations,
        matrix_operations_per_s=rate,
        floor_s=operations / rate,
        decode_s=decode_s,
        versions={name: metadata.version(name) for name in ("torch", "diffusers")},
    )


def _plan(device: torch.device, vram_limit_bytes: int | None, size: FullSize) -> tuple[Way, int | None]:
    """The way to work within the card's free memory and the cap, and the card's planned peak; all of it on a CPU."""
    if device.type != "cuda":
        return Way(), None
    free = torch.cuda.mem_get_info(device)[0]
    if vram_limit_bytes is not None:
        torch.cuda.set_per_process_memory_fraction(min(1.0, vram_limit_bytes / _memory_bytes(device)), device)
        free = min(free, vram_limit_bytes)
    work = Work(width=size.width, height=size.height, num_frames=size.frames, references=sum(size.groups))
    budget = Budget(ram_bytes=psutil.virtual_memory().available, card_bytes=free)
    plan = make_plan(PUBLISHED, work, budget)
    return plan.way, max(peak.card_bytes for peak in plan.peaks if peak.stage in ("denoise", "decode"))


def _pipeline(size: FullSize, dtype: torch.dtype) -> LumosXPipeline:
    """Network and VAE of the published shapes with random weights, in the dtypes they are loaded in."""
    network, vae = random_network(size.network, dtype), random_vae(size.vae)
    return LumosXPipeline(None, None, vae, network, LumosXScheduler(), text_tokens=size.words)


def _conditioning(pipeline: LumosXPipeline, size: FullSize) -> Conditioning:
    channels, _, height, width = pipeline.latent_shape(size.width, size.height, size.frames)
    count, dim = sum(size.groups), int(pipeline.transformer.config.text_dim)
    # Every picture is bound to three words of its own.
    masks = (torch.arange(size.words) // 3)[None] == torch.arange(count)[:, None]
    return Conditioning(
        context=torch.randn(1, size.words, dim),
        negative_context=torch.randn(1, size.words, dim),
        reference_latents=torch.randn(1, channels, count, height, width),
        groups=size.groups,
        text_masks=masks,
    )


def _steps(
    pipeline: LumosXPipeline, conditioning: Conditioning, size: FullSize, steps: int, device: torch.device, state: State
) -> tuple[torch.Tensor, list[float]]:
    """Latents after the steps, and the seconds of each but the first, which warms up."""
    noise = draw_noise(pipeline.latent_shape(size.width, size.height, size.frames), (0,))
    latents, seconds = noise, list[float]()
    running = pipeline.sample(noise, conditioning, num_inference_steps=steps + 1, guidance_scale=6.0, shift=8.0)
    with closing(running):
        started = time.perf_counter()
        for step in running:
            _finish(device)
            seconds.append(time.perf_counter() - started)
            latents = step.latents
            state(f"step {step.index} of {steps}: {seconds[-1]:.2f} s" if step.index else "warming up")
            started = time.perf_counter()
    return latents, seconds[1:]


def operations_of_pass(size: FullSize) -> int:
    """Floating-point operations of one pass of the network (a multiplication and an addition are two), counted by
    running it without numbers."""
    with torch.device("meta"):
        network = LumosXTransformer3DModel(**size.network)
        height, width = size.height // 8, size.width // 8
        channels = int(network.config.in_channels)
        video = torch.empty(1, channels, (size.frames - 1) // 4 + 1, height, width)
        pictures = torch.empty(1, channels, sum(size.groups), height, width)
        text = torch.empty(1, size.words, int(network.config.text_dim))
        counter = FlopCounterMode(display=False)
        with counter:
            network(video, torch.empty(1), text, pictures, size.groups)
    return int(counter.get_total_flops())


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 8192, repeats: int = 10) -> float:
    """Floating-point operations per second of products of square matrices with `size` rows: the best of `repeats`."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):
        _finish(device)
        started = time.perf_counter()
        with quick_products(device, dtype):
            torch.mm(left, right)
        _finish(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory_bytes(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).total_memory)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    return psutil.Process().memory_info().rss


def report(figures: GpuFigures) -> str:
    """Lines for people and, as the last line, one JSON line for machines."""
    limit = "no cap" if figures.vram_limit_bytes is None else f"at most {figures.vram_limit_bytes / 2**30:.0f} GiB"
    lines = [
        f"{figures.card}, {limit}, network {figures.way['network']}, attention {figures.attention}; random "
        "weights of the published size.",
        f"peak {figures.peak_bytes / 2**30:.2f} GiB; one step with guidance {figures.step_s:.2f} s (median of "
        f"{figures.steps}); developing {figures.decode_s:.1f} s",
        f"arithmetic floor of a step {figures.floor_s:.2f} s: {figures.operations_per_step / 1e12:.0f} "
        f"Tera-operations at {figures.matrix_operations_per_s / 1e12:.1f} a second; "
        f"a step takes {figures.step_s / figures.floor_s:.2f} times the floor",
        json.dumps({"gpu": asdict(figures)}),
    ]
    return "\n".join(lines)
