"""`bench network`: the relational network against its published form and against plain Wan, at the real size.

Random bfloat16 weights, shared by all three; the same tokens; repeats interleaved, so that a machine whose speed drifts
treats all three alike. Every pass is one step without guidance.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import psutil
import torch
from diffusers import WanTransformer3DModel

from engine.bench.published_form import use_published_form
from engine.model.transformer import LumosXTransformer3DModel

GRID = (3, 30, 26)
"""Frames, rows and columns of the video in patches."""
GROUPS = {0: (), 4: (3, 1), 8: (3, 3, 2)}
"""Sizes of the subject groups for each number of references."""
TEXT_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFigures:
    """Median seconds of a pass in each form, and the process's resident memory at its peak during passes of ours."""

    references: int
    tokens: int
    ours_s: float
    dense_s: float
    wan_same_tokens_s: float
    peak_bytes: int


def measure_network(*, repeats: int = 5, num_layers: int = 30) -> tuple[NetworkFigures, ...]:
    """Time all three forms for every number of references. Needs about 4 GB of memory and several minutes."""
    torch.manual_seed(0)
    ours, dense, wan = _models(num_layers)
    return tuple(_measure(ours, dense, wan, count, repeats) for count in GROUPS)


def _models(num_layers: int) -> tuple[LumosXTransformer3DModel, LumosXTransformer3DModel, WanTransformer3DModel]:
    """Three networks that share one set of random weights."""
    with torch.device("meta"):
        ours = LumosXTransformer3DModel(num_layers=num_layers)
        dense = LumosXTransformer3DModel(num_layers=num_layers)
        wan = WanTransformer3DModel(**{**_wan_config(ours), "num_layers": num_layers})
    weights = {
        name: torch.empty(value.shape, dtype=torch.bfloat16).normal_(0, 0.02)
        for name, value in ours.state_dict().items()
    }
    for model in (ours, dense, wan):
        model.load_state_dict(weights, assign=True)
        model.eval()
    # Wan's rotary tables are buffers that no state dict holds.
    wan.rope = type(wan.rope)(wan.config.attention_head_dim, wan.config.patch_size, wan.config.rope_max_seq_len)
    use_published_form(dense)
    return ours, dense, wan


def _wan_config(model: LumosXTransformer3DModel) -> dict[str, object]:
    return {key: value for key, value in model.config.items() if not key.startswith("_")}


@torch.no_grad()
def _measure(
    ours: LumosXTransformer3DModel,
    dense: LumosXTransformer3DModel,
    wan: WanTransformer3DModel,
    references: int,
    repeats: int,
) -> NetworkFigures:
    frames, rows, columns = GRID
    groups = GROUPS[references]
    video = torch.randn(1, 16, frames, rows * 2, columns * 2, dtype=torch.bfloat16)
    pictures = torch.randn(1, 16, references, rows * 2, columns * 2, dtype=torch.bfloat16) if references else None
    text = torch.randn(1, TEXT_TOKENS, 4096, dtype=torch.bfloat16)
    masks = torch.zeros(references, TEXT_TOKENS, dtype=torch.bool)
    for index in range(references):
        masks[index, index * 3 : index * 3 + 3] = True
    timestep = torch.tensor([500])
    longer = video if pictures is None else torch.cat([video, pictures], dim=2)

    def relational(model: LumosXTransformer3DModel) -> Callable[[], object]:
        return lambda: model(video, timestep, text, pictures, groups, masks if references else None)

    passes = {"ours": relational(ours), "dense": relational(dense), "wan": lambda: wan(longer, timestep, text)}
    times: dict[str, list[float]] = {name: [] for name in passes}
    peak = 0
    for repeat in range(repeats + 1):
        for name, run in passes.items():
            with _PeakMemory() as memory:
                start = time.perf_counter()
                run()
                elapsed = time.perf_counter() - start
            if name == "ours":
                peak = max(peak, memory.peak_bytes)
            # The first round warms caches up and is not counted.
            if repeat:
                times[name].append(elapsed)
    return NetworkFigures(
        references=references,
        tokens=(frames + references) * rows * columns,
        ours_s=median(times["ours"]),
        dense_s=median(times["dense"]),
        wan_same_tokens_s=median(times["wan"]),
        peak_bytes=peak,
    )


class _PeakMemory:
    """Resident memory of this process at its peak while the block runs, sampled every 10 ms."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak_bytes = 0

    def _sample(self) -> None:
        while not self._stop.wait(0.01):
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
    lines = [
        "references  tokens    ours    published form    plain Wan   ours/Wan   published/ours   peak memory",
    ]
    for row in figures:
        lines.append(
            f"{row.references:>10}  {row.tokens:>6}  {row.ours_s:>5.2f} s  {row.dense_s:>13.2f} s  "
            f"{row.wan_same_tokens_s:>9.2f} s  {row.ours_s / row.wan_same_tokens_s:>9.3f}  "
            f"{row.dense_s / row.ours_s:>15.2f}  {row.peak_bytes / 2**30:>9.2f} GiB"
        )
    lines.append(json.dumps({"network": [asdict(row) for row in figures]}))
    return "\n".join(lines)
