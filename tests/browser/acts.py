"""What a user does on the page, with waiting for what follows."""

from __future__ import annotations

import contextlib
import time

from playwright.sync_api import Page, TimeoutError, expect

from tests.browser.asking import Visitor
from tests.patience import PATIENCE_S

PATIENCE_MS = 180_000
"""How long a step may take on a machine that is busy with other things; on a free one it takes milliseconds."""


def taken(page: Page) -> None:
    """Wait until the studio has taken in the press of the button: until then another one says nothing new."""
    button = page.get_by_role("region", name="Render").locator("button.main")
    expect(button).not_to_have_attribute("aria-busy", "true", timeout=PATIENCE_MS)


def press_render(page: Page) -> None:
    """Press the button and wait until the new render is the one on show."""
    panel = page.get_by_role("region", name="Render")
    before = panel.get_attribute("data-job") or ""
    page.get_by_role("button", name="Render", exact=True).click()
    taken(page)
    expect(panel).not_to_have_attribute("data-job", before, timeout=PATIENCE_MS)


def render(page: Page) -> None:
    """Render what is on the page and wait for its clip."""
    press_render(page)
    expect(page.get_by_role("region", name="Render")).to_have_attribute("data-state", "done", timeout=PATIENCE_MS)
    expect(page.locator(".status")).to_contain_text("Finished")


def finish_renders(page: Page) -> None:
    """Leave no render behind for the next test, and no paused queue."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        remove = page.get_by_role("button", name="Remove")
        cancel = page.get_by_role("button", name="Cancel")
        resume = page.get_by_role("button", name="Resume queue")
        with contextlib.suppress(TimeoutError):  # a row may go between our look and our click
            if remove.count():
                remove.first.click(timeout=3000)
            elif cancel.is_visible():
                if cancel.is_enabled():
                    cancel.click(timeout=3000)
            elif resume.is_visible():
                resume.click(timeout=3000)
                # one click more, on the button that has turned round meanwhile, would hold the queue again
                resume.wait_for(state="hidden")
            else:
                return
        page.wait_for_timeout(300)
    raise AssertionError("a render could not be stopped")


def hold(page: Page) -> None:
    """Pause the queue while nothing is in it, which no button of the page does."""
    program = Visitor(page.url)
    assert program.ask("queue_pause", paused=True) == {"paused": True}
    program.close()
    page.get_by_text("The queue is paused").wait_for()


def right_edges(page: Page) -> list[float]:
    """Where the buttons end on the right, in pixels; the shelf of presets moves sideways and is left out.

    All are asked in one go: lists are drawn anew as news come in, and a button may be gone by the next look.
    """
    return page.locator(".lx button:not(.presets *)").evaluate_all(
        "buttons => buttons.map((button) => button.getBoundingClientRect().right)"
    )
