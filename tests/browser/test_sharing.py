"""One file to share: saved from the page, dropped on it again, kept as a preset, and refused when it is no scene."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.pictures import drop, photograph
from tests.browser.scenes import PROMPT
from tests.browser.test_board import choose, labels, prompt, start_empty, subject, undo


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Share as a file")


def save_to(page: Page, path: Path) -> str:
    """Press the dialog's button, keep what comes at `path` and return the name it was offered under."""
    with page.expect_download() as download:
        dialog(page).get_by_role("button", name="Save the file").click()
    download.value.save_as(path)
    expect(dialog(page)).to_be_hidden()
    return download.value.suggested_filename


def test_a_scene_goes_out_as_a_file_and_comes_back(page: Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="Share…").click()
    dialog(page).get_by_label("Name").fill("Two <b>friends</b>")
    assert save_to(page, tmp_path / "friends.lumosx") == "two-b-friends-b.lumosx"
    start_empty(page)
    drop(page, [tmp_path / "friends.lumosx"])
    expect(prompt(page)).to_have_value(PROMPT)
    expect(page.get_by_role("region", name="Cast")).to_contain_text("Two <b>friends</b>")
    assert labels(page, 2) == ["woman", "green dress"]
    page.wait_for_function("[...document.querySelectorAll('.reference img')].every(one => one.naturalWidth > 0)")
    undo(page)
    expect(page.get_by_text("Who is in your clip?")).to_be_visible()


def test_a_person_comes_along_to_another_scene_beside_a_photograph(page: Page, tmp_path: Path) -> None:
    choose(page, "Options of Subject 2", "Share as a file")
    expect(dialog(page).locator("select")).to_contain_text("Only subject 2: woman")
    save_to(page, tmp_path / "woman.lumosx")
    drop(page, [tmp_path / "woman.lumosx", photograph(tmp_path / "Straw Hat.png")], ".kind-subject:nth-of-type(1)")
    expect(page.locator(".kind-subject")).to_have_count(3)
    expect(subject(page, 3).get_by_label("Label of the face")).to_have_value("woman")
    expect(subject(page, 1).get_by_label("Label of the attribute").last).to_have_value("straw hat")
    assert prompt(page).input_value() == PROMPT


def test_dropped_on_the_presets_it_is_kept_there_twice_under_two_names(page: Page, tmp_path: Path) -> None:
    choose(page, "Options of the preset Test pair", "Share as a file")
    dialog(page).get_by_label("As a zip").check()
    dialog(page).get_by_label("Name").fill("Kept pair")
    assert save_to(page, tmp_path / "Kept pair.zip").endswith(".zip")
    with zipfile.ZipFile(tmp_path / "Kept pair.zip") as archive:
        assert any(name.endswith("subjects/1/face_man.png") for name in archive.namelist())
    drop(page, [tmp_path / "Kept pair.zip"], ".presets")
    shelf = page.get_by_role("region", name="Scene")
    drop(page, [tmp_path / "Kept pair.zip"], ".presets")
    expect(shelf.locator(".preset").filter(has_text="Kept pair")).to_have_count(2)
    for name in ("Kept pair 2", "Kept pair"):
        choose(page, f"Options of the preset {name}", "Delete")
        page.get_by_role("dialog", name="Delete a preset").get_by_role("button", name="Delete it").click()
        expect(shelf.locator(".preset").filter(has_text=name)).to_have_count(0)
    page.get_by_text("Use a folder of your own").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open a shared file").click()
    chooser.value.set_files(tmp_path / "Kept pair.zip")
    expect(page.locator(".kind-subject")).to_have_count(2)


def test_what_is_no_shared_file_is_named(page: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.lumosx").write_bytes(b"no zip")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../caption.txt", "x;y")
    drop(page, [tmp_path / "broken.lumosx", tmp_path / "evil.zip"])
    refused = page.locator(".refused")
    expect(refused).to_contain_text("“broken.lumosx” is no file to share scenes")
    expect(refused).to_contain_text("whose name is not safe")
    assert prompt(page).input_value() == PROMPT


def test_the_dialog_is_whole_on_a_telephone(open_page: Callable[..., Page]) -> None:
    page = open_page(width=400, height=800, dark=True)
    page.get_by_role("button", name="Share…").click()
    box = dialog(page).bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 400
    assert box["y"] + box["height"] <= 800
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
