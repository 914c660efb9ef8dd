"""Makes the pictures of the documentation: `python -m tests.browser.screenshots [PRESET]`.

A real studio on an empty data home, the built-in model, the first built-in preset (or the one named), fixed seeds. One
page does what a creator would do, from the first clip to deleting a person, and is photographed on the way.
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from engine.errors import UserError
from engine.weights import locate
from studio.bench import CHROMIUM_FLAGS
from studio.browser import find_chromium
from tests.browser.serving import ROOT, start_server, stop_server

FOLDER = ROOT / "docs" / "screenshots"
SEED = "7"
RENDER_MS = 300_000


@dataclass(frozen=True, slots=True)
class Tour:
    """A browser in front of a studio; every step leaves the page as a creator would leave it for the next."""

    browser: Browser
    url: str
    preset: str | None

    def take(self) -> None:
        """Write all pictures."""
        page = self.open()
        self.first_clip(page)
        self.looks()
        self.words(page)
        self.cutting(page)
        self.settings_and_queue(page)
        self.clips(page)
        self.windows(page)

    def open(self, *, dark: bool = False, locale: str = "en-GB", width: int = 1440, height: int = 900) -> Page:
        """A page in a context of its own, once the cast is there."""
        context = self.browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale=locale
        )
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(self.url)
        page.locator(".reference img").first.wait_for()
        return page

    def first_clip(self, page: Page) -> None:
        """The whole page with its first clip, and the clip alone."""
        if self.preset is not None:
            page.get_by_role("radio", name=self.preset).check(force=True)
            page.wait_for_timeout(500)
        page.get_by_label("Keep this seed").check()
        page.get_by_label("Seed", exact=True).fill(SEED)
        _render(page)
        _pause(page)
        _shoot(page, "studio")
        page.locator(".stage").screenshot(path=FOLDER / "nano-clip.png")

    def looks(self) -> None:
        """The same page in the dark, in Chinese and on a telephone."""
        for name, page in (
            ("studio-dark", self.open(dark=True)),
            ("studio-chinese", self.open(locale="zh-CN")),
            ("studio-telephone", self.open(width=400, height=860)),
        ):
            if name == "studio-telephone":  # the clip is far below
                page.locator(".kind-subject").first.scroll_into_view_if_needed()
            else:
                _pause(page)
            _shoot(page, name)
            page.context.close()

    def words(self, page: Page) -> None:
        """The prompt: words in the colours of whom they mean, and what to mend with one click."""
        before = page.get_by_role("textbox", name="Prompt").input_value()
        page.get_by_role("textbox", name="Prompt").fill(
            "A man with red hair in a jacket dances in a park; the woman claps her hands."
        )
        section = page.get_by_role("region", name="Prompt")
        section.get_by_role("button", name=re.compile("^Insert")).first.wait_for()
        section.scroll_into_view_if_needed()
        _shoot(section, "prompt")
        page.get_by_role("textbox", name="Prompt").fill(before)

    def cutting(self, page: Page) -> None:
        """A garment cut out by one click in its middle."""
        page.get_by_role("button", name="Cut out blue jacket").click()
        dialog = page.get_by_role("dialog", name="Cut out: blue jacket")
        expect(dialog).to_have_attribute("data-ready", "built-in")
        area = dialog.locator("canvas").first.bounding_box()
        assert area is not None
        page.mouse.click(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
        expect(dialog.get_by_role("button", name="Done")).to_be_enabled()
        page.wait_for_timeout(1500)
        _shoot(page, "cutting")
        dialog.get_by_role("button", name="Close").click()

    def settings_and_queue(self, page: Page) -> None:
        """Every setting, and several renders of which one is under way."""
        page.get_by_text("More settings", exact=True).click()
        page.get_by_text("Quicker drafts", exact=True).click()
        panel = page.get_by_role("region", name="Render")
        page.get_by_label("How many").select_option(index=2)
        page.get_by_role("button", name="Render", exact=True).click()
        expect(page.get_by_role("region", name="Render")).to_have_attribute("data-state", "running")
        page.locator(".stage img").wait_for()
        page.wait_for_timeout(2500)
        _shoot(panel, "rendering")
        expect(panel).to_have_attribute("data-state", "done", timeout=RENDER_MS)
        expect(page.get_by_role("region", name="Your clips").get_by_role("article")).to_have_count(4, timeout=RENDER_MS)
        page.get_by_label("How many").select_option(index=0)
        page.get_by_text("More settings", exact=True).click()
        page.get_by_text("Quicker drafts", exact=True).click()

    def clips(self, page: Page) -> None:
        """The gallery, a dress swap beside its original, and one clip with all that can be done to it."""
        gallery = page.get_by_role("region", name="Your clips")
        oldest = gallery.get_by_role("article").last
        oldest.get_by_role("button", name="Dress swap").click()
        both = page.get_by_role("dialog", name="Side by side")
        both.wait_for(timeout=RENDER_MS)
        page.wait_for_timeout(1500)
        _shoot(page, "dress-swap")
        both.get_by_role("button", name="Close").click()
        gallery.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        _shoot(gallery, "gallery")
        gallery.get_by_role("article").first.get_by_role("button", name=re.compile("^Play")).click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("Make a new clip of it").click()
        page.wait_for_timeout(800)
        _shoot(page, "clip")
        dialog.get_by_role("button", name="Close").click()

    def windows(self, page: Page) -> None:
        """What opens over the page: models, sharing, a face to be marked, deleting a person."""
        page.get_by_role("button", name=re.compile("^Models")).click()
        page.get_by_role("dialog", name="Models").wait_for()
        page.wait_for_timeout(800)
        _shoot(page, "models")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Share…").click()
        page.get_by_role("dialog", name="Share as a file").wait_for()
        page.wait_for_timeout(300)
        _shoot(page, "share")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Options of Subject 1").click()
        page.locator(".menu").get_by_role("menuitem", name="Delete this person").click()
        page.get_by_role("dialog", name="Delete a person").wait_for()
        page.wait_for_timeout(500)
        _shoot(page, "delete-a-person")
        page.keyboard.press("Escape")
        page.locator("input[type=file]").first.set_input_files(str(FOLDER / "nano-clip.png"))
        page.get_by_role("dialog", name="Where is the face?").wait_for()
        page.wait_for_timeout(500)
        _shoot(page, "face")


def _render(page: Page) -> None:
    page.get_by_role("button", name="Render", exact=True).click()
    page.locator(".stage video").wait_for(timeout=RENDER_MS)


def _pause(page: Page) -> None:
    """Stop the clip in its middle, so that the picture is the same every time."""
    page.wait_for_function("document.querySelector('.stage video')?.readyState >= 2")  # its length is known only then
    page.locator(".stage video").evaluate(
        "video => new Promise(done => { video.pause(); video.controls = false; video.onseeked = done;"
        " video.currentTime = video.duration / 2; })"
    )


def _shoot(what: Page | Locator, name: str) -> None:
    page = what if isinstance(what, Page) else what.page
    # pictures far below load only when one looks there, so that nobody may wait for them
    page.evaluate(
        "Promise.all([...document.images].filter(image => image.complete)"
        ".map(image => image.decode().catch(() => null)))"
    )
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)  # the button under the mouse fades back
    what.screenshot(path=FOLDER / f"{name}.png")


def main() -> int:
    """Take the pictures; 2 where the built-in model is not installed."""
    try:
        locate("nano")
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        process, server = start_server(Path(home), "--port", "8876", module="studio.app")
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(CHROMIUM_FLAGS))
                Tour(browser, server.url, sys.argv[1] if len(sys.argv) > 1 else None).take()
                browser.close()
        finally:
            stop_server(process)
    print(*sorted(str(path.relative_to(ROOT)) for path in FOLDER.glob("*.png")), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
