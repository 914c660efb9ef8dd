"""Makes the pictures of the documentation: `python -m tests.browser.screenshots [PRESET]`.

A real studio on an empty data home, the built-in model, the first built-in preset (or the one named), a fixed seed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from engine.errors import UserError
from engine.weights import locate
from studio.bench import CHROMIUM_FLAGS
from studio.browser import find_chromium
from tests.browser.serving import ROOT, start_server, stop_server

FOLDER = ROOT / "docs" / "screenshots"
SEED = "7"
RENDER_MS = 180_000


def take(browser: Browser, url: str, preset: str | None) -> None:
    """Render once and write all pictures."""
    page = _open(browser, url, dark=False)
    if preset is not None:
        page.get_by_role("radio", name=preset).check(force=True)
        page.wait_for_timeout(500)
    page.get_by_label("Keep this seed").check()
    page.get_by_label("Seed", exact=True).fill(SEED)
    page.get_by_role("button", name="Render", exact=True).click()
    page.locator(".stage video").wait_for(timeout=RENDER_MS)
    _show(page, FOLDER / "studio.png")
    page.locator(".stage").screenshot(path=FOLDER / "nano-clip.png")
    dark = _open(browser, url, dark=True)
    dark.locator(".stage video").wait_for()
    _show(dark, FOLDER / "studio-dark.png")


def _open(browser: Browser, url: str, *, dark: bool) -> Page:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    page.goto(url)
    page.get_by_role("region", name="Cast").locator("figure").first.wait_for()
    return page


def _show(page: Page, path: Path) -> None:
    page.wait_for_function("document.querySelector('.stage video').readyState >= 2")  # its length is known only then
    page.locator(".stage video").evaluate(
        "video => new Promise(done => { video.pause(); video.controls = false; video.onseeked = done;"
        " video.currentTime = video.duration / 2; })"
    )
    page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => null)))")
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)  # the button under the mouse fades back
    page.screenshot(path=path)


def main() -> int:
    """Take the pictures; 2 where the built-in model is not installed."""
    try:
        locate("nano")
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        process, server = start_server(Path(home), "--port", "8870", module="studio.app")
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(CHROMIUM_FLAGS))
                take(browser, server.url, sys.argv[1] if len(sys.argv) > 1 else None)
                browser.close()
        finally:
            stop_server(process)
    print(*sorted(str(path.relative_to(ROOT)) for path in FOLDER.glob("*.png")), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
