"""New clips of old ones, files to take along, and clips that are dropped on the page."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from engine.clip import ClipWriter, read_recipe
from tests.browser.clips import FPS, HEIGHT, WIDTH, levels, seconds, write_clip
from tests.browser.pictures import drop
from tests.browser.scenes import PROMPT
from tests.browser.serving import Server
from tests.browser.test_gallery import PLAYING, choose, view


def make(page: Page, dialog: Locator, server: Server) -> Path:
    """Make the clip that is asked for and return its file; the viewer shows it then."""
    before = set(server.clips.glob("*.mp4"))
    button = dialog.get_by_role("button", name="Make the clip")
    expect(button).to_be_enabled()
    button.click()
    page.get_by_role("dialog", name="edited").wait_for()
    page.wait_for_function(PLAYING)
    (made,) = set(server.clips.glob("*.mp4")) - before
    return made


def test_a_part_is_cut_slowed_and_turned_back_to_the_frame(open_page: Callable[..., Page], server: Server) -> None:
    original = write_clip(server.clips, "cut-me", seed=601)
    content = original.read_bytes()
    page = open_page()
    dialog = view(page, "Cut me")
    dialog.get_by_text("Make a new clip of it").click()
    expect(dialog.get_by_role("button", name="Make the clip")).to_be_disabled()  # nothing would change yet
    strip = dialog.locator(".strip img")
    page.wait_for_function("image => image.complete && image.naturalWidth === 960", arg=strip.element_handle())
    dialog.get_by_role("slider", name="First frame").fill("4")
    dialog.get_by_role("slider", name="Last frame").fill("9")
    expect(dialog).to_contain_text("frames 5 to 10")
    page.wait_for_function(f"Math.floor(document.querySelector('dialog[open] video').currentTime * {FPS}) === 9")
    dialog.get_by_label("Speed").select_option("0.5")
    dialog.get_by_label("there and back").check()
    expect(dialog).to_contain_text("22 frames, 1.8 s")
    made = make(page, dialog, server)
    there = [4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]
    assert levels(made) == there + there[-2:0:-1]
    edited = read_recipe(made).edited
    assert edited is not None
    assert edited.steps == ("trimmed", "speed changed", "there and back")
    assert original.read_bytes() == content
    expect(page.get_by_role("dialog", name="Cut me edited")).to_contain_text("22 frames")
    expect(page.get_by_role("dialog", name="Cut me edited")).to_contain_text("edited: trimmed, speed changed")


def test_clips_are_joined_and_repeated(open_page: Callable[..., Page], server: Server) -> None:
    write_clip(server.clips, "behind", seed=611, num_frames=9)
    write_clip(server.clips, "in-front", seed=612, num_frames=5)
    page = open_page()
    dialog = view(page, "In front")
    dialog.get_by_text("Make a new clip of it").click()
    dialog.get_by_label("Times over").fill("2")
    dialog.get_by_role("button", name="Add a clip…").click()
    choose(page, "Behind")
    expect(dialog).to_contain_text("19 frames, 1.6 s")
    dialog.get_by_role("button", name="Leave out Behind").click()
    expect(dialog).to_contain_text("10 frames")
    dialog.get_by_role("button", name="Add a clip…").click()
    choose(page, "Behind")
    assert levels(make(page, dialog, server)) == [*range(5), *range(5), *range(9)]


def test_numbers_that_cannot_be_are_told_at_once(open_page: Callable[..., Page], server: Server) -> None:
    write_clip(server.clips, "too-often", seed=621)
    page = open_page()
    dialog = view(page, "Too often")
    dialog.get_by_text("Make a new clip of it").click()
    for typed, sentence in (("0", "choose from 1 to 50"), ("99", "choose from 1 to 50"), ("", "whole numbers")):
        dialog.get_by_label("Times over").fill(typed)
        expect(dialog.get_by_role("alert").filter(visible=True)).to_contain_text(sentence)
        expect(dialog.get_by_role("button", name="Make the clip")).to_be_disabled()
    dialog.get_by_label("Times over").fill("2")
    expect(dialog.get_by_role("alert").filter(visible=True)).to_have_count(0)
    expect(dialog).to_contain_text("50 frames")


def test_long_work_shows_how_far_it_is_and_can_be_stopped(open_page: Callable[..., Page], server: Server) -> None:
    write_clip(server.clips, "endless", seed=631, num_frames=49, times=6)
    page = open_page()
    dialog = view(page, "Endless")
    dialog.get_by_text("Make a new clip of it").click()
    dialog.get_by_label("Times over").fill("50")
    before = set(server.clips.iterdir())
    dialog.get_by_role("button", name="Make the clip").click()
    bar = dialog.get_by_role("progressbar")
    page.wait_for_function("bar => Number(bar.getAttribute('aria-valuenow')) > 0", arg=bar.element_handle())
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog.get_by_role("alert").filter(visible=True)).to_have_text("Cancelled; nothing was kept.")
    assert set(server.clips.iterdir()) == before


@pytest.mark.parametrize(("title", "ending"), [("GIF", "gif"), ("WebM", "webm"), ("MP4", "mp4")])
def test_a_saved_file_plays_exactly_as_long_as_the_clip(
    open_page: Callable[..., Page], server: Server, tmp_path: Path, title: str, ending: str
) -> None:
    write_clip(server.clips, f"take-{ending}-along", seed=641)
    page = open_page()
    dialog = view(page, f"Take {ending} along")
    dialog.get_by_label("File format").select_option(label=title)
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Save", exact=True).click()
    saved = tmp_path / f"saved.{ending}"
    download.value.save_as(saved)
    assert levels(saved) == list(range(25))
    assert seconds(saved) == pytest.approx(25 / FPS, abs=0.011)  # a gif counts hundredths of a second
    assert read_recipe(saved).request.settings.seed == 641


def test_frames_are_saved_as_a_zip_under_the_name_that_was_given(
    open_page: Callable[..., Page], server: Server, tmp_path: Path
) -> None:
    write_clip(server.clips, "as-pictures", seed=645, num_frames=5)
    page = open_page()
    dialog = view(page, "As pictures")
    dialog.get_by_label("Title").fill("Frames: 红 & more?")
    dialog.get_by_label("Title").press("Enter")
    dialog = page.get_by_role("dialog")  # its name is the new title by now, or soon
    expect(dialog.get_by_label("Title")).to_have_value("Frames: 红 & more?")
    dialog.get_by_label("File format").select_option(label="PNG frames (zip)")
    with page.expect_download() as download:
        page.get_by_role("dialog").get_by_role("button", name="Save", exact=True).click()
    assert download.value.suggested_filename == "Frames 红 & more.zip"
    download.value.save_as(tmp_path / "frames.zip")
    with zipfile.ZipFile(tmp_path / "frames.zip") as archive:
        assert len(archive.namelist()) == 5
        with archive.open(archive.namelist()[3]) as file, Image.open(file) as image:
            assert abs(np.asarray(image).mean() - 24) < 4


def test_a_clip_dropped_anywhere_opens_its_scene(page: Page, tmp_path: Path, server: Server) -> None:
    clip = write_clip(tmp_path / "elsewhere", "from-afar", seed=651, prompt=PROMPT + " They dance.")
    recipe = read_recipe(clip)
    gif = tmp_path / "also mine.gif"
    with ClipWriter(gif, width=WIDTH, height=HEIGHT, fps=FPS, recipe=recipe) as writer:
        writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    prompt = page.get_by_role("textbox", name="Prompt")
    cast = page.get_by_role("region", name="Cast")
    before = set(server.clips.glob("*"))
    for path, title, onto in ((clip, "From afar", ".gallery"), (gif, "Also mine", ".owner .tile")):
        drop(page, [path], onto=onto)
        expect(prompt).to_have_value(PROMPT + " They dance.")
        cast.get_by_text(title, exact=True).wait_for()
        expect(page.get_by_label("Seed", exact=True)).to_have_value("651")
        page.wait_for_function("[...document.querySelectorAll('.cast img')].every(image => image.naturalWidth > 0)")
        prompt.fill("Something else.")
    assert set(server.clips.glob("*")) == before
    page.get_by_role("button", name="Undo").first.click()
    expect(prompt).to_have_value(PROMPT + " They dance.")


def test_a_foreign_clip_is_named_and_the_scene_stays(page: Page, tmp_path: Path) -> None:
    ours = write_clip(tmp_path / "elsewhere", "cut-off", seed=661)
    half = tmp_path / "half.mp4"
    half.write_bytes(ours.read_bytes()[:900])
    bare = tmp_path / "bare.webm"
    bare.write_bytes(b"\x1aE\xdf\xa3 no film")
    odd = tmp_path / "odd.mov"
    shutil.copy(ours, odd)
    alert = page.get_by_role("region", name="Cast").get_by_role("alert").filter(visible=True)
    for path, sentence in ((half, "“half.mp4”"), (bare, "“bare.webm”"), (odd, "“odd.mov” is no clip of the studio")):
        drop(page, [path])
        expect(alert).to_contain_text(sentence)
        assert "tmp" not in alert.inner_text()
        alert.get_by_role("button").click()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(PROMPT)


def test_a_gif_that_is_none_of_ours_is_a_picture(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), "#c68642").save(tmp_path / "somebody.gif")
    people = page.get_by_role("region", name="Cast").get_by_role("heading", name="Subject")
    drop(page, [tmp_path / "somebody.gif"])
    expect(people).to_have_count(3)
