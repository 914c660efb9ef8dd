"""Rendering: from a preset to a playing clip, and everything that can happen on the way."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from playwright.sync_api import Page, expect

from engine.errors import WeightsError
from engine.paths import builtin_presets_dir
from engine.weights import locate
from tests.browser.acts import hold, press_render, render, taken
from tests.browser.pictures import drop
from tests.browser.scenes import PROMPT
from tests.browser.serving import ROOT, Server, environment, start_server, stop_server
from tests.browser.tiny_engine import BROKEN, SLOW, TOO_BIG
from tests.patience import PATIENCE_S


def render_slowly(page: Page, steps: int = 200) -> None:
    """Start a render of a quarter of a second per step: long enough to be met in the middle on any machine."""
    page.get_by_role("textbox", name="Prompt").fill(f"{PROMPT} They move {SLOW}.")
    page.get_by_label("Steps").fill(str(steps))
    press_render(page)


def status(page: Page) -> str:
    """Return what the run panel says."""
    return page.locator(".status .line").inner_text()


def test_from_a_preset_to_a_playing_clip_that_can_be_saved(page: Page, server: Server) -> None:
    page.get_by_label("Keep this seed").check()
    page.get_by_label("Seed", exact=True).fill("4711")
    render(page)
    video = page.locator(".stage video")
    video.wait_for()
    page.wait_for_function("(v => v && !v.paused && v.loop && v.videoWidth)(document.querySelector('.stage video'))")
    panel = page.get_by_role("region", name="Render")
    expect(panel).to_contain_text("built-in preview model")
    expect(panel).to_contain_text("seed 4711")
    first = page.get_by_role("region", name="Clips").get_by_role("article").first
    expect(first).to_contain_text("built-in preview model")
    expect(first).to_contain_text("seed 4711")
    for title, ending in (("MP4", "mp4"), ("GIF", "gif"), ("WebM", "webm")):
        panel.get_by_label("File format").select_option(label=title)
        with page.expect_download() as download:
            panel.get_by_role("button", name="Save").click()
        assert re.fullmatch(rf"\d{{8}}-\d{{6}}-test-pair-seed4711\.{ending}", download.value.suggested_filename)
        with av.open(str(download.value.path())) as container:
            assert container.streams.video[0].width == 128
    assert [path.suffix for path in server.clips.iterdir() if "4711" in path.name] == [".mp4"]


def test_a_clip_opens_as_the_scene_it_was_made_of(page: Page) -> None:
    page.get_by_label("Keep this seed").check()
    page.get_by_label("Seed", exact=True).fill("99")
    page.get_by_label("Steps").fill("3")
    page.get_by_role("textbox", name="Prompt").fill(PROMPT + " Once more.")
    render(page)
    first = page.get_by_role("region", name="Clips").get_by_role("article").first
    expect(first).to_contain_text("Once more.")
    page.get_by_label("Steps").fill("9")
    page.get_by_role("textbox", name="Prompt").fill("Something else.")
    first.get_by_role("button", name="Open its scene").click()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(PROMPT + " Once more.")
    expect(page.get_by_label("Steps")).to_have_value("3")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("99")


def test_cancel_keeps_nothing(page: Page, server: Server) -> None:
    before = set(server.clips.glob("*")) if server.clips.exists() else set[Path]()
    render_slowly(page)
    page.locator(".stage img").wait_for()
    assert page.locator(".stage img").get_attribute("src") is not None
    expect(page.locator(".status")).to_contain_text("step")
    expect(page.locator(".status")).to_contain_text("left")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".status")).to_contain_text("Cancelled")
    expect(page.get_by_role("button", name="Render", exact=True)).to_be_enabled()
    assert set(server.clips.glob("*")) == before


def test_a_reload_finds_the_running_render_again_and_two_tabs_see_the_same(
    page: Page, open_page: Callable[..., Page]
) -> None:
    render_slowly(page)
    page.locator(".stage img").wait_for()
    page.reload()
    page.locator(".stage img").wait_for()
    other = open_page()
    other.locator(".stage img").wait_for()
    assert "step" in status(page)
    assert "step" in status(other)
    page.get_by_role("button", name="Render next").click()
    expect(other.get_by_role("list", name="Queue").get_by_role("listitem")).to_have_count(2)
    other.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("list", name="Queue").get_by_role("listitem")).to_have_count(1)
    other.get_by_role("button", name="Cancel").click()
    expect(page.locator(".status")).to_contain_text("Cancelled")
    expect(other.locator(".status")).to_contain_text("Cancelled")


def test_a_render_outlives_its_page(page: Page, open_page: Callable[..., Page], server: Server) -> None:
    other = open_page()
    page.get_by_label("Keep this seed").check()
    page.get_by_label("Seed", exact=True).fill("31415")
    render_slowly(page, steps=4)
    page.close()
    expect(other.locator(".facts").first).to_contain_text("seed 31415")
    assert [path for path in server.clips.iterdir() if "seed31415" in path.name]


@pytest.mark.parametrize(("words", "sentence"), [(TOO_BIG, "choose a smaller one"), (BROKEN, "fault in the program")])
def test_a_failing_render_is_a_sentence_and_the_page_works_on(page: Page, words: str, sentence: str) -> None:
    prompt = page.get_by_role("textbox", name="Prompt")
    prompt.fill(f"{PROMPT} This {words}.")
    press_render(page)
    alert = page.get_by_role("region", name="Render").get_by_role("alert").filter(visible=True)
    expect(alert).to_contain_text(sentence)
    assert "secret" not in page.locator("body").inner_text()
    assert "Traceback" not in page.locator("body").inner_text()
    prompt.fill(PROMPT)
    render(page)
    expect(alert).to_have_count(0)


def test_a_bad_number_of_steps_is_told_under_its_field(page: Page) -> None:
    steps = page.get_by_label("Steps")
    for value, sentence in (("0", "the nearest is 1"), ("", "whole number")):
        steps.fill(value)
        page.get_by_role("button", name="Render", exact=True).click()
        expect(page.locator(".settings .field", has=steps).get_by_role("alert")).to_contain_text(sentence)
        expect(steps).to_be_focused()


def test_a_render_with_the_keyboard_alone(open_page: Callable[..., Page]) -> None:
    page = open_page()
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "radio":
            break
    assert page.evaluate("document.activeElement.name") == "lx-preset"
    for _ in range(40):
        if page.evaluate("document.activeElement.closest('label').innerText.includes('Test pair')"):
            break
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(PROMPT)
    for _ in range(90):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Render":
            break
    page.keyboard.press("Enter")
    expect(page.locator(".status")).to_contain_text("Finished")


def test_two_quick_clicks_and_a_held_key_are_one_render(page: Page) -> None:
    hold(page)
    button = page.get_by_role("region", name="Render").locator("button.main")
    box = button.bounding_box()
    assert box is not None
    rows = page.get_by_role("list", name="Queue").get_by_role("listitem")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for number in (1, 2):  # slower than the answer of the studio: the button is there again
        page.mouse.down(click_count=number)
        page.mouse.up(click_count=number)
        page.wait_for_timeout(300)
    expect(rows).to_have_count(1)
    taken(page)
    button.focus()
    for number, key in enumerate(("Enter", "Control+Enter"), start=2):
        modifier, _, last = key.rpartition("+")
        if modifier:
            page.keyboard.down(modifier)
        for _ in range(4):  # as a keyboard repeats it
            page.keyboard.down(last)
            page.wait_for_timeout(150)
        page.keyboard.up(last)
        if modifier:
            page.keyboard.up(modifier)
        expect(rows).to_have_count(number)
        taken(page)
    page.wait_for_timeout(500)
    expect(rows).to_have_count(3)


def test_a_second_start_finds_the_first(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "studio.app", "--no-browser", "--port", "8999"],
        cwd=ROOT, env=environment(server.home), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"The studio is already running: {server.url}"


def test_the_built_in_model_makes_a_clip_of_dropped_pictures(open_page: Callable[..., Page], tmp_path: Path) -> None:
    try:
        locate("nano")
    except WeightsError as error:
        pytest.skip(str(error))
    process, real = start_server(tmp_path, "--port", "8830", module="studio.app")
    try:
        page = open_page(server=real)
        page.get_by_role("button", name="Start empty").click()
        page.get_by_text("Who is in your clip?").wait_for()
        pictures = builtin_presets_dir() / "01-two-friends-in-the-park" / "subjects" / "1"
        drop(page, [pictures / "face_man with red hair.png"])
        page.get_by_role("region", name="Subject 1").wait_for()  # a crop already: no box is asked for
        drop(page, [pictures / "blue jacket.png"], ".kind-subject")
        page.get_by_role("img", name="Attribute: blue jacket").wait_for()
        page.get_by_role("button", name="Write it from the cast").first.click()
        expect(page.get_by_role("textbox", name="Prompt")).to_have_value(re.compile("red hair .* blue jacket"))
        page.get_by_label("Steps").fill("4")
        page.get_by_role("button", name="Render", exact=True).click()
        page.locator(".stage video").wait_for()
        expect(page.get_by_role("region", name="Render")).to_contain_text("built-in preview model")
        playing = "(v => v.videoWidth > 0 && !v.paused && v.currentTime > 0)(document.querySelector('.stage video'))"
        page.wait_for_function(playing)
        page.close()  # before its server: a page that finds nobody complains
    finally:
        assert stop_server(process) == 0
