"""`bench network`: the relational network against its published form and against plain Wan, at the real size.

Random bfloat16 weights, shared by all three; the same tokens; repeats interleaved, so that a machine whose speed drifts
treats all three alike. Every pass is one step without guidance. All blocks of the network are alike: a machine without
an accelerator times a few of them and the parts around them, and multiplies; all the weights are in memory regardless.
"""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import psutil
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from engine.bench.published_form import use_published_form
from engine.model.precision import has_half, quick_products
from engine.model.transformer import LumosXTransformer3DModel

TIMED_LAYERS = 2
"""Blocks timed in a pass unless more are asked for."""

State = Callable[[str], None]
"""Is told, in a few words, what is going on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSize:
    """What is measured; the defaults are the published network and a clip of nine frames at 416×480.

    `config`: changes to the network's published configuration; `grid`: frames, rows and columns of the video in
    patches; `words`: length of the prompt; `casts`: for every measurement the sizes of the subject groups.
    """

    config: dict[str, Any] = field(default_factory=dict[str, Any])
    grid: tuple[int, int, int] = (3, 30, 26)
    words: int = 512
    casts: tuple[tuple[int, ...], ...] = ((), (3, 1), (3, 3, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFigures:
    """Median seconds of a whole pass in each form, and the process's resident memory at its peak in passes of ours.

    Of the network's `layers` blocks `layers_timed` were run; the seconds are those of all. `tokens` counts the video's
    and the references'. `emulated_s`: of ours on a processor without bfloat16, products left to PyTorch; else None.
    """

    references: int
    tokens: int
    ours_s: float
    dense_s: float
    wan_same_tokens_s: float
    emulated_s: float | None
    peak_bytes: int
    layers: int
    layers_timed: int
    repeats: int


@dataclass(frozen=True, slots=True)
class _Form:
    """One of the ways to compute: a network, and a pass of it; `quick`: with `quick_products`, as renders have it."""

    model: torch.nn.Module
    run: Callable[[], object]
    quick: bool = True


def measure_network(
    *, repeats: int = 5, layers: int = TIMED_LAYERS, size: NetworkSize | None = None, state: State = lambda _: None
) -> tuple[NetworkFigures, ...]:
    """Time all three forms for every cast of `size`; needs about 4 GB at the published size.

    Of the network's blocks `layers` are run in every pass (at most all). Raises `ValueError` for less than one layer or
    repeat.
    """
    if layers < 1 or repeats < 1:
        raise ValueError("at least one layer and one repeat have to be timed")
    size = size or NetworkSize()
    torch.manual_seed(0)
    state("drawing random weights")
    models = _models(size)
    return tuple(_measure(models, cast, size, repeats, layers, state) for cast in size.casts)


def _models(size: NetworkSize) -> tuple[LumosXTransformer3DModel, LumosXTransformer3DModel, WanTransformer3DModel]:
    """Ours, the published form and plain Wan, sharing one set of random weights in the dtypes they are loaded in."""
    with torch.device("meta"):
        ours, dense = LumosXTransformer3DModel(**size.config), LumosXTransformer3DModel(**size.config)
        wan = WanTransformer3DModel(**{key: value for key, value in ours.config.items() if not key.startswith("_")})
    weights = {
        name: torch.empty(value.shape, dtype=torch.bfloat16).normal_(0, 0.02)
        for name, value in ours.state_dict().items()
    }
    exact = {name: value.float() for name, value in weights.items() if _stays_exact(ours, name)}
    for model in (ours, dense, wan):
        own = {name: exact[name] if _stays_exact(model, name) else value for name, value in weights.items()}
        model.load_state_dict(own, assign=True)
        model.eval()
    # Wan's rotary tables are buffers that no state dict holds.
    wan.rope = type(wan.rope)(wan.config.attention_head_dim, wan.config.patch_size, wan.config.rope_max_seq_len)
    use_published_form(dense)
    return ours, dense, wan


def _stays_exact(model: WanTransformer3DModel, name: str) -> bool:
    """Whether loading in bfloat16 would leave this parameter in float32."""
    return not set(name.split(".")).isdisjoint(model._keep_in_fp32_modules)


@torch.no_grad()
def _measure(
    models: tuple[LumosXTransformer3DModel, LumosXTransformer3DModel, WanTransformer3DModel],
    cast: tuple[int, ...],
    size: NetworkSize,
    repeats: int,
    layers: int,
    state: State,
) -> NetworkFigures:
    total = len(models[0].blocks)
    layers = min(layers, total)
    forms = _forms(models, cast, size)
    times: dict[str, list[float]] = {name: [] for name in forms}
    peak = 0
    # The first round warms caches up and is not counted.
    for repeat in range(-1, repeats):
        done = "warming up" if repeat < 0 else f"round {repeat + 1} of {repeats}"
        state(f"{sum(cast)} references, {layers} of {total} blocks: {done}")
        for name in _rotated(list(forms), repeat):
            with _PeakMemory() as memory:
                seconds = _pass_seconds(forms[name], layers, total)
            if name == "ours":
                peak = max(peak, memory.peak_bytes)
            if repeat >= 0:
                times[name].append(seconds)
    frames, rows, columns = size.grid
    return NetworkFigures(
        references=sum(cast),
        tokens=(frames + sum(cast)) * rows * columns,
        ours_s=median(times["ours"]),
        dense_s=median(times["dense"]),
        wan_same_tokens_s=median(times["wan"]),
        emulated_s=median(times["emulated"]) if "emulated" in times else None,
        peak_bytes=peak,
        layers=total,
        layers_timed=layers,
        repeats=repeats,
    )


def _forms(
    models: tuple[LumosXTransformer3DModel, LumosXTransformer3DModel, WanTransformer3DModel],
    cast: tuple[int, ...],
    size: NetworkSize,
) -> dict[str, _Form]:
    ours, dense, wan = models
    frames, rows, columns = size.grid
    references, channels = sum(cast), ours.config.in_channels
    video = torch.randn(1, channels, frames, rows * 2, columns * 2, dtype=torch.bfloat16)
    pictures = torch.randn(1, channels, references, rows * 2, columns * 2, dtype=torch.bfloat16) if cast else None
    text = torch.randn(1, size.words, ours.config.text_dim, dtype=torch.bfloat16)
    timestep = torch.tensor([500])
    longer = video if pictures is None else torch.cat([video, pictures], dim=2)
    masks = None
    if cast:
        # Every picture is bound to three words of its own.
        words = torch.arange(size.words) // 3
        masks = words[None] == torch.arange(references)[:, None]

    def relational(model: LumosXTransformer3DModel, *, quick: bool = True) -> _Form:
        return _Form(model, lambda: model(video, timestep, text, pictures, cast, masks), quick)

    forms = {
        "ours": relational(ours),
        "dense": relational(dense),
        "wan": _Form(wan, lambda: wan(longer, timestep, text)),
    }
    return forms if has_half(torch.bfloat16) else {**forms, "emulated": relational(ours, quick=False)}


def _rotated(names: list[str], by: int) -> list[str]:
    """Every form goes first as often as the others: what runs before leaves its traces in the processor's caches."""
    start = by % len(names)
    return names[start:] + names[:start]


