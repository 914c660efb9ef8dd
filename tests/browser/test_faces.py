"""Photographs with a face detector: every face a card, and the hand-drawn box where none is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.acts import render
from tests.browser.conftest import Supplied
from tests.browser.pictures import drop, photograph
from tests.patience import wait_until
from tests.unit.tiny_scrfd import BOX, CELL_PX, group_photograph

CONSENT = "A real person’s face needs that person’s consent."


@pytest.fixture
def page(open_page: Callable[..., Page], supplied: Supplied) -> Page:
    """An empty scene in a studio with a detector."""
    supplied.install_detector()
    page = open_page(server=supplied.server)
    page.get_by_role("button", name="Start empty").click()
    expect(page.get_by_text("Who is in your clip?")).to_be_visible()
    return page


def expect_people(page: Page, *names: str) -> None:
    faces = page.locator(".kind-subject .face textarea.label")
    expect(faces).to_have_count(len(names))
    for number, name in enumerate(names):
        expect(faces.nth(number)).to_have_value(name)


def widths(page: Page) -> list[int]:
    page.wait_for_function("[...document.querySelectorAll('.kind-subject .face img')].every(one => one.naturalWidth)")
    return page.locator(".kind-subject .face img").evaluate_all("all => all.map(one => one.naturalWidth)")


def test_two_faces_dropped_are_two_cards_without_a_box_to_draw(page: Page, tmp_path: Path) -> None:
    drop(page, [group_photograph(tmp_path / "Anna.png", [(6, 5)]), group_photograph(tmp_path / "Ben.png", [(12, 6)])])
    expect(page.locator(".kind-subject")).to_have_count(2)
    expect(page.locator(".busy")).to_be_hidden()
    expect_people(page, "Anna", "Ben")
    expect(page.get_by_role("dialog", name="Where is the face?")).to_be_hidden()
    face = BOX[2] - BOX[0]
    assert all(face < width < 1.4 * face for width in widths(page))  # tight, with a little of what is around
    page.get_by_role("button", name="Write it from the cast").first.click()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value("Anna and Ben stand together.")
    render(page)
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Who is in your clip?")).to_be_visible()


def test_a_group_photograph_is_several_people_from_left_to_right(page: Page, tmp_path: Path) -> None:
    noses = [(14, 5), (3, 4), (8, 6)]
    drop(page, [group_photograph(tmp_path / "Holiday.png", noses, turned=(1,))])
    expect(page.locator(".kind-subject")).to_have_count(3)
    expect_people(page, "first person", "second person", "third person")
    # the one on the left is the one that looks to the side
    expect(page.get_by_role("region", name="Subject 1")).to_contain_text("turned to the side")
    expect(page.get_by_role("region", name="Subject 2")).not_to_contain_text("turned to the side")
    page.get_by_role("button", name="Options of first person", exact=True).click()
    page.locator(".menu").get_by_role("menuitem", name="Draw the face box").click()
    dialog = page.get_by_role("dialog", name="Where is the face?")
    expect(dialog).to_be_visible()
    left = page.locator(".face-box").evaluate("one => parseFloat(one.style.left)")
    scale = page.locator(".face-stage img").evaluate("one => one.clientWidth / 640")
    assert left / scale == pytest.approx(3 * CELL_PX + BOX[0] - 20, abs=3)
    page.keyboard.press("Escape")


def test_where_no_face_is_found_the_box_is_drawn_by_hand_and_it_is_said_why(page: Page, tmp_path: Path) -> None:
    drop(page, [photograph(tmp_path / "Cat.png"), group_photograph(tmp_path / "Anna.png", [(6, 5)])])
    dialog = page.get_by_role("dialog", name="Where is the face?")
    expect(dialog).to_contain_text("No face was found in this picture. Draw the box by hand")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect_people(page, "Cat", "Anna")


def test_a_new_picture_for_a_face_takes_its_largest_face(page: Page, tmp_path: Path) -> None:
    drop(page, [group_photograph(tmp_path / "Anna.png", [(6, 5)])])
    expect(page.locator(".kind-subject")).to_have_count(1)
    page.get_by_role("button", name="Options of Anna", exact=True).click()
    with page.expect_file_chooser() as chooser:
        page.locator(".menu").get_by_role("menuitem", name="Replace the picture").click()
    chooser.value.set_files([group_photograph(tmp_path / "Both.png", [(3, 4), (12, 5)])])
    expect(page.locator(".busy")).to_be_hidden()
    page.wait_for_function("document.querySelector('.kind-subject .face img').naturalWidth < 200")
    expect(page.get_by_role("dialog", name="Where is the face?")).to_be_hidden()
    expect(page.locator(".kind-subject")).to_have_count(1)


def test_without_a_detector_or_with_a_damaged_one_the_box_is_drawn_by_hand(
    open_page: Callable[..., Page], supplied: Supplied, tmp_path: Path
) -> None:
    page = open_page(server=supplied.server)
    page.get_by_role("button", name="Start empty").click()
    dialog = page.get_by_role("dialog", name="Where is the face?")
    drop(page, [group_photograph(tmp_path / "Anna.png", [(6, 5)], (900, 416))])
    expect(dialog).to_be_visible()
    expect(dialog.locator(".notice")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    supplied.install_detector().write_bytes(bytes(len(supplied.detector)))
    drop(page, [group_photograph(tmp_path / "Ben.png", [(7, 5)], (900, 416))])
    expect(dialog).to_contain_text("is damaged: press Repair on the page's Models")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect_people(page, "Anna", "Ben")


def test_consent_is_said_once_and_remembered(open_page: Callable[..., Page], supplied: Supplied) -> None:
    page = open_page(server=supplied.server)
    note = page.get_by_role("note")
    expect(note).to_contain_text(CONSENT)
    note.get_by_role("button", name="Understood").press("Enter")
    expect(note).to_be_hidden()
    kept = supplied.server.home / "notices.json"
    wait_until(kept.exists, "a note of what was understood")
    assert kept.read_text() == '["consent"]'
    again = open_page(server=supplied.server)
    again.get_by_role("button", name="Models").wait_for()
    again.wait_for_timeout(500)
    expect(again.get_by_text(CONSENT)).to_be_hidden()
