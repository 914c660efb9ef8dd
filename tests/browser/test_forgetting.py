"""Deleting a person from the page: what is kept is listed, and then it is gone, on every page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.acts import render
from tests.browser.pictures import drop, photograph
from tests.browser.serving import Server
from tests.browser.test_board import choose, prompt, start_empty


@pytest.mark.parametrize("clips", [True, False], ids=["with-clips", "clips-stay"])
def test_a_person_is_deleted_everywhere(
    page: Page, open_page: Callable[..., Page], server: Server, tmp_path: Path, clips: bool
) -> None:
    start_empty(page)
    colours = ("#a0522d", "#5b3a29") if clips else ("#8b4513", "#4b2a19")  # not the pictures of another test
    files = [photograph(tmp_path / name, colour=one) for name, one in zip(("Max.png", "Zoe.png"), colours, strict=True)]
    drop(page, files)
    for _ in files:
        page.get_by_role("dialog", name="Where is the face?").get_by_role("button", name="Use this box").click()
    expect(page.locator(".kind-subject")).to_have_count(2)
    page.get_by_role("button", name="Write it from the cast").first.click()
    expect(prompt(page)).to_have_value("Max and Zoe stand together.")
    choose(page, "Options of Subject 2", "Save as a preset")
    page.get_by_role("dialog", name="Save as a preset").get_by_label("Name of the preset").fill("Zoe")
    page.get_by_role("dialog", name="Save as a preset").get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".preset").filter(has_text="Zoe")).to_have_count(1)
    before = len(list(server.clips.glob("*.mp4")))
    render(page)
    ids: list[str] = page.evaluate(
        "[...document.querySelectorAll('.kind-subject:nth-of-type(2) .reference img')]"
        ".map(one => one.src.match(/picture\\/([0-9a-f]{64})/)[1])"
    )
    assert len(ids) == 1
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator(".kind-subject")).to_have_count(2)
    choose(page, "Options of Subject 2", "Delete this person")
    dialog = page.get_by_role("dialog", name="Delete a person")
    expect(dialog).to_contain_text("The picture in this box")
    expect(dialog).to_contain_text("“Zoe”, which holds nobody else")
    expect(dialog).to_contain_text("renders in the queue or among the earlier ones")
    if clips:
        dialog.get_by_label("made with this person, too").check()
    dialog.get_by_role("button", name="Delete for good").click()
    expect(dialog).to_be_hidden()
    expect(page.locator(".kind-subject")).to_have_count(1)
    expect(other.locator(".kind-subject")).to_have_count(1)
    expect(page.locator(".preset").filter(has_text="Zoe")).to_have_count(0)
    expect(page.get_by_role("status").filter(has_text="deleted from this computer")).to_be_visible()
    prompt(page).focus()
    for _ in range(8):
        page.keyboard.press("Control+z")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    expect(page.locator(".reference").filter(has=page.get_by_role("button", name="Picture of Zoe"))).to_have_count(0)
    page.wait_for_timeout(1200)  # both pages have saved by now what they remember
    stored = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")
    assert not any(one in stored for one in ids)
    names = [one.encode() for one in ids]
    left = [
        path
        for path in server.home.rglob("*")
        if path.is_file() and any(name in path.read_bytes() or name.decode() in path.name for name in names)
    ]
    assert left == []
    assert len(list(server.clips.glob("*.mp4"))) == before + (0 if clips else 1)
