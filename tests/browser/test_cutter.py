"""Cutting things out of pictures, in a real browser: every gesture lands where it was made, and none is lost."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import psutil
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Locator, Page, expect

from tests.browser.scenes import write_pair
from tests.browser.serving import Server
from tests.browser.slow_cutter import SLOW_SIZE
from tests.browser.test_look import CONTRAST
from tests.patience import wait_until

Area = tuple[int, int, int, int]
GREEN = (20, 160, 40)
RED = (200, 30, 30)
COLOURS = (RED, (30, 40, 200), (230, 220, 40), (240, 240, 240), (200, 60, 200))


def picture(path: Path, size: tuple[int, int], *areas: Area, turned: bool = False) -> None:
    """Draw rectangles on green, the first one red; `turned`: on its side, with a note on how to put it upright."""
    image = Image.new("RGB", size, GREEN)
    for number, (x0, y0, x1, y1) in enumerate(areas):
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=COLOURS[number])
    if turned:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned right by a quarter
        image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    else:
        image.save(path, compress_level=1)


def open_picture(page: Page, folder: Path, size: tuple[int, int], *areas: Area, turned: bool = False) -> Locator:
    """Open a scene whose red coat is the picture, and the cutter on it; returns the dialog."""
    write_pair(folder)
    (folder / "subjects" / "1" / "red coat.png").unlink()
    picture(folder / "subjects" / "1" / "red coat.png", size, *areas, turned=turned)
    page.get_by_text("Use a folder of your own pictures").click()
    page.get_by_label("Path of a sample folder").fill(str(folder))
    page.get_by_label("Path of a sample folder").press("Enter")
    expect(page.get_by_role("region", name="Cast")).to_contain_text(folder.name.replace("-", " ").capitalize())
    return open_cutter(page)


def open_cutter(page: Page) -> Locator:
    page.get_by_role("button", name="Cut out red coat").click()
    dialog = page.get_by_role("dialog", name="Cut out: red coat")
    expect(dialog).to_have_attribute("data-ready", "built-in")
    return dialog


def shot(page: Page) -> tuple[np.ndarray[Any, Any], float, float, float]:
    """The canvas as it is seen: its pixels, its place on the page, screen pixels per page pixel."""
    box = page.locator("dialog canvas").bounding_box()
    assert box is not None
    with Image.open(io.BytesIO(page.locator("dialog canvas").screenshot())) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return pixels, box["x"], box["y"], pixels.shape[1] / box["width"]


def seen(page: Page, colour: tuple[int, int, int] = RED) -> tuple[float, float]:
    """Where on the page the middle of a colour is seen: independent of what the page computes."""
    pixels, left, top, dense = shot(page)
    rows, columns = np.nonzero(np.abs(pixels - np.array(colour)).max(axis=2) < 40)
    assert rows.size > 4
    return left + (columns.mean() + 0.5) / dense, top + (rows.mean() + 0.5) / dense


def tools(page: Page) -> Locator:
    """The cutter's tools; the board behind it has an undo of its own."""
    return page.get_by_role("toolbar", name="Tools")


def shown(dialog: Locator, steps: int) -> None:
    """Wait for the mask of so many gestures."""
    expect(dialog).to_have_attribute("data-shown", str(steps))


def finish(page: Page, server: Server) -> np.ndarray[Any, Any]:
    """Press Done; return the mask that the scene holds now, [H, W] uint8."""
    page.get_by_role("button", name="Done").click()
    expect(page.locator("dialog.cutter")).to_have_count(0)
    return mask_of_scene(page, server)


def mask_of_scene(page: Page, server: Server) -> np.ndarray[Any, Any]:
    """The mask under which the page shows the red coat now, [H, W] uint8."""
    shown_as = page.locator("figure img[alt$=': red coat']").get_attribute("src")
    assert shown_as is not None
    (mask,) = parse_qs(urlsplit(shown_as).query)["mask"]
    with Image.open(server.home / "pictures" / mask[:2] / f"{mask}.png") as image:
        return np.asarray(image)


