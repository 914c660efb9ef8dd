"""A model hub on the loopback: as much of its protocol as downloads need, with the faults that networks have."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPOSITORY = "someone/bundle"
CONTENT = {
    "LumosX_models/all/.metadata": b"metadata",
    "LumosX_models/all/__0_0.distcp": bytes(range(256)) * 2000,
    "vae.pth": b"vae" * 1000,
    "config.json": b'{"dim": 8}',
    "README.md": b"not wanted",
}


class LoopbackHub(ThreadingHTTPServer):
    """Speaks as much of the hub as a download needs. `break_after`: close the connection after so many bytes of a
    body; `refuse`: answer with this code instead of a file; `pause_s`: wait after each 16 kB; `hold_at`: send no more
    than so many bytes of a body until `go_on` is set."""

    daemon_threads = True

    def __init__(self, repository: str = REPOSITORY, content: dict[str, bytes] = CONTENT) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repository, self.content = repository, dict(content)
        self.requests: list[tuple[str, int]] = []
        self.break_after: int | None = None
        self.breaks = 0
        self.ignore_ranges = False
        self.refuse, self.pause_s = 0, 0.0
        self.hold_at: int | None = None
        self.go_on = threading.Event()
        self.damage = b""
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LoopbackHub  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        if self.path.startswith(f"/api/models/{self.server.repository}"):
            body = json.dumps(listing(self.server.repository, self.server.content)).encode()
            self._answer(200, body, {"Content-Type": "application/json"})
            return
        match = re.fullmatch(rf"/{self.server.repository}/resolve/\w+/(.+)", self.path)
        if match is None or match[1] not in self.server.content:
            self._answer(404, b"{}", {})
            return
        if self.server.refuse:
            self._answer(self.server.refuse, b"{}", {})
            return
        body = self.server.content[match[1]]
        body = self.server.damage or body
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and not self.server.ignore_ranges else 0
        self.server.requests.append((match[1], start))
        ranges = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        self._answer(206 if start else 200, body[start:], ranges)

    def _answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        limit, hold = self.server.break_after, self.server.hold_at
        broken = limit is not None and len(body) > limit
        self.server.breaks += broken
        body = body[:limit] if broken else body
        with contextlib.suppress(OSError):  # whoever asked has been stopped
            if hold is not None and len(body) >= hold:
                self._send(body[:hold])
                self.server.go_on.wait()
                body = body[hold:]
            self._send(body)
            if broken:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)

    def _send(self, body: bytes) -> None:
        step = 1 << 14 if self.server.pause_s else max(len(body), 1)
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            time.sleep(self.server.pause_s)


def listing(repository: str, content: dict[str, bytes]) -> dict[str, Any]:
    """What the hub says of a repository's files."""
    siblings: list[dict[str, Any]] = []
    for name, body in content.items():
        sibling: dict[str, Any] = {"rfilename": name, "size": len(body)}
        sibling["blobId"] = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        if not name.endswith((".json", ".md")):
            sibling["lfs"] = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest(), "pointerSize": 130}
        siblings.append(sibling)
    return {"id": repository, "modelId": repository, "sha": "0123abcd", "siblings": siblings, "tags": []}


@contextmanager
def serving(server: LoopbackHub) -> Generator[LoopbackHub, None, None]:
    """The hub answers while the block runs."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()
