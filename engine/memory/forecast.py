"""What a render will take, told before it is begun: its memory plan and, once this machine's pace is known, its time.

Loads no torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from engine.memory.pace import PaceBook, seconds_of
from engine.memory.plan import Budget, MemoryPlan
from engine.memory.profiles import in_words, plan_for, sizes_of, work_of
from engine.request import RenderSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The plan, and seconds for painting, developing and writing: None until a render here has shown the pace."""

    plan: MemoryPlan
    seconds: float | None

    def words(self) -> tuple[str, ...]:
        """The forecast for people, a sentence each."""
        return (time_in_words(self.seconds), *in_words(self.plan))

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            **asdict(self.plan.way),
            "ram_bytes": self.plan.ram_bytes,
            "card_bytes": self.plan.card_bytes,
            "step_bytes": self.plan.step_bytes,
            "peaks": [asdict(peak) for peak in self.plan.peaks],
            "seconds": self.seconds,
        }


def forecast(settings: RenderSettings, references: int, free: Budget, device: str, book: PaceBook) -> Forecast:
    """Plan a render with the memory `free` on a kind of device, as torch names it.

    Raises `InputError` for a profile that does not exist, `MachineError` if the clip does not fit.
    """
    sizes = sizes_of(settings.engine)
    plan = plan_for(settings, references, free, sizes)
    pace = book.known(settings.engine, device, plan.way)
    seconds = None if pace is None else seconds_of(sizes, work_of(settings, references), pace)
    return Forecast(plan=plan, seconds=seconds)


def time_in_words(seconds: float | None) -> str:
    """A predicted time as a sentence, no more exact than it is."""
    if seconds is None:
        return "How long it takes is not known yet: the first render on this machine finds out."
    if seconds < 90:
        return f"It takes about {max(1, round(seconds))} s once the model is loaded."
    if seconds < 5400:
        return f"It takes about {round(seconds / 60)} min once the model is loaded."
    return f"It takes about {seconds / 3600:.1f} hours once the model is loaded."
