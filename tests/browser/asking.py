"""A visitor without a browser: a cookie jar, and the page's messages sent as the page sends them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import httpx

from tests.patience import PATIENCE_S

Json = dict[str, Any]


class Visitor:
    """Somebody at a running studio; opening the page is part of making one."""

    def __init__(self, url: str, password: str | None = None) -> None:
        self.http = httpx.Client(base_url=url, timeout=PATIENCE_S, headers={"Origin": url.rstrip("/")}, trust_env=False)
        if password is not None:
            self.http.post("/studio/enter", data={"password": password})
        self.page = self.http.get("/")
        self.component: int | None = None
        self.find_component()

    def find_component(self) -> None:
        """Look up the part of the page that answers; whoever is not let in finds none."""
        config = self.http.get("/config")
        if config.status_code == 200:
            self.component = next(one["id"] for one in config.json()["components"] if one["type"] == "html")

    def ask(self, do: str, **fields: Any) -> Json:
        """Send a message as the page does and return the answer."""
        body = {"data": {"do": do, **fields}, "component_id": self.component, "fn_name": "ask", "session_hash": "x"}
        answer = self.http.post("/gradio_api/component_server", json=body)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return cast(Json, answer.json())

    def send_folder(self, folder: Path) -> Json:
        """Send a sample folder; the answer holds its scene."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [f"{folder.name}/{path.relative_to(folder).as_posix()}" for path in paths]
        files = [("file", (path.name, path.read_bytes())) for path in paths]
        return cast(Json, self.http.post("/studio/folder", data={"path": names}, files=files).json())

    def render(self, scene: Json, **chosen: Any) -> Json:
        """Queue a small render of a scene as `send_folder` answers it."""
        engine = next(one for one in self.ask("begin")["engines"] if one["name"] == "nano")
        settings = {**engine["defaults"], "seed": "7", "num_inference_steps": 2, **chosen}
        return self.ask(
            "render", scene=scene["scene"], prompt=scene["prompt"], settings=settings, title="Mine", allow_unbound=True
        )

    def finished(self, job: str, patience_s: float = PATIENCE_S) -> Json:
        """Wait until a job has ended; its view."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            found = next((one for one in self.ask("look")["jobs"] if one["id"] == job), None)
            if found is not None and found["state"] in ("done", "failed", "cancelled"):
                return cast(Json, found)
            time.sleep(0.2)
        raise AssertionError(f"the render {job} did not end")

    def close(self) -> None:
        """Let go of the connection."""
        self.http.close()
