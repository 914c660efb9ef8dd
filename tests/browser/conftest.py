"""A real server, a real Chromium, and two promises every page keeps: no error, nothing asked of the outside."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from studio.bench import CHROMIUM_FLAGS
from studio.browser import find_chromium
from tests.browser.acts import PATIENCE_MS, finish_renders
from tests.browser.scenes import write_pair
from tests.browser.serving import Server, start_server, stop_server
from tests.small_catalogue import CUTTER, DETECTOR, PACK, pack_of, write_catalogue
from tests.unit.loopback_hub import LoopbackHub, serving
from tests.unit.tiny_scrfd import write_detector


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One studio for most tests, with the tiny engine and one preset of its own, “Test pair”."""
    home = tmp_path_factory.mktemp("home")
    write_pair(home / "presets" / "test-pair")
    process, found = start_server(home, "--port", "8790")
    yield found
    assert stop_server(process) == 0


@dataclass(frozen=True)
class Supplied:
    """A studio of its own whose weights are small and come from a hub on the loopback."""

    server: Server
    hub: LoopbackHub
    detector: bytes
    network: bytes

    @property
    def models(self) -> Path:
        """Where its weights lie."""
        return self.server.home / "models"

    def install_detector(self) -> Path:
        """Put the face detector in place without a download."""
        path = self.models / "face-detection" / DETECTOR
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.detector)
        return path


@pytest.fixture(scope="session")
def supplied_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supplied]:
    """One studio for the tests of weights and faces."""
    home = tmp_path_factory.mktemp("supplied")
    write_pair(home / "presets" / "test-pair")
    detector = write_detector(tmp_path_factory.mktemp("detector") / DETECTOR).read_bytes()
    network = bytes(range(256)) * 4096
    contents = {PACK: pack_of(detector), DETECTOR: detector, CUTTER: network}
    hub = LoopbackHub("published/files", {PACK: contents[PACK], CUTTER: network})
    with serving(hub):
        write_catalogue(home, f"{hub.address}/{hub.repository}/resolve/main/", contents)
        process, found = start_server(home, "--port", "8795", without=("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
        yield Supplied(server=found, hub=hub, detector=detector, network=network)
        assert stop_server(process) == 0


@pytest.fixture
def supplied(supplied_studio: Supplied) -> Supplied:
    """That studio with no weights installed, and a hub in good order."""
    shutil.rmtree(supplied_studio.models, ignore_errors=True)
    (supplied_studio.server.home / "notices.json").unlink(missing_ok=True)
    hub = supplied_studio.hub
    hub.break_after, hub.refuse, hub.pause_s, hub.damage, hub.hold_at = None, 0, 0.0, b"", None
    hub.go_on.clear()
    hub.requests.clear()
    return supplied_studio


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    program = find_chromium()
    if program is None:
        pytest.fail("These tests need Chromium; on Debian: apt-get install chromium.")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Open the studio in a context of its own; at the end no page may have complained or asked the outside."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    pages: list[Page] = []

    def note_request(url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            complaints.append(f"request to {url}")

    def open_one(
        *, width: int = 1280, height: int = 900, dark: bool = False, server: Server = server, **more: Any
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **more
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: note_request(request.url))
        page.goto(server.url)
        page.get_by_role("region", name="Cast").locator("figure").first.wait_for()
        pages.append(page)
        return page

    yield open_one
    for page in pages:
        if not page.is_closed() and page.url.startswith(server.url):
            finish_renders(page)
            break
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """One page with the preset “Test pair” chosen."""
    page = open_page()
    page.get_by_role("radio", name="Test pair").check(force=True)
    page.get_by_role("region", name="Cast").get_by_text("Test pair", exact=True).wait_for()
    return page