def assert_is(mask: np.ndarray[Any, Any], size: tuple[int, int], *areas: Area, within: int = 3) -> None:
    """The mask is these areas, but for `within` px around their edges."""
    wanted = np.zeros(size[::-1], dtype=np.uint8)
    for x0, y0, x1, y1 in areas:
        wanted[y0:y1, x0:x1] = 1
    assert mask.shape == wanted.shape
    kernel = np.ones((2 * within + 1, 2 * within + 1), np.uint8)
    assert (mask[cv2.erode(wanted, kernel, borderValue=1) > 0] == 255).mean() > 0.998  # corners are a little round
    assert mask[cv2.dilate(wanted, kernel) == 0].max(initial=0) == 0


PLACES: dict[str, tuple[tuple[int, int], Area, dict[str, Any]]] = {
    "1.5 megapixels": ((1500, 1000), (1203, 101, 1290, 190), {}),
    "24 megapixels": ((6000, 4000), (351, 3203, 651, 3550), {}),
    "turned by EXIF": ((800, 1200), (603, 1001, 690, 1100), {}),
    "three to one": ((1800, 600), (1603, 51, 1700, 130), {}),
    "pixel ratio 2": ((1500, 1000), (203, 801, 290, 890), {"device_scale_factor": 2}),
    "narrow window": ((1500, 1000), (1203, 801, 1310, 899), {"width": 400, "height": 800}),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_click_lands_on_the_right_pixel(
    place: str, open_page: Callable[..., Page], server: Server, tmp_path: Path
) -> None:
    size, area, more = PLACES[place]
    page = open_page(**more)
    dialog = open_picture(page, tmp_path / "a-click", size, area, turned="EXIF" in place)
    expect(dialog).to_have_attribute("data-picture", f"{size[0]}x{size[1]}")
    page.mouse.click(*seen(page))
    shown(dialog, 1)
    assert_is(finish(page, server), size, area, within=2 + max(size) // 2000)
    coat = page.get_by_role("img", name="Attribute: red coat")
    expect(coat).to_have_attribute("src", re.compile("mask="))


def test_it_lands_there_after_zoom_and_pan_too(page: Page, server: Server, tmp_path: Path) -> None:
    size, area = (1500, 1000), (1203, 101, 1290, 190)
    dialog = open_picture(page, tmp_path / "zoomed", size, area)
    page.mouse.move(*seen(page))
    page.mouse.wheel(0, -500)
    page.wait_for_timeout(200)
    before = seen(page)
    page.keyboard.down("Space")
    page.mouse.move(*before)
    page.mouse.down()
    page.mouse.move(before[0] - 120, before[1] + 90, steps=4)
    page.mouse.up()
    page.keyboard.up("Space")
    wait_until(lambda: seen(page)[0] == pytest.approx(before[0] - 120, abs=3), "a picture that has moved")
    after = seen(page)
    assert after[0] == pytest.approx(before[0] - 120, abs=3)
    assert after[1] == pytest.approx(before[1] + 90, abs=3)
    expect(dialog).to_have_attribute("data-steps", "0")  # panning is no gesture
    page.mouse.click(*after)
    shown(dialog, 1)
    page.get_by_role("button", name="Fit").click()
    assert_is(finish(page, server), size, area)


def test_five_fast_clicks_all_count(page: Page, server: Server, tmp_path: Path) -> None:
    areas = tuple((60 + 150 * number, 200, 140 + 150 * number, 300) for number in range(5))
    dialog = open_picture(page, tmp_path / "five-clicks", SLOW_SIZE, *areas)
    for spot in [seen(page, colour) for colour in COLOURS]:
        page.mouse.click(*spot)
    expect(dialog).to_have_attribute("data-steps", "5")
    shown(dialog, 5)
    assert_is(finish(page, server), SLOW_SIZE, *areas)


def test_leaving_out_undo_and_redo(page: Page, server: Server, tmp_path: Path) -> None:
    left, right = (100, 100, 300, 300), (500, 100, 700, 300)
    dialog = open_picture(page, tmp_path / "two-things", (900, 450), left, right)
    red, blue = seen(page), seen(page, COLOURS[1])
    expect(page.get_by_role("button", name="Done")).to_be_disabled()
    page.mouse.click(*red, button="right")  # there is nothing to leave out yet
    expect(dialog).to_contain_text("first click what to keep")
    page.mouse.click(*red)
    page.mouse.click(*blue)
    shown(dialog, 2)
    page.keyboard.down("Alt")
    page.mouse.click(*red)
    page.keyboard.up("Alt")
    shown(dialog, 3)
    page.keyboard.press("Control+z")
    shown(dialog, 2)
    tools(page).get_by_role("button", name="Undo").click()
    shown(dialog, 1)
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+y")
    shown(dialog, 3)
    expect(tools(page).get_by_role("button", name="Redo")).to_be_disabled()
    assert_is(finish(page, server), (900, 450), right)


def test_a_box_the_brush_and_the_eraser(page: Page, server: Server, tmp_path: Path) -> None:
    area, size = (300, 150, 600, 350), (900, 450)
    dialog = open_picture(page, tmp_path / "by-hand", size, area)
    x, y = seen(page)
    scale = page.locator("dialog canvas").evaluate(
        "node => Math.min((node.clientWidth - 24) / 900, (node.clientHeight - 24) / 450)"
    )

    def drag(x0: float, y0: float, x1: float, y1: float) -> None:
        page.mouse.move(x + (x0 - 450) * scale, y + (y0 - 250) * scale)
        page.mouse.down()
        page.mouse.move(x + (x1 - 450) * scale, y + (y1 - 250) * scale, steps=6)
        page.mouse.up()

    drag(280, 130, 620, 370)
    shown(dialog, 1)
    page.keyboard.press("3")
    expect(page.get_by_role("button", name="Brush")).to_have_attribute("aria-pressed", "true")
    drag(700, 250, 800, 250)
    page.keyboard.press("4")
    drag(450, 250, 451, 250)
    shown(dialog, 3)
    mask = finish(page, server)
    assert mask[250, 690:810].min() == 255  # painted, as wide as it was drawn
    assert mask[250, 850] == 0
    assert mask[250, 450] == 0
    assert mask[160, 310] == mask[340, 590] == 255
    radius = 18 / scale
    column = np.flatnonzero(mask[:, 750])
    assert column[-1] - column[0] + 1 == pytest.approx(2 * radius, abs=4)


def test_closing_loses_nothing_and_reloading_neither(page: Page, server: Server, tmp_path: Path) -> None:
    left, right = (100, 100, 300, 300), (500, 100, 700, 300)
    dialog = open_picture(page, tmp_path / "come-back", (900, 450), left, right)
    blue = seen(page, COLOURS[1])
    page.mouse.click(*seen(page))
    shown(dialog, 1)
    page.keyboard.press("Escape")
    expect(page.locator("dialog.cutter")).to_have_count(0)
    expect(page.get_by_role("button", name="Cut out red coat")).to_be_focused()
    dialog = open_cutter(page)
    shown(dialog, 1)
    page.keyboard.press("Escape")
    page.reload()
    dialog = open_cutter(page)
    shown(dialog, 1)
    assert_is(finish(page, server), (900, 450), left)
    dialog = open_cutter(page)  # cutting again goes on from there
    shown(dialog, 1)
    page.mouse.click(*blue)
    shown(dialog, 2)
    assert_is(finish(page, server), (900, 450), left, right)
    page.evaluate("sessionStorage.removeItem('lumosx-cuts')")
    page.reload()
    dialog = open_cutter(page)  # the gestures are forgotten, the mask is not
    shown(dialog, 0)
    page.get_by_label("Fill holes").check()
    assert_is(finish(page, server), (900, 450), left, right)


def test_with_the_keyboard_alone(page: Page, server: Server, tmp_path: Path) -> None:
    area = (400, 180, 520, 290)
    dialog = open_picture(page, tmp_path / "by-keyboard", (900, 450), area)
    expect(page.locator("dialog canvas")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    shown(dialog, 1)
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("2")
    page.keyboard.press("Space")
    shown(dialog, 2)
    page.keyboard.press("Enter")
    expect(page.locator("dialog.cutter")).to_have_count(0)
    assert_is(mask_of_scene(page, server), (900, 450), area)


def test_by_touch(open_page: Callable[..., Page], server: Server, tmp_path: Path) -> None:
    page = open_page(width=400, height=800, has_touch=True)
    left, right = (100, 100, 300, 300), (500, 100, 700, 300)
    dialog = open_picture(page, tmp_path / "by-touch", (900, 450), left, right)
    red, blue = seen(page), seen(page, COLOURS[1])
    page.touchscreen.tap(*red)
    page.touchscreen.tap(*blue)
    shown(dialog, 2)
    page.get_by_role("button", name="Leave out").tap()
    page.touchscreen.tap(*red)
    shown(dialog, 3)
    assert_is(finish(page, server), (900, 450), right)


def test_a_soft_edge_and_what_the_model_gets(page: Page, server: Server, tmp_path: Path) -> None:
    area = (300, 100, 600, 350)
    dialog = open_picture(page, tmp_path / "soft-edge", (900, 450), area)
    expect(dialog.get_by_text("built-in cutter", exact=True)).to_be_visible()
    page.mouse.click(*seen(page))
    shown(dialog, 1)
    page.get_by_label("Soft edge").fill("20")
    expect(dialog).to_have_attribute("data-state", "[1,20,false]")
    preview = dialog.get_by_role("img", name="The cut-out on white, as the model gets it")
    ratio = preview.evaluate("async image => (await image.decode(), image.naturalWidth / image.naturalHeight)")
    assert ratio == pytest.approx(300 / 250, rel=0.03)
    mask = finish(page, server)
    assert mask[220, 450] == 255
    assert 0 < mask[220, 308] < 255
    assert mask[220, 297] == 0


def test_what_it_is_and_whose_it_is_are_said_beside_the_picture(page: Page, server: Server, tmp_path: Path) -> None:
    left, right = (100, 100, 300, 300), (500, 100, 700, 300)
    dialog = open_picture(page, tmp_path / "whose", (900, 450), left, right)
    page.mouse.click(*seen(page))
    shown(dialog, 1)
    what, whose = dialog.get_by_label("What is it?"), dialog.get_by_label("Belongs to")
    expect(what).to_have_value("red coat")
    what.fill("scarlet coat")
    what.press("Control+z")  # the field's own undo: the gestures stay
    expect(what).to_have_value("red coat")
    expect(dialog).to_have_attribute("data-steps", "1")
    what.fill("scarlet coat")
    whose.select_option(label="Subject 2: woman")
    dialog.get_by_role("button", name="Done").click()
    expect(dialog).to_be_hidden()
    woman = page.get_by_role("region", name="Subject 2")
    expect(woman.locator("textarea.label").last).to_have_value("scarlet coat")
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(re.compile("scarlet coat"))
    cast = page.get_by_role("region", name="Cast")
    cast.get_by_role("button", name="Undo").click()  # one step
    expect(page.get_by_role("region", name="Subject 1").locator("textarea.label").last).to_have_value("red coat")
    cast.get_by_role("button", name="Redo").click()
    expect(woman.locator("textarea.label")).to_have_count(3)
    for number in range(2):  # more things of the same photograph: each begins with no gestures
        page.get_by_role("button", name="Options of scarlet coat").click()
        page.get_by_role("menuitem", name="Cut something else out of it").click()
        more = page.get_by_role("dialog", name="Cut out: something else")
        expect(more).to_have_attribute("data-ready", "built-in")
        expect(more).to_have_attribute("data-steps", "0")
        expect(more.get_by_label("Belongs to")).to_have_value(re.compile("."))
        if number:
            more.get_by_label("Belongs to").select_option("objects")
        page.mouse.click(*seen(page, COLOURS[1]))
        shown(more, 1)
        more.get_by_label("What is it?").fill(("blue bag", "kite")[number])
        page.keyboard.press("Enter")
        expect(more).to_be_hidden()
    assert [one.input_value() for one in woman.locator("textarea.label").all()][1:] == [
        "green dress",
        "scarlet coat",
        "blue bag",
    ]
    expect(page.get_by_role("region", name="Object 2").get_by_role("textbox")).to_have_value("kite")
    bag = woman.get_by_role("img", name="Attribute: blue bag").get_attribute("src")
    assert bag is not None
    (mask,) = parse_qs(urlsplit(bag).query)["mask"]
    with Image.open(server.home / "pictures" / mask[:2] / f"{mask}.png") as image:
        assert_is(np.asarray(image), (900, 450), right)


def test_boxed_cut_out_dragged_to_a_subject_undone_and_redone(page: Page, server: Server, tmp_path: Path) -> None:
    size, area = (900, 450), (300, 150, 600, 350)
    dialog = open_picture(page, tmp_path / "all-hands", size, area)
    x, y = seen(page)
    scale = page.locator("dialog canvas").evaluate(
        "node => Math.min((node.clientWidth - 24) / 900, (node.clientHeight - 24) / 450)"
    )
    page.mouse.move(x - 170 * scale, y - 120 * scale)
    page.mouse.down()
    page.mouse.move(x + 170 * scale, y + 120 * scale, steps=6)
    page.mouse.up()
    shown(dialog, 1)
    assert_is(finish(page, server), size, area)
    coat = page.locator(".reference", has=page.get_by_role("button", name="Picture of red coat"))
    first, second = (page.get_by_role("region", name=f"Subject {number}") for number in (1, 2))
    cut = coat.locator("img").get_attribute("src")
    assert cut is not None
    coat.drag_to(second.get_by_role("button", name="Picture of woman"))
    expect(second.locator(".reference")).to_have_count(3)
    expect(first.locator(".reference")).to_have_count(1)
    undo, redo = (page.get_by_role("region", name="Cast").get_by_role("button", name=name) for name in ("Undo", "Redo"))
    undo.click()
    expect(first.locator(".reference")).to_have_count(2)
    expect(coat.locator("img")).to_have_attribute("src", cut)
    undo.click()
    expect(coat.locator("img")).not_to_have_attribute("src", re.compile("mask="))
    redo.click()
    redo.click()
    expect(second.get_by_role("button", name="Picture of red coat")).to_be_visible()
    expect(coat.locator("img")).to_have_attribute("src", cut)
    assert_is(mask_of_scene(page, server), size, area)


def test_the_process_that_cuts_may_die(page: Page, server: Server, tmp_path: Path) -> None:
    area = (300, 100, 600, 350)
    dialog = open_picture(page, tmp_path / "it-dies", (900, 450), area)
    spot = seen(page)
    for child in psutil.Process(server.pid).children():
        if "tests.browser.slow_cutter" in child.cmdline():
            os.kill(child.pid, signal.SIGKILL)
    page.mouse.click(*spot)
    shown(dialog, 1)
    assert_is(finish(page, server), (900, 450), area)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read_and_nothing_sticks_out(open_page: Callable[..., Page], tmp_path: Path, dark: bool) -> None:
    page = open_page(width=400, height=800, dark=dark)
    dialog = open_picture(page, tmp_path / "narrow-one", (900, 450), (300, 100, 600, 350))
    contrasts: list[tuple[float, str]] = page.evaluate(
        CONTRAST, "dialog :is(h2, h2 span, p.quiet, button:enabled, label, .tag)"
    )
    assert len(contrasts) > 12
    assert [what for ratio, what in contrasts if ratio < 4.5] == []
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 400
    for button in dialog.get_by_role("button").all():
        box = button.bounding_box()
        assert box is None or (box["x"] >= 0 and box["x"] + box["width"] <= 400)


def test_hostile_names_stay_text(page: Page, tmp_path: Path) -> None:
    label = "<img src=x onerror=window.hacked=1>"
    write_pair(tmp_path / "hostile", f"A man in {label} and a woman.")
    coat = tmp_path / "hostile" / "subjects" / "1" / "red coat.png"
    coat.rename(coat.with_name(f"{label}.png"))
    page.get_by_text("Use a folder of your own pictures").click()
    page.get_by_label("Path of a sample folder").fill(str(tmp_path / "hostile"))
    page.get_by_label("Path of a sample folder").press("Enter")
    expect(page.get_by_role("region", name="Cast")).to_contain_text("Hostile")
    page.get_by_role("button", name="Cut out <img").click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(f"Cut out {label}")
    expect(page.get_by_role("dialog")).to_have_attribute("data-ready", "built-in")
    assert page.evaluate("window.hacked") is None
