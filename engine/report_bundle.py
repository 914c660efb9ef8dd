"""A report to attach when something fails: a zip of texts without pictures and without the names of people or folders.

Knows how to make texts safe and to pack them; what goes in is said by those who have it.
"""

from __future__ import annotations

import getpass
import io
import re
import socket
import zipfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from engine.files import write_atomically
from engine.paths import data_home, log_file

LEFT_OUT = "[left out]"
_MAX_LOG_BYTES = 512 * 1024
_SHORTEST_WORD = 3
_DATE = (1980, 1, 1, 0, 0, 0)
_READ_ME = """A report of LumosX Studio, to attach when something fails.

It holds texts only: this machine, the versions of what is installed, the memory plan, the studio's log and, if it was
made from a render, that render's error and settings. There are no pictures in it. Names of your folders, of you and of
this computer are replaced; the words of prompts and labels are in it only if you ticked them.
Read it before you send it.
"""


def write_report(out: Path, texts: Mapping[str, str], words: Iterable[str] = ()) -> None:
    """Write the texts as files of a zip, with the log and versions of this program; `words` are left out everywhere.

    Raises `OutputError`.
    """
    hide = Hider(words)
    parts = {"read me.txt": _READ_ME, "versions.txt": versions(), "log.txt": log_tail(), **texts}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, hide(text))
    write_atomically(out, stream.getvalue())


class Hider:
    """Replaces folders, the user's and the computer's name, and `words`, the longest first."""

    def __init__(self, words: Iterable[str] = (), home: Path | None = None) -> None:
        pairs = {str(data_home()): "<data folder>", str(home or Path.home()): "~"}
        root = Path(__file__).resolve().parent.parent
        pairs[str(root)] = "<program>"
        for text in (*words, *(line for word in words for line in word.splitlines())):
            if len(text.strip()) >= _SHORTEST_WORD:
                pairs[text.strip()] = LEFT_OUT
        self._pairs = sorted(pairs.items(), key=lambda pair: -len(pair[0]))
        self._names = {name: kind for name, kind in ((_user(), "<user>"), (socket.gethostname(), "<computer>")) if name}

    def __call__(self, text: str) -> str:
        for secret, shown in self._pairs:
            # In JSON, and in the repr of a path, the same text looks otherwise.
            for form in {secret, secret.replace("\\", "\\\\"), secret.encode("unicode_escape").decode()}:
                text = text.replace(form, shown)
        for name, shown in self._names.items():
            if len(name) >= _SHORTEST_WORD:
                text = re.sub(rf"(?<![\w]){re.escape(name)}(?![\w])", shown, text, flags=re.IGNORECASE)
        return text


def log_tail() -> str:
    """The end of the studio's log, "" if there is none."""
    try:
        data = log_file().read_bytes()
    except OSError:
        return ""
    return data[-_MAX_LOG_BYTES:].decode("utf-8", "replace")


def versions() -> str:
    """Every installed package with its version, a line each."""
    found = {(one.metadata["Name"] or "?").lower(): one.version for one in metadata.distributions()}
    return "".join(f"{name} {version}\n" for name, version in sorted(found.items()))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
