"""Named budgets and placements, and the plan they lead to for a render. Loads no torch.

* auto: the quickest way within the memory that is free.
* resident, offload, streamed: the network on the device, brought there for its turn, or block by block; the rest auto.
* 4gb … 24gb: auto on a device with so much memory. Where it shares the computer's memory, of that.
* cpu, mps: auto on the processor, or on an Apple GPU, whatever else there is.
"""

from __future__ import annotations

import dataclasses

from engine.engines import engine_info
from engine.errors import InputError, MachineError
from engine.memory.plan import NETWORKS, Budget, MemoryPlan, Network, Work, gb, make_plan
from engine.memory.sizes import PUBLISHED, ModelSizes, read_sizes
from engine.request import RenderSettings
from engine.weights import locate, model_folder

_CARDS = {"4gb": 4, "6gb": 6, "8gb": 8, "12gb": 12, "16gb": 16, "24gb": 24}
_PLACES = ("cpu", "mps")
PROFILES = ("auto", *NETWORKS, *_CARDS, *_PLACES)

_DRIVER_BYTES = 500_000_000
"""Of a card's memory, what its driver keeps for itself."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Memory that a user allows a render at most, in bytes; None leaves it to what is free."""

    ram_bytes: int | None = None
    card_bytes: int | None = None

    def within(self, free: Budget) -> Budget:
        """What a render may use of what is free. Raises `MachineError` for a limit on a card that is not there."""
        if self.card_bytes is not None and free.card_bytes is None:
            raise MachineError(
                "There is no graphics card here whose memory could be limited: leave --vram out, or add --dry-run to "
                "see the plan for such a card."
            )
        card = None if free.card_bytes is None else min(free.card_bytes, self.card_bytes or free.card_bytes)
        return Budget(ram_bytes=min(free.ram_bytes, self.ram_bytes or free.ram_bytes), card_bytes=card)

    def supposed(self, free: Budget) -> Budget:
        """The memory of a machine that has just so much free, whatever this one has."""
        return Budget(ram_bytes=self.ram_bytes or free.ram_bytes, card_bytes=self.card_bytes or free.card_bytes)


NO_LIMITS = Limits()


def limits_in_gb(ram: float | None, card: float | None) -> Limits:
    """Limits as people give them, in GB (10⁹ bytes)."""
    in_bytes = [None if size is None else int(size * 1e9) for size in (ram, card)]
    return Limits(ram_bytes=in_bytes[0], card_bytes=in_bytes[1])


def check_profile(name: str) -> None:
    """Raise `InputError` for a profile that does not exist."""
    if name not in PROFILES:
        raise InputError(f"There is no memory profile “{name}”; choose one of {', '.join(PROFILES)}.")


def place_of(profile: str) -> str | None:
    """The kind of device that a profile asks for, as torch names it; None leaves it to the machine."""
    return profile if profile in _PLACES else None


def sizes_of(engine: str) -> ModelSizes:
    """Sizes of an engine's parts: of its files, or of the published ones where they are still to be fetched.

    Raises `WeightsError` for files that are damaged, or missing though they come with the program.
    """
    info = engine_info(engine)
    if info.builtin or model_folder(engine).exists():
        return read_sizes(locate(engine), 4 if info.builtin else 2)
    return PUBLISHED


def work_of(settings: RenderSettings, references: int, copies: int = 1) -> Work:
    """What the settings ask for, with so many pictures, for so many seeds at once."""
    passes = settings.passes(references)
    others = settings.guided_share * (len(passes) - 1)
    return Work(
        width=settings.width,
        height=settings.height,
        num_frames=settings.num_frames,
        references=references,
        steps=settings.num_inference_steps,
        passes=1 + others,
        unrelated=settings.guided_share if "unrelated" in passes else 0,
        copies=copies,
        kept_streams=_kept_streams(settings, passes),
    )


def _kept_streams(settings: RenderSettings, passes: tuple[str, ...]) -> int:
    """How many times a step cache keeps the tokens' stream: for each of a step's passes what it began with and what
    the blocks added; the first-block cache keeps what its first block and the others added apart."""
    if not settings.step_cache:
        return 0
    branches = len(passes) if settings.guided_share else 1
    return branches * (3 if settings.step_cache_kind == "first-block" else 2)


def plan_for(
    settings: RenderSettings, references: int, free: Budget, sizes: ModelSizes | None = None, *, copies: int = 1
) -> MemoryPlan:
    """The plan of a render under its profile, of `copies` seeds at once, on a device with the memory `free`.

    Raises `InputError` for a profile that does not exist, `MachineError` if the clip does not fit.
    """
    check_profile(settings.profile)
    profile = settings.profile
    networks: tuple[Network, ...] | None = tuple(each for each in NETWORKS if each == profile) or None
    sizes = sizes or sizes_of(settings.engine)
    return make_plan(sizes, work_of(settings, references, copies), budget_of(profile, free), networks)


def budget_of(profile: str, free: Budget) -> Budget:
    """What a profile allows of the memory that is free."""
    if profile not in _CARDS:
        return free
    limit = _CARDS[profile] * 2**30
    if free.card_bytes is None:
        return dataclasses.replace(free, ram_bytes=min(free.ram_bytes, limit))
    return dataclasses.replace(free, card_bytes=min(free.card_bytes, limit - _DRIVER_BYTES))


def in_words(plan: MemoryPlan) -> tuple[str, ...]:
    """The plan for people, a sentence each."""
    way = plan.way
    peaks = f"At its peak it takes {gb(plan.ram_bytes)} of memory"
    if plan.card_bytes:
        peaks += f" and {gb(plan.card_bytes)} of graphics memory"
    text = (
        "The text encoder is read from the disk layer by layer"
        if way.stream_text
        else "The text encoder is loaded whole for the prompt and let go"
    )
    network = {
        "resident": "the network stays in memory",
        "offload": "the network and the VAE take turns on the card",
        "streamed": f"the network passes through the card block by block, {gb(plan.step_bytes)} in every step",
    }[way.network]
    lines = [f"{peaks}.", f"{text}; {network}{' until it is time to decode' if way.let_go else ''}."]
    if way.chunk_tokens:
        lines.append(f"Tokens are worked on {way.chunk_tokens} at a time.")
    if way.eight_bit:
        lines.append("The network's weights are kept in eight bits, which changes the clip a little.")
    if way.tiled:
        lines.append("Frames are decoded in overlapping tiles, which may differ a little from decoding them whole.")
    return tuple(lines)
