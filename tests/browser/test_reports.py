"""The menu of the studio: a report to attach, and the visible mark on what is saved."""

from __future__ import annotations

import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.acts import PATIENCE_MS, press_render, render
from tests.browser.scenes import PROMPT
from tests.browser.test_queue import queue
from tests.browser.tiny_engine import BROKEN


def open_menu(page: Page, item: str) -> None:
    page.get_by_role("button", name="Menu of the studio").click()
    page.locator(".menu").get_by_role("menuitem", name=item).click()


def test_a_failed_render_is_reported_without_words_or_pictures(page: Page, tmp_path: Path) -> None:
    page.get_by_role("textbox", name="Prompt").fill(f"{PROMPT} It {BROKEN}.")
    press_render(page)
    failed = queue(page).locator("[data-state=failed]")
    failed.get_by_role("button", name="Report the failure").click()
    dialog = page.get_by_role("dialog", name="Report a problem")
    expect(dialog).to_contain_text("The error and the settings of “Test pair”")
    with page.expect_download(timeout=PATIENCE_MS) as download:
        dialog.get_by_role("button", name="Save the report").click()
    download.value.save_as(tmp_path / "report.zip")
    expect(dialog).to_be_hidden()
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(texts) >= {"read me.txt", "versions.txt", "log.txt", "machine.json", "render.json", "render log.txt"}
    assert "a secret of the program's inside" in texts["render log.txt"]
    assert "a secret of the program's inside" in texts["log.txt"]
    whole = "\n".join(texts.values())
    assert PROMPT not in whole
    assert "red coat" not in whole
    failed.get_by_role("button", name="Remove").click()


def test_saved_clips_are_marked_when_that_is_wished_for(page: Page) -> None:
    render(page)
    save = page.locator(".run-column .save")

    def saved() -> str:
        with page.expect_download() as download:
            save.get_by_role("button", name="Save", exact=True).click()
        return download.value.suggested_filename

    assert "-marked" not in saved()
    open_menu(page, "Mark saved clips visibly")
    assert saved().endswith("-marked.mp4")
    page.reload()
    page.locator(".stage video").wait_for()
    assert saved().endswith("-marked.mp4")
    open_menu(page, "Stop marking saved clips")
    assert "-marked" not in saved()
