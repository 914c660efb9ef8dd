"""Which cutters can be used on this machine."""

from __future__ import annotations

from engine.masks.process import CutterProgram
from engine.weights import status

BUILT_IN = CutterProgram(
    name="built-in",
    title="Built-in cutter",
    note="Goes by colours: a box around the thing and a few clicks.",
    builtin=True,
    arguments=("built-in",),
)
SEGMENT_ANYTHING = CutterProgram(
    name="segment-anything",
    title="Segment Anything",
    note="Knows what a thing is: one click often does.",
    builtin=False,
    arguments=("segment-anything",),
)


def installed_cutters() -> tuple[CutterProgram, ...]:
    """The best first; the built-in one is always there."""
    if status("segment-anything").problem:
        return (BUILT_IN,)
    return (SEGMENT_ANYTHING, BUILT_IN)
