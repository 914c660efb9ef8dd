"""A studio's long day: renders, cancels, sent folders, reloads, visitors who go in the middle. Nothing grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, sync_playwright

from studio.bench import CHROMIUM_FLAGS
from studio.browser import find_chromium
from tests.browser.scenes import PROMPT, write_pair
from tests.browser.serving import Server, start_server, stop_server
from tests.browser.tiny_engine import SLOW
from tests.soak.calling import Caller, Json
from tests.soak.figures import Sample, complaints, look

RELOAD_EVERY = 4
NEW_PAGE_EVERY = 16
KEPT_CLIPS = 12
SETTLE_S = 30


class Day:
    """One studio, one caller, one browser."""

    def __init__(self, server: Server, folder: Path, open_page: Callable[[], Page]) -> None:
        self.server = server
        self.folder = folder
        self.caller = Caller(server.url)
        self.settings: Json = self.caller.ask(do="begin")["engines"][0]["defaults"]
        self._open_page = open_page
        self.page = self._open()

    def round(self, number: int) -> None:
        """Everything once: a folder comes in, a render is made, another is cancelled, and people leave."""
        caller = self.caller
        caller.hang_up_while_sending(self.folder)
        view = caller.send_folder(self.folder)
        caller.ask(do="revise", scene=view["scene"], prompt=f"{PROMPT} Round {number}.")
        made = self._render(view, f"{PROMPT} Round {number}.", number, steps=3)
        caller.hang_up_while_looking(-1)
        clip = caller.wait(made, "done")["clip"]
        caller.hang_up_while_fetching(clip["url"])
        slow = self._render(view, f"{PROMPT} They move {SLOW}.", number, steps=200)
        caller.wait(slow, "running", step=1)
        caller.hang_up_while_looking(caller.ask(do="look", version=-1, preview=None)["version"])
        if number % NEW_PAGE_EVERY == 0:
            self.page.context.close()  # closed while it shows a render
            self.page = self._open()
        elif number % RELOAD_EVERY == 0:
            self.page.reload()
            self.page.locator(".lx .cast figure").first.wait_for()
        caller.ask(do="cancel", job=slow)
        caller.wait(slow, "cancelled")
        self._tidy()

    def _open(self) -> Page:
        page = self._open_page()
        page.goto(self.server.url)
        page.locator(".lx .cast figure").first.wait_for()
        return page

    def _render(self, view: Json, prompt: str, seed: int, steps: int) -> str:
        answer = self.caller.ask(
            do="render", scene=view["scene"], prompt=prompt, title="Soak", allow_unbound=False,
            settings={**self.settings, "num_frames": 5, "num_inference_steps": steps, "seed": str(seed)},
        )  # fmt: skip
        return answer["job"]

    def _tidy(self) -> None:
        """Remove older clips, as somebody who tidies up does: what is kept on purpose is no leak."""
        clips = sorted(self.server.clips.glob("*.mp4"), key=lambda path: path.stat().st_mtime_ns)
        for path in clips[:-KEPT_CLIPS]:
            path.unlink()


def settled(process: psutil.Process, home: Path, temporary: Path) -> Sample:
    """A sample, once what the last visitors left behind is cleared away; at the latest after `SETTLE_S`."""
    deadline = time.monotonic() + SETTLE_S
    while (sample := look(process, home, temporary)).temporary + sample.half and time.monotonic() < deadline:
        time.sleep(0.1)
    return sample


def test_the_studio_does_not_wear_out(
    soak_rounds: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tell: Callable[[str, Sequence[Sample]], None],
) -> None:
    program = find_chromium()
    if program is None:
        pytest.fail("This test needs Chromium; on Debian: apt-get install chromium.")
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    temporary.mkdir()
    write_pair(tmp_path / "sent")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        with monkeypatch.context() as patch:
            patch.setenv("TMPDIR", str(temporary))  # of the server alone, so that all that lies there is its own
            process, server = start_server(home, "--port", "8910")
        samples: list[Sample] = []
        try:
            day = Day(server, tmp_path / "sent", lambda: _page_of_its_own(browser.new_context().new_page()))
            for number in range(1, soak_rounds + 1):
                day.round(number)
                samples.append(look(psutil.Process(server.pid), home, temporary))
            samples[-1] = settled(psutil.Process(server.pid), home, temporary)
            tell("studio", samples)
            day.page.context.close()
        finally:
            browser.close()
            code = stop_server(process)
    assert code == 0
    assert complaints(samples) == []
    assert "Traceback" not in (home / "said.txt").read_text(encoding="utf-8")


def _page_of_its_own(page: Page) -> Page:
    page.set_default_timeout(120_000)
    return page
