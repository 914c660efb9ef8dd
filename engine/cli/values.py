"""What the values of options may be, for argparse's `type`; whatever else is typed becomes a sentence. Standard library
only.

Raises `argparse.ArgumentTypeError` with the end of a sentence that begins with the option's name.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

Number = TypeVar("Number", int, float)


def whole(low: int, high: int) -> Callable[[str], int]:
    """Whole numbers from `low` to `high`."""
    return _between(int, "a whole number", low, high)


def whole_list(low: int, high: int) -> Callable[[str], tuple[int, ...]]:
    """Whole numbers from `low` to `high`, with commas between."""
    convert = whole(low, high)
    return lambda text: tuple(convert(part) for part in text.split(","))


def number(low: float, high: float) -> Callable[[str], float]:
    """Numbers from `low` to `high`; neither is left out."""
    return _between(float, "a number", low, high)


def _between(read: Callable[[str], Number], words: str, low: Number, high: Number) -> Callable[[str], Number]:
    def convert(text: str) -> Number:
        try:
            value = read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"has to be {words}, not “{text}”") from None
        if not low <= value <= high:  # also refuses NaN
            raise argparse.ArgumentTypeError(f"has to be between {low} and {high}, not {value}")
        return value

    return convert


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    """One of these words."""

    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"has to be one of {', '.join(names)}, not “{text}”")
        return text

    return convert


def text_value(text: str) -> str:
    """Any text but an empty one."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def path_value(text: str) -> Path:
    """A path; `~` is the home folder."""
    if "\0" in text:
        raise argparse.ArgumentTypeError("is no path")
    return Path(text_value(text)).expanduser()


def lora_value(text: str) -> tuple[str, float]:
    """`NAME` or `NAME:STRENGTH` as (name, strength)."""
    name, colon, strength = text_value(text).rpartition(":")
    if not colon:
        return text, 1.0
    if not name.strip():
        raise argparse.ArgumentTypeError(f"has to name a LoRA, as in style:0.8, not “{text}”")
    return name, number(-4.0, 4.0)(strength)


def size_value(text: str) -> tuple[int, int]:
    """`WxH` in pixels as (width, height)."""
    match = re.fullmatch(r"([0-9]{1,5})[x×]([0-9]{1,5})", text.strip().lower())
    if match is None or not (int(match[1]) and int(match[2])):
        raise argparse.ArgumentTypeError(f"has to be width x height in pixels, as in 832x480, not “{text}”")
    return int(match[1]), int(match[2])