def _pass_seconds(form: _Form, layers: int, total: int) -> float:
    """Seconds of a pass through all blocks, from `layers` of them and, if these are not all, from none."""
    some = _timed(form, layers)
    if layers == total:
        return some
    around = _timed(form, 0)
    return around + (some - around) * total / layers


def _timed(form: _Form, layers: int) -> float:
    products = quick_products(torch.device("cpu"), torch.bfloat16) if form.quick else nullcontext()
    with _first_blocks(form.model, layers), products:
        start = time.perf_counter()
        form.run()
        return time.perf_counter() - start


@contextmanager
def _first_blocks(model: torch.nn.Module, count: int) -> Generator[None]:
    """The network without its later blocks, which stay in memory."""
    blocks = model.blocks
    assert isinstance(blocks, torch.nn.ModuleList)
    model.blocks = torch.nn.ModuleList(list(blocks)[:count])
    try:
        yield
    finally:
        model.blocks = blocks


class _PeakMemory:
    """Resident memory of this process at its peak while the block runs, sampled every 5 ms."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak_bytes = 0

    def _sample(self) -> None:
        while not self._stop.wait(0.005):
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)

    def __enter__(self) -> _PeakMemory:
        self.peak_bytes = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def report(figures: tuple[NetworkFigures, ...]) -> str:
    """A table for people and, as the last line, one JSON line for machines."""
    first = figures[0]
    lines = [
        f"One pass of the network ({first.layers} blocks, of which {first.layers_timed} were timed); "
        f"medians of {first.repeats} interleaved repeats.",
        "references  tokens      ours  published form  plain Wan  ours/Wan  published/ours  peak memory",
    ]
    for row in figures:
        lines.append(
            f"{row.references:>10}  {row.tokens:>6}  {row.ours_s:>6.2f} s  {row.dense_s:>12.2f} s  "
            f"{row.wan_same_tokens_s:>7.2f} s  {row.ours_s / row.wan_same_tokens_s:>8.3f}  "
            f"{row.dense_s / row.ours_s:>14.2f}  {row.peak_bytes / 2**30:>7.2f} GiB"
        )
        if row.emulated_s is not None:
            lines[-1] += f"  (products left to PyTorch, which emulates bfloat16 here: {row.emulated_s:.2f} s)"
    lines.append(json.dumps({"network": [asdict(row) for row in figures]}))
    return "\n".join(lines)
