"""One studio per data home: a small state file says where it runs, a request proves that it still does.

Knows nothing of Gradio; a second start answers within milliseconds.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from engine.errors import InputError, MachineError, OutputError
from engine.paths import data_home

_PORTS_TRIED = 40
_PATIENCE_S = 10.0
"""How long a studio that has our connection may take for its answer; it may be busy with a render."""
HELLO = "/studio/hello"
ANY_HOST = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A running studio: its process, where it answers, and a word only it knows (`key`)."""

    pid: int
    url: str
    key: str


def new_key() -> str:
    """Return an unguessable word for one run of the studio."""
    return secrets.token_urlsafe(16)


def browse_host(host: str) -> str:
    """Return the name a browser on this machine uses for a server that listens on `host`."""
    if host in ANY_HOST:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def state_file() -> Path:
    """Return where the running studio notes its address."""
    return data_home() / "studio.json"


def running_instance() -> Instance | None:
    """Return the studio that runs on this data home, or None; a note left by a dead process counts as none."""
    try:
        note = json.loads(state_file().read_text(encoding="utf-8"))
        fields = cast(dict[str, object], note)
        found = Instance(pid=int(str(fields["pid"])), url=str(fields["url"]), key=str(fields["key"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(found.url.rstrip("/") + HELLO, timeout=_PATIENCE_S) as answer:
            said = json.loads(answer.read(4096))
    except (OSError, ValueError, urllib.error.URLError):
        return None
    return found if said == hello(found.key) else None


def hello(key: str) -> dict[str, str]:
    """Return what a running studio answers to `HELLO`."""
    return {"app": "lumosx-studio", "key": key}


def note_instance(instance: Instance) -> None:
    """Write the state file, readable by this user only.

    Raises:
        OutputError: the data home cannot be written.
    """
    path = state_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{instance.pid}.part")
        text = json.dumps({"pid": instance.pid, "url": instance.url, "key": instance.key})
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(draft, path)
    except OSError as error:
        raise OutputError(
            f"The folder {path.parent} cannot be written ({error.strerror}); free it or set LUMOSX_HOME to another."
        ) from error


def forget_instance(key: str) -> None:
    """Remove the state file if it is still this run's own."""
    try:
        if json.loads(state_file().read_text(encoding="utf-8")).get("key") == key:
            state_file().unlink()
    except (OSError, ValueError, AttributeError):
        return  # gone, unreadable or another run's: nothing of ours is left


def free_ports(host: str, first: int) -> list[int]:
    """Return ports from `first` on that nobody listens on, the nearest first.

    Raises:
        InputError: `first` is no port.
        MachineError: the host is not one of this machine, or no port of the range is free.
    """
    if not 1 <= first <= 65535:
        raise InputError(f"There is no port {first}; choose one from 1 to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found: list[int] = []
    refused: OSError | None = None
    for port in range(first, min(first + _PORTS_TRIED, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                refused = error
                continue
        found.append(port)
    if not found:
        reason = refused.strerror if refused else "no such port"
        raise MachineError(
            f"The studio cannot listen on {host} from port {first} on ({reason}); choose another with --host or --port."
        )
    return found
