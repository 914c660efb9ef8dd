"""Makes the pictures of the documentation: `python -m tests.browser.screenshots [PRESET]`.

A real studio on an empty data home, the built-in model, the first built-in preset (or the one named), a fixed seed.
"""

from __future__ import annotations

import re
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
    """Go through every screen once and write its picture."""
    page = _open(browser, url)
    if preset is not None:
        page.get_by_role("radio", name=preset).check(force=True)
        page.wait_for_timeout(500)
    page.get_by_label("Keep this seed").check()
    page.get_by_label("Seed", exact=True).fill(SEED)
    _press_render(page)
    page.locator(".stage img").wait_for(timeout=RENDER_MS)
    _shot(page, "render")
    _finished(page)
    _show(page, "studio")
    page.locator(".stage").screenshot(path=FOLDER / "nano-clip.png")
    _board(page)
    _clips(page)
    dark = _open(browser, url, dark=True)
    dark.locator(".stage video").wait_for()
    _show(dark, "studio-dark")
    _phone(browser, url)


def _press_render(page: Page) -> None:
    page.get_by_role("button", name="Render", exact=True).click()


def _finished(page: Page) -> None:
    page.locator(".lx section.panel[data-state=done]").wait_for(timeout=RENDER_MS)
    page.locator(".stage video").wait_for()


def _board(page: Page) -> None:
    """The cutter, the box of a face, the prompt's advice, the menus, the models and the empty board."""
    cast = page.get_by_role("region", name="Cast")
    worn = cast.locator("figure:not(.face)").first
    worn.get_by_role("button", name=re.compile("^Cut out ")).click()
    page.locator("dialog.cutter[data-ready]").wait_for()
    canvas = page.locator("dialog.cutter canvas").bounding_box()
    assert canvas is not None
    page.mouse.click(canvas["x"] + 0.42 * canvas["width"], canvas["y"] + 0.5 * canvas["height"])
    page.locator("dialog.cutter[data-shown='1']").wait_for()
    _shot(page, "cutter")
    page.keyboard.press("Escape")
    cast.get_by_role("button", name=re.compile("^Options of ")).nth(1).click()
    page.get_by_role("menuitem", name="Draw the face box").click()
    page.wait_for_function("document.querySelector('.face-stage img').naturalWidth > 0")
    _shot(page, "face-box")
    page.keyboard.press("Escape")
    worn.get_by_role("button", name=re.compile("^Options of ")).click()
    _shot(page, "menu")
    page.keyboard.press("Escape")
    prompt = page.get_by_role("textbox", name="Prompt")
    words = prompt.input_value()
    prompt.fill(words.replace("yellow dress", "dress"))
    page.locator(".problems button").first.wait_for()
    _shot(page, "prompt")
    prompt.fill(words)
    page.get_by_role("button", name=re.compile("^Models")).click()
    page.locator("dialog[open]").wait_for()
    _shot(page, "models")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Share…").click()
    _shot(page, "share")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Start empty").click()
    page.get_by_text("Who is in your clip?").wait_for()
    _shot(page, "empty-board")
    cast.get_by_role("button", name="Undo").click()
    cast.locator("figure").first.wait_for()


def _clips(page: Page) -> None:
    """The gallery, one clip large with its tools, and a dress swap side by side."""
    card = page.get_by_role("region", name="Clips").get_by_role("article").first
    card.get_by_role("button", name="Dress swap").click()
    both = page.get_by_role("dialog", name="Side by side")
    both.wait_for(timeout=RENDER_MS)
    page.wait_for_function("[...document.querySelectorAll('dialog.compare video')].every(one => one.readyState >= 2)")
    _shot(page, "dress-swap")
    page.keyboard.press("Escape")
    card.scroll_into_view_if_needed()
    _shot(page, "gallery")
    card.get_by_role("button", name=re.compile("^Play ")).click()
    page.get_by_text("Make a new clip of it").click()
    page.wait_for_function("document.querySelector('dialog[open] video').readyState >= 2")
    _shot(page, "clip")
    page.keyboard.press("Escape")


def _phone(browser: Browser, url: str) -> None:
    page = _open(browser, url, width=400, height=860)
    page.get_by_role("region", name="Cast").scroll_into_view_if_needed()
    _shot(page, "phone")


def _open(browser: Browser, url: str, *, dark: bool = False, width: int = 1440, height: int = 900) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(url)
    page.get_by_role("region", name="Cast").locator("figure").first.wait_for()
    return page


def _show(page: Page, name: str) -> None:
    page.wait_for_function("document.querySelector('.stage video').readyState >= 2")  # its length is known only then
    page.locator(".stage video").evaluate(
        "video => new Promise(done => { video.pause(); video.controls = false; video.onseeked = done;"
        " video.currentTime = video.duration / 2; })"
    )
    page.mouse.move(0, 0)
    _shot(page, name)


def _shot(page: Page, name: str) -> None:
    # those that load only in view would keep us waiting
    page.evaluate(
        "Promise.all([...document.images].filter(one => one.loading !== 'lazy')"
        ".map(one => one.decode().catch(() => null)))"
    )
    page.wait_for_timeout(300)  # the button under the mouse fades back
    page.screenshot(path=FOLDER / f"{name}.png")


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
