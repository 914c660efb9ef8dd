"""The models page: what is there is shown, what is missing comes at a click, goes on after a break, and is mended."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Supplied
from tests.browser.pictures import drop
from tests.small_catalogue import CUTTER, DETECTOR, PACK
from tests.unit.tiny_scrfd import group_photograph

FACES, SAM = "face-detection", "segment-anything"


@pytest.fixture
def page(open_page: Callable[..., Page], supplied: Supplied) -> Page:
    """The models page of a studio that has none but the built-in one."""
    page = open_page(server=supplied.server)
    open_models(page)
    return page


def open_models(page: Page) -> Locator:
    page.get_by_role("button", name=re.compile("^Models")).click()
    dialog = page.get_by_role("dialog", name="Models")
    expect(dialog.locator(".models-list .model")).to_have_count(5)
    return dialog


def model(page: Page, name: str) -> Locator:
    return page.locator(f"[data-model={name}]")


def press(row: Locator, name: str) -> None:
    row.get_by_role("button", name=name, exact=True).click()


def state(row: Locator, word: str) -> None:
    expect(row.locator(".tag")).to_have_text(word)


def test_it_says_what_is_there_what_is_missing_and_under_which_licence(page: Page, supplied: Supplied) -> None:
    dialog = page.get_by_role("dialog", name="Models")
    expect(dialog).to_contain_text(f"{supplied.models}, ")
    expect(dialog).to_contain_text(re.compile(r"\d+\.\d GB free"))
    state(model(page, "nano"), "Comes with the program")
    state(model(page, "lumosx"), "Not installed")
    expect(model(page, "lumosx")).to_contain_text("23.3 GB to download")
    expect(model(page, "lumosx")).to_contain_text("Licence: Apache-2.0")
    expect(model(page, FACES)).to_contain_text("Licence: Non-commercial research only")
    press(model(page, "lumosx"), "Download…")
    expect(model(page, "lumosx")).to_contain_text(
        re.compile(r"Needs 29\.1 GB of disk until it is ready; [\d.]+ GB are")
    )
    press(model(page, "lumosx"), "Not now")
    expect(model(page, "lumosx").get_by_role("button", name="Download…")).to_be_focused()
    assert supplied.hub.requests == []  # looking costs nothing


def test_a_licence_is_accepted_before_anything_is_fetched_and_then_faces_are_found(
    page: Page, supplied: Supplied, tmp_path: Path
) -> None:
    faces = model(page, FACES)
    press(faces, "Download…")
    start = faces.get_by_role("button", name="Start the download")
    expect(start).to_be_disabled()
    faces.get_by_role("checkbox", name="I accept this licence").check()
    start.click()
    state(faces, "Installed")
    expect(faces).to_contain_text("Installed.")
    assert (supplied.models / FACES / DETECTOR).read_bytes() == supplied.detector
    assert sorted(path.name for path in supplied.models.rglob("*") if path.is_file()) == [DETECTOR]  # no second copy
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Models")).to_be_focused()
    page.get_by_role("button", name="Start empty").click()
    drop(page, [group_photograph(tmp_path / "Both.png", [(3, 4), (12, 5)])])
    expect(page.locator(".kind-subject")).to_have_count(2)


def test_a_broken_download_goes_on_where_it_stopped(page: Page, supplied: Supplied) -> None:
    sam = model(page, SAM)
    supplied.hub.break_after = supplied.hub.hold_at = 300_000
    press(sam, "Download…")
    press(sam, "Start the download")
    state(sam, "Busy")
    bar = sam.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", re.compile("^[1-9]"))
    supplied.hub.refuse = 403
    supplied.hub.go_on.set()
    expect(sam).to_contain_text("The hub answered 403")
    expect(sam).to_contain_text(re.compile(r"1\.0 MB to download"))
    arrived = next((supplied.models / SAM).glob("*.part")).stat().st_size
    assert arrived == 300_000 < len(supplied.network)
    supplied.hub.refuse, supplied.hub.break_after, supplied.hub.hold_at = 0, None, None
    supplied.hub.requests.clear()
    press(sam, "Go on with the download…")
    expect(sam).to_contain_text("of it are here already")
    press(sam, "Start the download")
    state(sam, "Installed")
    assert supplied.hub.requests == [(CUTTER, arrived)]
    assert (supplied.models / SAM / CUTTER).read_bytes() == supplied.network


def test_a_download_is_stopped_survives_a_reload_and_goes_on(page: Page, supplied: Supplied) -> None:
    supplied.hub.pause_s = 2.0  # two minutes: however long the reload takes, it is still under way
    press(model(page, SAM), "Download…")
    press(model(page, SAM), "Start the download")
    expect(model(page, SAM).get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile("^[1-9]"))
    page.reload()
    page.get_by_role("region", name="Cast").locator("figure").first.wait_for()
    open_models(page)
    state(model(page, SAM), "Busy")  # it does not depend on the page
    press(model(page, SAM), "Stop")
    expect(model(page, SAM)).to_contain_text("Stopped. What has arrived is kept")
    supplied.hub.pause_s = 0.0
    press(model(page, SAM), "Go on with the download…")
    press(model(page, SAM), "Start the download")
    state(model(page, SAM), "Installed")
    assert supplied.hub.requests[-1][1] > 0


def test_a_damaged_file_is_found_and_only_it_is_fetched_again(page: Page, supplied: Supplied) -> None:
    sam, faces = model(page, SAM), model(page, FACES)
    supplied.install_detector()
    (supplied.models / SAM).mkdir(parents=True)
    (supplied.models / SAM / CUTTER).write_bytes(bytes(len(supplied.network)))  # of the right size
    state(sam, "Installed")
    press(sam, "Check")
    expect(sam).to_contain_text(f"Missing or damaged: {CUTTER}. Repair brings only what is needed")
    state(sam, "Damaged")
    expect(page.get_by_role("button", name="Models: one is damaged", include_hidden=True)).to_be_attached()
    press(faces, "Check")
    expect(faces).to_contain_text("Every file is whole.")
    press(sam, "Repair")
    state(sam, "Installed")
    expect(sam).to_contain_text("Whole again.")
    expect(sam.locator(".notice.fault:visible")).to_have_count(0)
    assert supplied.hub.requests == [(CUTTER, 0)]
    assert (supplied.models / SAM / CUTTER).read_bytes() == supplied.network


def test_a_file_at_hand_is_used_by_its_path_or_copied(page: Page, supplied: Supplied, tmp_path: Path) -> None:
    sam, faces = model(page, SAM), model(page, FACES)
    (tmp_path / CUTTER).write_bytes(supplied.network)
    press(sam, "I already have the file…")
    path = sam.get_by_role("textbox", name="Path of the file")
    path.fill(str(tmp_path / "nowhere"))
    press(sam, "Use it")
    expect(sam).to_contain_text("nowhere; check the path.")
    path.fill(str(tmp_path / CUTTER))
    path.press("Enter")
    state(sam, "Installed")
    assert (supplied.models / SAM / CUTTER).stat().st_ino == (tmp_path / CUTTER).stat().st_ino
    press(faces, "I already have the file…")
    faces.get_by_role("checkbox", name="I accept this licence").check()
    (tmp_path / "own.onnx").write_bytes(supplied.detector)
    with page.expect_file_chooser() as chooser:
        press(faces, "Choose a file to copy…")
    chooser.value.set_files(tmp_path / "own.onnx")
    state(faces, "Installed")
    assert sorted(one.name for one in supplied.models.rglob("*") if one.is_file() and one.suffix == ".onnx") == [
        DETECTOR
    ]
    expect(faces).to_contain_text("Installed.")
    assert supplied.hub.requests == []
    press(faces, "Remove…")
    press(faces, "Keep it")
    press(faces, "Remove…")
    press(faces, "Remove it")
    state(faces, "Not installed")
    expect(faces).to_contain_text("Removed.")
    assert not (supplied.models / FACES).exists()


def test_another_file_is_refused_in_a_sentence(page: Page, supplied: Supplied, tmp_path: Path) -> None:
    faces = model(page, FACES)
    (tmp_path / "cat.onnx").write_bytes(bytes(len(supplied.detector)))
    press(faces, "I already have the file…")
    faces.get_by_role("checkbox", name="I accept this licence").check()
    faces.get_by_role("textbox", name="Path of the file").fill(str(tmp_path / "cat.onnx"))
    press(faces, "Use it")
    expect(faces).to_contain_text("neither is nor holds det_500m.onnx or det_10g.onnx as it was published")
    state(faces, "Not installed")


def test_it_works_with_the_keyboard_alone(open_page: Callable[..., Page], supplied: Supplied) -> None:
    page = open_page(server=supplied.server)
    page.get_by_role("button", name="Models").press("Enter")
    expect(page.get_by_role("button", name="Close")).to_be_focused()
    expect(model(page, FACES)).to_be_visible()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate(f"document.activeElement.matches('[data-model={FACES}] button')"):
            break
    page.keyboard.press("Enter")
    expect(model(page, FACES).get_by_role("checkbox")).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(model(page, FACES).get_by_role("button", name="Start the download")).to_be_focused()
    page.keyboard.press("Enter")
    state(model(page, FACES), "Installed")
    assert supplied.hub.requests[0] == (PACK, 0)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Models")).to_be_hidden()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_telephone_and_can_be_read(open_page: Callable[..., Page], supplied: Supplied, dark: bool) -> None:
    from tests.browser.test_look import CONTRAST

    page = open_page(server=supplied.server, width=400, height=800, dark=dark)
    open_models(page)
    press(model(page, FACES), "Download…")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    dialog = page.locator("dialog.models")
    assert dialog.evaluate("one => one.scrollWidth <= one.clientWidth")
    contrasts: list[tuple[float, str]] = page.evaluate(CONTRAST, ".models :is(h2, h3, p, .tag, button, label)")
    assert len(contrasts) > 15
    assert [what for ratio, what in contrasts if ratio < 4.5] == []
