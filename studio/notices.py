"""Sentences that are said once: which of them the user has put away, in a small file of the data folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import InputError, OutputError
from engine.files import write_atomically
from studio.languages import say

Json = dict[str, Any]

CONSENT = "consent"
_NAMES = frozenset({CONSENT})


class Notices:
    """Answers which sentences have been put away; `file` need not exist."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.answers: dict[str, Callable[[Json], Json]] = {
            "notices": lambda _: {"seen": sorted(self._seen())},
            "notice_seen": self._put_away,
        }

    def _seen(self) -> set[str]:
        try:
            data: object = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return set()  # then it is said again
        return {str(name) for name in data} & _NAMES if isinstance(data, list) else set()  # pyright: ignore[reportUnknownVariableType]

    def _put_away(self, message: Json) -> Json:
        name = message.get("name")
        if not isinstance(name, str) or name not in _NAMES:
            raise InputError(say("old_page"))
        seen = sorted(self._seen() | {name})
        # on a full or read-only disk the page still hides it; next time it is said again
        with contextlib.suppress(OutputError):
            write_atomically(self._file, json.dumps(seen).encode())
        return {"seen": seen}
