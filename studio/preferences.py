"""What the user prefers, whatever is on the page: a small file in the data folder, with a default for everything."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.codec import from_json, to_json
from engine.errors import InputError, UserError
from engine.files import write_atomically
from studio.languages import LANGUAGES, say

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """`mark`: clips that are saved say visibly, in their frames, that they were generated. `language`: of the page, ""
    as the browser has it."""

    mark: bool = False
    language: str = ""


class PreferenceBook:
    """The preferences in the file `path`, and the page's message about them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.answers: dict[str, Callable[[Json], Json]] = {"prefer": self._prefer}

    def read(self) -> Preferences:
        """The preferences as they are now; a file that is not there or cannot be read means the defaults."""
        try:
            data: Any = json.loads(self._path.read_bytes())
            known = {field.name for field in dataclasses.fields(Preferences)}
            # A newer version may have written more than this one knows.
            found = from_json(Preferences, to_json(Preferences()) | {name: data[name] for name in known & set(data)})
        except (OSError, ValueError, TypeError, RecursionError, UserError):
            return Preferences()
        return found if found.language in LANGUAGES else dataclasses.replace(found, language="")

    def _prefer(self, message: Json) -> Json:
        """Answer with the preferences, changed first where the message says so: `mark`, and `chosen`, a language. The
        message's own `language` is the one it is answered in, as of all messages."""
        fields = {"mark": "mark", "language": "chosen"}
        changes = {name: message[field] for name, field in fields.items() if field in message}
        if not isinstance(changes.get("mark", False), bool) or changes.get("language", "") not in ("", *LANGUAGES):
            raise InputError(say("old_page"))
        if changes:
            new = dataclasses.replace(self.read(), **changes)
            write_atomically(self._path, json.dumps(to_json(new)).encode())
        return to_json(self.read())
