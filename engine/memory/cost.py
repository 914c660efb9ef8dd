"""What a reference picture costs a render, in time and in memory: arithmetic on sizes, nothing is loaded or measured.

A reference joins the sequence the network works on with as many tokens as one frame's. Time is counted in multiply-adds
of one pass: those that grow with the tokens, and the attention that grows with their square.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.memory.plan import Work, network_pass_bytes, tokens_of
from engine.memory.profiles import sizes_of, work_of
from engine.memory.sizes import ModelSizes
from engine.request import RenderSettings

_TEXT_TOKENS = 512
"""Rows of the prompt that every token looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceCost:
    """What `count` references add to a render without any, and what one more would add to it as it is.

    `time`, `next_time`: shares of the time of the steps, 0.06 = 6 % more. `memory_bytes`, `next_memory_bytes`: of
    passing results while the network works, which may stay below another stage's peak.
    """

    count: int
    time: float
    memory_bytes: int
    next_time: float
    next_memory_bytes: int


def reference_cost(settings: RenderSettings, count: int, sizes: ModelSizes | None = None) -> ReferenceCost:
    """The cost of `count` pictures under these settings. `sizes`: of the engine's parts, read from its files if None.

    Raises `WeightsError` as `sizes_of` does.
    """
    sizes = sizes or sizes_of(settings.engine)
    none, now, more = (replace(work_of(settings, 0), references=number) for number in (0, count, count + 1))
    return ReferenceCost(
        count=count,
        time=_operations(sizes, now) / _operations(sizes, none) - 1,
        memory_bytes=network_pass_bytes(sizes, now, 0) - network_pass_bytes(sizes, none, 0),
        next_time=_operations(sizes, more) / _operations(sizes, now) - 1,
        next_memory_bytes=network_pass_bytes(sizes, more, 0) - network_pass_bytes(sizes, now, 0),
    )


def _operations(sizes: ModelSizes, work: Work) -> float:
    """Multiply-adds of one block for all tokens: projections, feed-forward, attention to each other and to the text."""
    tokens, width = tokens_of(sizes, work), sizes.width
    each = 6 * width * width + 2 * width * sizes.ffn_width + 2 * width * (tokens + _TEXT_TOKENS)
    return float(tokens) * each
