"""What stood on a page last, with its undo and redo: one small JSON file per page in the data home.

Every scene of the history travels once and is named from then on; the page says which names make up its history now.
Whatever cannot be read is as good as not there: a page then begins anew.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from engine.codec import to_json
from engine.errors import InputError, UserError
from engine.files import write_atomically
from engine.request import MAX_LORAS
from studio.draft import parse_scene
from studio.languages import say

MAX_STEPS = 200
"""Steps of undo and of redo that are kept; a page that sends more loses the oldest."""

_MAX_DRAFTS = 60
_MAX_FILE_BYTES = 16 * 2**20
_TOKEN = re.compile(r"[0-9a-f]{16,64}")
_NAME = re.compile(r"[0-9a-z-]{1,40}")
_log = logging.getLogger(__name__)

Json = dict[str, Any]


class DraftBook:
    """The drafts under a folder. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def keep(self, token: str, message: Mapping[str, Any]) -> list[str]:
        """Write a page's history; return the names whose scenes are not known here, for the page to send.

        `message`: present (name), past and future (lists of names, oldest first), entries (name → scene, title,
        preset), settings. Nothing is written while the present scene is among the unknown ones.

        Raises:
            InputError: the message is none, or a scene in it is not one.
            OutputError: the data home cannot be written.
        """
        present = _name(message.get("present"))
        past, future = (_names(message.get(part))[-MAX_STEPS:] for part in ("past", "future"))
        sent = message.get("entries")
        new = {_name(name): _entry(entry) for name, entry in cast(Json, sent).items()} if isinstance(sent, dict) else {}
        with self._lock:
            old = self._read(token)
            known: Json = {**(old["entries"] if old else {}), **new}
            wanted = [*past, present, *future]
            missing = [name for name in dict.fromkeys(wanted) if name not in known]
            if present in missing:
                return missing
            settings = message.get("settings")
            draft: Json = {
                "schema_version": 1,
                "present": present,
                "past": [name for name in past if name in known],
                "future": [name for name in future if name in known],
                "entries": {name: known[name] for name in dict.fromkeys(wanted) if name in known},
                "settings": settings if _plain(settings) else None,
            }
            write_atomically(self._path(token), json.dumps(draft, ensure_ascii=False).encode())
            if old is None:
                self._forget_oldest()
        return missing

    def open(self, token: str) -> Json | None:
        """Return what a page kept, None if nothing (that can be read) is there."""
        with self._lock:
            return self._read(token)

    def _path(self, token: str) -> Path:
        if not _TOKEN.fullmatch(token):
            raise InputError(say("page_no_name"))
        return self._folder / f"{token}.json"

    def _read(self, token: str) -> Json | None:
        path = self._path(token)
        try:
            if path.stat().st_size > _MAX_FILE_BYTES:
                return None
            data: Any = json.loads(path.read_bytes())
            entries = {_name(name): _entry(entry) for name, entry in data["entries"].items()}
            draft: Json = {
                "present": _name(data["present"]),
                "past": [name for name in _names(data["past"]) if name in entries],
                "future": [name for name in _names(data["future"]) if name in entries],
                "entries": entries,
                "settings": data["settings"] if _plain(data["settings"]) else None,
            }
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UserError) as error:
            _log.warning("the draft %s cannot be read: %s", path, error)
            return None
        return draft if draft["present"] in entries else None

    def _forget_oldest(self) -> None:
        drafts = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in drafts[_MAX_DRAFTS:]:
            path.unlink(missing_ok=True)


def _entry(entry: object) -> Json:
    fields = cast(Json, entry) if isinstance(entry, dict) else {}
    title, preset = fields.get("title"), fields.get("preset")
    if not isinstance(title, str) or not isinstance(preset, str | None):
        raise InputError(say("page_no_draft"))
    return {"scene": to_json(parse_scene(fields.get("scene"))), "title": title, "preset": preset}


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InputError(say("page_no_draft"))
    return value


def _names(value: object) -> list[str]:
    if not isinstance(value, list):
        raise InputError(say("page_no_draft"))
    return [_name(item) for item in cast("list[object]", value)]


def _plain(settings: object) -> bool:
    """Whether settings are a small table of words, numbers and short lists of such tables: the page reads them back as
    it wrote them."""
    return _is_table(settings, lists=True)


def _is_table(value: object, *, lists: bool) -> bool:
    if not isinstance(value, dict):
        return False
    items = cast("dict[object, object]", value).items()
    return len(items) <= 40 and all(
        isinstance(name, str) and (_is_plain(one) or (lists and _is_list_of_tables(one))) for name, one in items
    )


def _is_list_of_tables(value: object) -> bool:
    if not isinstance(value, list):
        return False
    tables = cast("list[object]", value)
    return len(tables) <= MAX_LORAS and all(_is_table(one, lists=False) for one in tables)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool | None) and len(str(value)) <= 4000
