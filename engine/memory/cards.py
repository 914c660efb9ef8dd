"""The graphics cards that renders can be spread over, one each. Asks the driver and looks at files; loads no torch."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path

from engine.memory.machine import ask_driver

VISIBLE = "CUDA_VISIBLE_DEVICES"
LEAST_SHARE = 0.75
"""Of the largest card's memory; on a smaller one a render would be slower, or refused that the largest can do."""


def cards_to_share(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The cards that renders are spread over, as CUDA_VISIBLE_DEVICES names them; empty where there are not at least
    two, or PyTorch can use none.

    Where that variable is set, the user has chosen: exactly those. Else all of about the size of the largest.
    """
    if not torch_is_for_cards():
        return ()
    chosen = environment.get(VISIBLE)
    cards = _of_about_one_size() if chosen is None else _named(chosen)
    return cards if len(cards) > 1 else ()


def _named(chosen: str) -> tuple[str, ...]:
    """The entries of the variable; as for CUDA, one that names no card ends the list."""
    names = [name.strip() for name in chosen.split(",")]
    end = next((place for place, name in enumerate(names) if not name or name.startswith("-")), len(names))
    return tuple(dict.fromkeys(names[:end]))


def _of_about_one_size() -> tuple[str, ...]:
    rows = [(uuid, int(total)) for total, uuid in ask_driver("memory.total", "uuid") if total.isdigit()]
    largest = max((total for _, total in rows), default=0)
    return tuple(uuid for uuid, total in rows if total >= LEAST_SHARE * largest)


def torch_is_for_cards() -> bool:
    """Whether the installed PyTorch was built for Nvidia's cards; it is not imported for that."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^cuda\b[^=\n]*=\s*['\"]\d", text, re.MULTILINE) is not None
