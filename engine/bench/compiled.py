"""`bench compiled`: what compiling the network's blocks costs and gains, so that it can be said whether it pays.

On a card the published network with random weights, else the built-in one. Plain and compiled passes take turns.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import ceil
from statistics import median
from typing import Any, cast

import psutil
import torch

from engine.bench.network import State
from engine.bench.random_models import random_network
from engine.errors import MachineError
from engine.model.transformer import LumosXTransformer3DModel
from engine.models import choose_device
from engine.weights import locate

COMPILERS = ("g++", "c++", "clang++", "cl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of scene, for which the blocks are compiled anew: latents `(C, T, h, w)`, references by subject."""

    latents: tuple[int, int, int, int]
    groups: tuple[int, ...]


BUILT_IN = (Kind(latents=(12, 7, 12, 16), groups=(3, 2)), Kind(latents=(12, 5, 16, 24), groups=(1,)))
PUBLISHED = (Kind(latents=(16, 21, 60, 104), groups=(3, 3, 2)), Kind(latents=(16, 13, 60, 104), groups=(1,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFigures:
    """One kind of scene. `plain_s`, `compiled_s`: median seconds of a pass, where there is no card of this process's
    processor time; `compile_s`: seconds of the first compiled pass beyond that, `compile_cpu_s` its processor time.

    `pays_after`: passes after which compiling has been made up for, None if it never is; `error`: how far the compiled
    result is from the plain one, relative.
    """

    device: str
    latents: tuple[int, int, int, int]
    groups: tuple[int, ...]
    plain_s: float
    compiled_s: float
    compile_s: float
    compile_cpu_s: float
    pays_after: int | None
    error: float


def measure_compiled(
    *, repeats: int = 9, backend: str = "inductor", state: State = lambda _: None
) -> tuple[CompiledFigures, ...]:
    """Measure every kind of scene, `repeats` pairs of passes each. Raises `MachineError` where nothing can compile."""
    device = choose_device()
    _check_compiler(device)
    if device.type == "cuda":
        plain, kinds = random_network({}, torch.bfloat16), PUBLISHED
        # diffusers' own `to` hides its arguments behind a wrapper.
        cast(torch.nn.Module, plain).to(device)
    else:
        plain, kinds = LumosXTransformer3DModel.from_pretrained(locate("nano") / "transformer").eval(), BUILT_IN
    with torch.device("meta"):
        compiled = LumosXTransformer3DModel(**{key: plain.config[key] for key in plain.config if key[0] != "_"}).eval()
    compiled.load_state_dict(plain.state_dict(), assign=True)
    compiled.compile_repeated_blocks(backend=backend)
    try:
        return tuple(_measure(plain, compiled, kind, device, repeats, state) for kind in kinds)
    finally:
        torch.compiler.reset()


@torch.no_grad()
def _measure(
    plain: LumosXTransformer3DModel,
    compiled: LumosXTransformer3DModel,
    kind: Kind,
    device: torch.device,
    repeats: int,
    state: State,
) -> CompiledFigures:
    inputs = _inputs(plain, kind, device)
    clock = time.perf_counter if device.type == "cuda" else time.process_time

    def run(network: LumosXTransformer3DModel, clock: Callable[[], float] = clock) -> tuple[float, torch.Tensor]:
        started = clock()
        result = network(**inputs)[0]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - started, result.float()

    _, expected = run(plain)
    state(f"compiling for latents {kind.latents} with references {kind.groups}")
    cpu = _cpu_s()
    first_s, found = run(compiled, time.perf_counter)
    compile_cpu_s = _cpu_s() - cpu
    state(f"timing {repeats} pairs of passes")
    pairs = [(run(plain)[0], run(compiled)[0]) for _ in range(repeats)]
    plain_s, compiled_s = (median(pair[which] for pair in pairs) for which in (0, 1))
    compile_s = max(0.0, first_s - compiled_s)
    cost = compile_s if device.type == "cuda" else compile_cpu_s
    return CompiledFigures(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "processor",
        latents=kind.latents,
        groups=kind.groups,
        plain_s=plain_s,
        compiled_s=compiled_s,
        compile_s=compile_s,
        compile_cpu_s=compile_cpu_s,
        pays_after=ceil(cost / (plain_s - compiled_s)) if compiled_s < plain_s else None,
        error=float((found - expected).norm() / expected.norm()),
    )


def _inputs(network: LumosXTransformer3DModel, kind: Kind, device: torch.device) -> dict[str, Any]:
    generator, dtype = torch.Generator().manual_seed(0), network.patch_embedding.weight.dtype
    channels, _, height, width = kind.latents
    count = sum(kind.groups)
    words = 512 if device.type == "cuda" else 192

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    return {
        "hidden_states": noise(1, *kind.latents),
        "timestep": torch.tensor([500], device=device),
        "encoder_hidden_states": noise(1, words, int(network.config["text_dim"])),
        "reference_latents": noise(1, channels, count, height, width),
        "groups": kind.groups,
        # Every picture is bound to three words of its own.
        "text_masks": ((torch.arange(words) // 3)[None] == torch.arange(count)[:, None]).to(device),
        "return_dict": False,
    }


def _check_compiler(device: torch.device) -> None:
    if not any(map(shutil.which, COMPILERS)):
        raise MachineError(
            f"There is no compiler here ({', '.join(COMPILERS)}), and PyTorch compiles with one: install one first."
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise MachineError(
            "PyTorch compiles for cards with Triton, which is not installed here: install it to measure."
        )


def _cpu_s() -> float:
    """Processor time of this process and of those it has waited for."""
    times = psutil.Process().cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def report(figures: tuple[CompiledFigures, ...]) -> str:
    """A table for people and, as the last line, one JSON line for machines."""
    lines = [
        f"{'latents':>18} {'references':>12} {'plain':>9} {'compiled':>9} {'compiling':>10} {'its cpu':>8} "
        f"{'pays after':>12}"
    ]
    for one in figures:
        pays = "never" if one.pays_after is None else f"{one.pays_after:,} passes"
        lines.append(
            f"{'x'.join(map(str, one.latents)):>18} {'+'.join(map(str, one.groups)):>12} {one.plain_s:8.4f}s "
            f"{one.compiled_s:8.4f}s {one.compile_s:9.1f}s {one.compile_cpu_s:7.1f}s {pays:>12}"
        )
    return "\n".join([*lines, json.dumps({"compiled": [asdict(one) for one in figures]})])
