"""The plan before the work: where the parts of a model will lie during a render, and its predicted peaks.

Pure arithmetic from sizes, canvas, references and budget. Every way in which the engine can work is costed and
predicted; of those that fit into the budget the quickest is the plan. So more memory never makes a render slower, and a
plan never exceeds its budget. None of the ways changes the clip, but for the seams of a tiled VAE and, where nothing
else fits, for weights in eight bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

from engine.errors import MachineError
from engine.memory.sizes import ModelSizes

Network = Literal["resident", "offload", "streamed"]
NETWORKS: tuple[Network, ...] = ("resident", "offload", "streamed")

PROGRAM_BYTES = 650_000_000
"""The program itself with its libraries, before any weights; measured, see docs/benchmarks.md."""
CARD_PROGRAM_BYTES = 2_500_000_000
"""The same with what a card's libraries take of the computer's memory; assumed, not measured."""
CHUNK_TOKENS = 2048
TILE_PX, TILE_STRIDE_PX = 256, 192

# Bytes of passing results, measured on a CPU (docs/benchmarks.md).
_NETWORK_FIXED_BYTES = 60_000_000
_ENCODER_FIXED_BYTES = 60_000_000
_VAE_FIXED_BYTES = 60_000_000
_VAE_DECODE_VALUES = 63.0
_VAE_ENCODE_VALUES = 13.0

# Rough rates that put the ways in order, and are shown to nobody.
_DISK_RATE, _BUS_RATE = 1e9, 1.2e10
_CHUNK_COST, _TILE_COST = 0.01, 0.6
_EIGHT_BIT_COST = 1000.0
"""More than all else together: eight bits change every frame and are the last resort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be rendered; pixels, frames, `references` pictures, mean `passes` through the network in a step,
    `copies` with other seeds at once. `unrelated`: how many of the passes let every picture see everything, so that
    copies cannot share them; `kept_streams`: how many times the tokens' stream is kept from step to step."""

    width: int
    height: int
    num_frames: int
    references: int = 0
    steps: int = 50
    passes: float = 2
    unrelated: float = 0
    copies: int = 1
    kept_streams: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Memory that a render may use, the program itself included. `card_bytes`: of a graphics card, None where the
    device shares the computer's memory."""

    ram_bytes: int
    card_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to work.

    `network`: "resident" (on the device), "offload" (brought there for its turn, as a whole) or "streamed" (block by
    block); `stream_text`: the text encoder's layers are read from the disk one after the other; `text_on_card`;
    `let_go`: the network is dropped before decoding and read again for the next clip; `chunk_tokens`: tokens taken
    together (0: all); `tiled`: the VAE decodes overlapping tiles, which is not exact; `eight_bit`: the network's
    matrices are kept in eight bits, which is not exact either.
    """

    network: Network = "resident"
    stream_text: bool = False
    text_on_card: bool = False
    let_go: bool = False
    chunk_tokens: int = 0
    tiled: bool = False
    eight_bit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Predicted memory of one stage of a render, at its peak."""

    stage: str
    ram_bytes: int
    card_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The way chosen, the peaks of its stages, and the bytes of weights that move to the card in every step."""

    way: Way
    peaks: tuple[Peak, ...]
    step_bytes: int
    cost: float

    @property
    def ram_bytes(self) -> int:
        """Computer memory at the peak of the whole render."""
        return max(peak.ram_bytes for peak in self.peaks)

    @property
    def card_bytes(self) -> int:
        """Graphics memory at the peak of the whole render."""
        return max(peak.card_bytes for peak in self.peaks)

    def fits(self, budget: Budget) -> bool:
        """Whether no stage exceeds the budget."""
        return self.ram_bytes <= budget.ram_bytes and self.card_bytes <= (budget.card_bytes or 0)


def make_plan(sizes: ModelSizes, work: Work, budget: Budget, networks: tuple[Network, ...] | None = None) -> MemoryPlan:
    """The quickest plan within `budget`, of those whose network is placed in one of `networks` (None: all that make
    sense on the device).

    Raises `MachineError` that names the smallest budget that works and what to change if none fits.
    """
    plans = list(all_plans(sizes, work, card=budget.card_bytes is not None, networks=networks))
    fitting = [plan for plan in plans if plan.fits(budget)]
    if not fitting:
        raise MachineError(_refusal(smallest_budget(plans, budget), budget))
    return min(fitting, key=lambda plan: (plan.cost, plan.ram_bytes + plan.card_bytes))


def smallest_budget(plans: list[MemoryPlan], budget: Budget) -> Budget:
    """The budget nearest to `budget` within which one of `plans` fits: no part of it smaller, and the least in all."""
    nearest = min(
        plans,
        key=lambda plan: max(0, plan.ram_bytes - budget.ram_bytes) + max(0, plan.card_bytes - (budget.card_bytes or 0)),
    )
    card = None if budget.card_bytes is None else max(budget.card_bytes, nearest.card_bytes)
    return Budget(ram_bytes=max(budget.ram_bytes, nearest.ram_bytes), card_bytes=card)


def leaner(sizes: ModelSizes, work: Work, way: Way, stage: str, *, card: bool) -> Way | None:
    """The quickest way that takes less than `way` in the stage where memory ran out, and no more in any other; None
    where there is no leaner one."""

    def taken(plan: MemoryPlan) -> dict[str, int]:
        return {peak.stage: peak.card_bytes if card else peak.ram_bytes for peak in plan.peaks}

    now = taken(predict(sizes, work, way, card=card))
    found = [
        (plan.cost, plan)
        for plan in all_plans(sizes, work, card=card)
        if (then := taken(plan))[stage] < now[stage] and all(then[each] <= now[each] for each in now)
    ]
    return min(found, key=lambda pair: pair[0])[1].way if found else None


def _refusal(least: Budget, budget: Budget) -> str:
    needs: list[str] = []
    if least.card_bytes is not None and budget.card_bytes is not None and least.card_bytes > budget.card_bytes:
        needs.append(f"{gb(least.card_bytes)} of free graphics memory (there are {gb(budget.card_bytes)})")
    if least.ram_bytes > budget.ram_bytes:
        needs.append(f"{gb(least.ram_bytes)} of free memory (there are {gb(budget.ram_bytes)})")
    return (
        f"This clip needs at least {' and '.join(needs)}: close other programs, or choose fewer frames, a smaller size "
        "or fewer pictures."
    )


def gb(size: int) -> str:
    """Bytes for people, rounded up, so that what is named is enough."""
    return f"{-(-size // 100_000_000) / 10:.1f} GB"


def all_plans(
    sizes: ModelSizes, work: Work, *, card: bool, networks: tuple[Network, ...] | None = None
) -> Iterator[MemoryPlan]:
    """Every way the engine can work for `work`, costed; `card`: the device has memory of its own."""
    # Where the memory is one, moving parts about in it gains nothing.
    networks = networks or (NETWORKS if card else ("resident",))
    both = (False, True)
    choices = product(networks, both, both if card else (False,), both, (0, CHUNK_TOKENS), both, both)
    for network, stream, on_card, let_go, chunk, tiled, eight_bit in choices:
        way = Way(
            network=network,
            stream_text=stream,
            text_on_card=on_card,
            let_go=let_go,
            chunk_tokens=chunk,
            tiled=tiled,
            eight_bit=eight_bit,
        )
        if not (stream and card and not on_card) and not (let_go and (card or network != "resident")):
            yield predict(sizes, work, way, card=card)


def predict(sizes: ModelSizes, work: Work, way: Way, *, card: bool) -> MemoryPlan:
    """Peaks and cost of working in this way."""
    sizes = sizes.in_eight_bits() if way.eight_bit else sizes
    held = sizes.network_bytes + sizes.vae_bytes
    moved = int(sizes.network_bytes * work.passes) if way.network == "streamed" else 0
    around = sizes.network_bytes - sizes.blocks * sizes.block_bytes
    # What lies on the device beside the passing results; of streamed blocks the one at work and the next.
    at_network, at_vae = {
        "resident": (held, held),
        "offload": (sizes.network_bytes, sizes.vae_bytes),
        "streamed": (around + 2 * sizes.block_bytes + sizes.vae_bytes, around + sizes.vae_bytes),
    }[way.network]
    if not card:
        at_network = at_vae = held
    encode, decode = vae_bytes(sizes, work, tiled=way.tiled)
    stages = (
        ("references", at_vae, encode),
        ("denoise", at_network, network_pass_bytes(sizes, work, way.chunk_tokens)),
        ("decode", sizes.vae_bytes if way.let_go else at_vae, decode),
    )
    peaks = [_text_peak(sizes, way, card=card)]
    for stage, weights, passing in stages:
        if card:
            ram = CARD_PROGRAM_BYTES + held
            peaks.append(Peak(stage=stage, ram_bytes=ram, card_bytes=weights + passing))
        else:
            peaks.append(Peak(stage=stage, ram_bytes=PROGRAM_BYTES + weights + passing, card_bytes=0))
    return MemoryPlan(way=way, peaks=tuple(peaks), step_bytes=moved, cost=_cost(sizes, work, way, moved))


def _text_peak(sizes: ModelSizes, way: Way, *, card: bool) -> Peak:
    passing = _ENCODER_FIXED_BYTES
    if way.stream_text:
        # One weight at a time; of a table that stays on the disk only the rows in use are read.
        on_card = max(sizes.text_matrix_bytes, sizes.text_table_bytes)
        ram = sizes.text_matrix_bytes + (sizes.text_table_bytes if card else 0)
    else:
        on_card = ram = sizes.text_encoder_bytes
    return Peak(
        stage="prompt",
        ram_bytes=(CARD_PROGRAM_BYTES if card else PROGRAM_BYTES) + ram + passing,
        card_bytes=on_card + passing if card and way.text_on_card else 0,
    )


def tokens_of(sizes: ModelSizes, work: Work) -> int:
    """Tokens the network works on in its longest pass: those of every video and of the references, which are there
    once, or once for every video where they see it."""
    references = work.references * (work.copies if work.unrelated else 1)
    pictures = work.copies * ((work.num_frames - 1) // sizes.temporal_scale + 1) + references
    return pictures * -(-work.width // sizes.patch_px) * -(-work.height // sizes.patch_px)


def network_pass_bytes(sizes: ModelSizes, work: Work, chunk_tokens: int) -> int:
    """Passing results of one pass of the network: its residual stream in float32, queries, keys and values, and what
    feed-forward and rotation make of the tokens that are taken together; and what a step cache keeps."""
    tokens = tokens_of(sizes, work)
    together = min(tokens, chunk_tokens or tokens)
    kept = tokens * sizes.width * (12 + 7.5 * sizes.value_bytes)
    # Feed-forward works when queries, keys and values are gone.
    fed = tokens * sizes.width * 12 + together * (
        sizes.width * (2 + sizes.value_bytes) + 2 * sizes.ffn_width * sizes.value_bytes
    )
    cached = work.kept_streams * tokens * sizes.width * 4
    return int(_NETWORK_FIXED_BYTES + max(kept, fed) + cached)


def vae_bytes(sizes: ModelSizes, work: Work, *, tiled: bool) -> tuple[int, int]:
    """Passing results of encoding one reference and of decoding, in float32."""
    whole = work.width * work.height
    tile = min(work.width, TILE_PX) * min(work.height, TILE_PX)
    area, values = (tile if tiled else whole), 4 * sizes.vae_channels
    encode = _VAE_FIXED_BYTES + area * values * _VAE_ENCODE_VALUES
    decode = _VAE_FIXED_BYTES + area * values * _VAE_DECODE_VALUES
    if tiled and tile < whole:
        # All tiles of the whole clip, overlapping, then put together.
        overlap = (TILE_PX / TILE_STRIDE_PX) ** 2
        decode += whole * work.num_frames * 12 * (overlap + 2)
    return int(encode), int(decode)


def _cost(sizes: ModelSizes, work: Work, way: Way, moved: int) -> float:
    """Seconds, roughly, that this way takes more than the quickest."""
    seconds = work.steps * moved / _BUS_RATE
    if way.network == "offload":
        seconds += (sizes.network_bytes + sizes.vae_bytes) / _BUS_RATE
    if way.stream_text:
        # Both prompts read all of it; a whole encoder is read once.
        seconds += sizes.text_encoder_bytes / _DISK_RATE
    if not way.text_on_card:
        seconds += 4 * sizes.text_encoder_bytes / _BUS_RATE
    if way.let_go:
        seconds += sizes.network_bytes / _DISK_RATE
    seconds += _EIGHT_BIT_COST * way.eight_bit
    seconds += _CHUNK_COST * work.steps * bool(way.chunk_tokens)
    return seconds + _TILE_COST * work.num_frames * bool(way.tiled)
