"""A studio asked over HTTP, as its page asks; and visitors who leave in the middle of a request."""

from __future__ import annotations

import json
import secrets
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

Json = dict[str, Any]
PATIENCE_S = 120


class Caller:
    """A page without a browser: one session, one request after another, every connection closed behind it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = secrets.token_hex(6)
        config = cast(Json, json.loads(self._get("config")))
        self._component = next(
            one["id"] for one in config["components"] if one["type"] == "html" and "js_on_load" in one["props"]
        )

    def ask(self, **message: Any) -> Json:
        """Send one message and return the answer, which must be no error."""
        answer = cast(Json, json.loads(self._send("gradio_api/component_server", *self._question(message))))
        assert "error" not in answer, answer
        return answer

    def send_folder(self, folder: Path) -> Json:
        """Send a sample folder, as picking it does; the answer is its scene."""
        answer = cast(Json, json.loads(self._send("studio/folder", *folder_form(folder))))
        assert "error" not in answer, answer
        return answer

    def wait(self, job: str, state: str, step: int = 0) -> Json:
        """Look until a job has a state and has come to a step; return it."""
        version = -1
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            answer = self.ask(do="look", version=version, preview=None)
            version = answer["version"]
            found = next((one for one in answer.get("jobs", []) if one["id"] == job), None)
            if found and found["state"] == state and found["step"] >= step:
                return found
            time.sleep(0.005)
        raise AssertionError(f"{job} never was {state}")

    def hang_up_while_looking(self, version: int) -> None:
        """Ask for news, for which the answer waits, and go."""
        body, kind = self._question({"do": "look", "version": version, "preview": None})
        self._hang_up("POST", "/gradio_api/component_server", body, kind, len(body))

    def hang_up_while_sending(self, folder: Path) -> None:
        """Begin to send a folder and go half-way."""
        body, kind = folder_form(folder)
        self._hang_up("POST", "/studio/folder", body[: len(body) // 2], kind, len(body))

    def hang_up_while_fetching(self, path: str) -> None:
        """Ask for a file and go before it has come."""
        self._hang_up("GET", f"/{path}", b"", "text/plain", 0)

    def _question(self, message: Json) -> tuple[bytes, str]:
        fields = {"data": message, "component_id": self._component, "fn_name": "ask", "session_hash": self._session}
        return json.dumps(fields).encode(), "application/json"

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self._url + path, timeout=PATIENCE_S) as answer:
            return answer.read()

    def _send(self, path: str, body: bytes, kind: str) -> bytes:
        request = urllib.request.Request(self._url + path, data=body, headers={"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.read()

    def _hang_up(self, method: str, path: str, body: bytes, kind: str, length: int) -> None:
        place = urlsplit(self._url)
        assert place.hostname is not None
        lines = (
            f"{method} {path} HTTP/1.1",
            f"Host: {place.netloc}",
            f"Content-Type: {kind}",
            f"Content-Length: {length}",
        )
        head = "\r\n".join([*lines, "", ""])
        with socket.create_connection((place.hostname, place.port or 80), timeout=PATIENCE_S) as connection:
            connection.sendall(head.encode() + body)


def folder_form(folder: Path) -> tuple[bytes, str]:
    """The body and content type of a form that sends a folder."""
    mark = secrets.token_hex(8)
    parts: list[bytes] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = (Path(folder.name) / path.relative_to(folder)).as_posix()
        parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="path"\r\n\r\n{name}\r\n'.encode())
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
        parts.append(head.encode() + path.read_bytes() + b"\r\n")
    return b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"
