"""The queue on the page: held, put in order, changed, tried again, and still there after the studio was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.acts import hold, press_render, taken
from tests.browser.scenes import PROMPT, write_pair
from tests.browser.serving import start_server, stop_server
from tests.browser.test_render import render_slowly, status
from tests.browser.tiny_engine import HURRY, SLOW, TOO_BIG

# Notes every step that the page shows from now on.
STEPS_FROM_NOW = """
() => {
  window.stepsSeen = [];
  const look = () => {
    const said = document.querySelector(".status .line").innerText.match(/step (\\d+) of/);
    if (said) window.stepsSeen.push(Number(said[1]));
  };
  const everything = { childList: true, characterData: true, subtree: true };
  new MutationObserver(look).observe(document.querySelector(".status"), everything);
}
"""


def queue(page: Page) -> Locator:
    """Return the list of what is still to be done."""
    return page.get_by_role("list", name="Queue")


def rows(page: Page) -> Locator:
    """Return its rows."""
    return queue(page).get_by_role("listitem")


def queue_one(page: Page, seed: int) -> None:
    """Put what is on the page into the queue with a seed of its own, and wait for its row."""
    page.get_by_label("Keep this seed").check()
    page.get_by_label("Seed", exact=True).fill(str(seed))
    page.get_by_role("region", name="Render").locator("button.main").click()
    taken(page)
    expect(queue(page)).to_contain_text(f"seed {seed}")


def seeds(page: Page) -> list[str]:
    """Return the seeds of the waiting rows in their order."""
    titles = queue(page).locator("[data-state=waiting] b").all_inner_texts()
    return [title.rsplit(" ", 1)[1] for title in titles]


def test_a_held_queue_is_put_in_order_with_the_keyboard_and_goes_on(page: Page, open_page: Callable[..., Page]) -> None:
    hold(page)
    for seed in (101, 102, 103):
        queue_one(page, seed)
    assert page.locator(".queue .job img").first.get_attribute("src")
    up = page.get_by_role("button", name="Move up “Test pair”, seed 103")
    up.focus()
    page.keyboard.press("Enter")
    expect(rows(page).nth(1)).to_contain_text("seed 103")
    expect(up).to_be_focused()  # so that it can be pressed again
    page.keyboard.press("Enter")
    expect(rows(page).nth(0)).to_contain_text("seed 103")
    page.get_by_role("button", name="Move down “Test pair”, seed 101").click()
    expect(rows(page).nth(2)).to_contain_text("seed 101")
    assert seeds(page) == ["103", "102", "101"]
    other = open_page()
    expect(rows(other)).to_have_count(3)
    assert seeds(other) == ["103", "102", "101"]
    other.get_by_role("button", name="Resume queue").click()
    expect(rows(page)).to_have_count(0)
    expect(page.locator(".facts").first).to_contain_text("seed 101")
    page.get_by_text("Earlier renders").click()
    earlier = page.get_by_role("list", name="Earlier renders").get_by_role("listitem")
    expect(earlier.nth(0)).to_contain_text("seed 101")
    expect(earlier.nth(2)).to_contain_text("seed 103")
    count = earlier.count()
    page.get_by_role("button", name="Remove “Test pair”, seed 102 from the list").click()
    expect(earlier).to_have_count(count - 1)


def test_a_waiting_render_is_edited_in_its_place(page: Page) -> None:
    hold(page)
    for seed in (201, 202):
        queue_one(page, seed)
    page.get_by_role("textbox", name="Prompt").fill(f"{PROMPT} Something else.")
    page.get_by_role("button", name="Edit “Test pair”, seed 201").click()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(PROMPT)
    page.get_by_text("You are changing “Test pair”").wait_for()
    page.get_by_role("textbox", name="Prompt").fill(f"{PROMPT} A change.")
    page.get_by_label("Seed", exact=True).fill("299")
    page.get_by_role("button", name="Save to the queue").click()
    expect(rows(page).nth(0)).to_contain_text("seed 299")
    assert seeds(page) == ["299", "202"]
    expect(page.get_by_role("button", name="Render", exact=True)).to_be_visible()
    page.get_by_role("button", name="Edit “Test pair”, seed 299").click()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(f"{PROMPT} A change.")
    page.get_by_role("button", name="Leave it as it was").click()
    expect(page.get_by_role("button", name="Render", exact=True)).to_be_visible()
    page.get_by_role("button", name="Resume queue").click()
    expect(rows(page)).to_have_count(0)


def test_a_failed_render_stays_with_its_sentence_and_leaves_the_rest(page: Page) -> None:
    prompt = page.get_by_role("textbox", name="Prompt")
    hold(page)
    prompt.fill(f"{PROMPT} This {TOO_BIG}.")
    queue_one(page, 301)
    prompt.fill(PROMPT)
    queue_one(page, 302)
    page.get_by_role("button", name="Resume queue").click()
    expect(page.locator(".facts").first).to_contain_text("seed 302")
    failed = queue(page).locator("[data-state=failed]")
    expect(failed).to_contain_text("choose a smaller one")
    with page.expect_download() as download:
        failed.get_by_role("button", name="Save the log").click()
    assert "choose a smaller one" in Path(download.value.path()).read_text(encoding="utf-8")
    failed.get_by_role("button", name="Open the scene").click()
    expect(prompt).to_have_value(f"{PROMPT} This {TOO_BIG}.")
    failed.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("region", name="Render")).to_have_attribute("data-state", "failed")
    expect(failed).to_have_count(1)
    failed.get_by_role("button", name="Remove").click()
    expect(rows(page)).to_have_count(0)


def test_a_stopped_render_goes_on_from_its_step(page: Page) -> None:
    render_slowly(page)
    page.locator(".stage img").wait_for()
    page.get_by_role("button", name="Stop for now").click()
    expect(page.locator(".status")).to_contain_text("Stopped after step")
    reached = int(status(page).rstrip(".").rsplit(" ", 1)[1])
    page.evaluate(STEPS_FROM_NOW)
    page.get_by_role("button", name="Go on").click()
    page.wait_for_function("window.stepsSeen.length > 2")
    assert min(page.evaluate("window.stepsSeen")) >= reached
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".status")).to_contain_text("Cancelled")


def test_a_killed_studio_has_its_queue_again_and_goes_on(open_page: Callable[..., Page], tmp_path: Path) -> None:
    write_pair(tmp_path / "presets" / "test-pair")
    process, first = start_server(tmp_path, "--port", "8870")
    page = open_page(server=first)
    page.get_by_role("radio", name="Test pair").check(force=True)
    page.get_by_role("region", name="Cast").get_by_text("Test pair", exact=True).wait_for()
    page.get_by_role("textbox", name="Prompt").fill(f"{PROMPT} They move {SLOW}.")
    page.get_by_label("Steps").fill("200")
    press_render(page)
    queue_one(page, 402)
    page.wait_for_function("document.querySelector('.status .line').innerText.match(/step ([5-9]|\\d\\d+) of/)")
    page.close()  # before its server: a page that finds nobody complains
    process.kill()
    process.wait()
    process, second = start_server(tmp_path, "--port", "8870")
    try:
        page = open_page(server=second)
        expect(page.get_by_role("region", name="Render")).to_have_attribute("data-state", "running")
        page.wait_for_function("document.querySelector('.status .line').innerText.match(/step/)")
        # The fifth was shown before the kill; at first there is what the queue noted last, which may be a step behind.
        assert int(status(page).split("step ")[1].split()[0]) >= 4
        expect(rows(page).filter(has_text="seed 402")).to_have_count(1)
        (tmp_path / HURRY).touch()
        expect(rows(page)).to_have_count(0)
        page.close()
    finally:
        assert stop_server(process) == 0
    assert len(list((tmp_path / "clips").glob("*.mp4"))) == 2
    assert not list((tmp_path / "unfinished").iterdir())


def test_variations_are_asked_for_at_once_and_stand_together(page: Page) -> None:
    hold(page)
    queue_one(page, 11)
    page.get_by_label("Seed", exact=True).fill("501")
    page.get_by_label("How many").select_option(label="3 clips")
    page.get_by_role("button", name="Render", exact=True).click()
    expect(rows(page)).to_have_count(4)
    assert seeds(page) == ["11", "501", "502", "503"]
    expect(queue(page).locator(".batch:visible")).to_have_count(1)
    expect(queue(page)).to_contain_text("3 variations of “Test pair”")
    page.get_by_role("button", name="Edit “Test pair”, seed 502").click()
    expect(page.get_by_label("How many")).to_be_disabled()
    page.get_by_role("button", name="Leave it as it was").click()
    page.get_by_role("button", name="Remove “Test pair”, seed 502 from the queue").click()
    expect(queue(page)).to_contain_text("2 variations of “Test pair”")
    page.get_by_role("button", name="Remove those that wait").click()
    expect(rows(page)).to_have_count(1)
    page.get_by_label("Keep this seed").uncheck()
    page.get_by_label("How many").select_option("2")
    page.get_by_role("button", name="Render", exact=True).click()
    expect(rows(page)).to_have_count(3)
    first, second = (int(seed) for seed in seeds(page)[1:])
    assert second == first + 1
    page.get_by_label("How many").select_option("1")


def test_a_row_is_dragged_to_its_place(page: Page, open_page: Callable[..., Page]) -> None:
    hold(page)
    for seed in (601, 602, 603):
        queue_one(page, seed)
    row = rows(page)
    row.filter(has_text="seed 603").drag_to(row.filter(has_text="seed 601"), target_position={"x": 60, "y": 4})
    expect(row.nth(0)).to_contain_text("seed 603")
    assert seeds(page) == ["603", "601", "602"]
    row.filter(has_text="seed 603").drag_to(row.filter(has_text="seed 601"), target_position={"x": 60, "y": 60})
    expect(row.nth(0)).to_contain_text("seed 601")
    assert seeds(page) == ["601", "603", "602"]
    expect(row.nth(1)).not_to_have_class("dragged")
    up = page.get_by_role("button", name="Move up “Test pair”, seed 602")
    up.press("Enter")  # and the keyboard still moves it
    expect(row.nth(1)).to_contain_text("seed 602")
    other = open_page()
    expect(rows(other).nth(2)).to_contain_text("seed 603")


def test_the_queue_is_paused_where_there_is_something_to_pause_and_no_focus_is_lost(page: Page) -> None:
    pause = page.get_by_role("button", name="Pause queue")
    resume = page.get_by_role("button", name="Resume queue")
    expect(pause).to_be_hidden()
    render_slowly(page)
    pause.press("Enter")
    expect(resume).to_be_focused()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".status")).to_contain_text("Cancelled")
    expect(resume).to_be_visible()  # what comes next would wait
    resume.press("Enter")
    expect(pause).to_be_focused()  # and stays there for as long as somebody stands on it
    page.keyboard.press("Tab")
    expect(pause).to_be_hidden()


def test_removing_the_last_row_with_the_keyboard_leaves_the_focus_in_the_queue(page: Page) -> None:
    page.get_by_role("textbox", name="Prompt").fill(f"{PROMPT} This {TOO_BIG}.")
    press_render(page)
    failed = queue(page).locator("[data-state=failed]")
    failed.get_by_role("button", name="Remove").press("Enter")
    expect(rows(page)).to_have_count(0)
    expect(page.get_by_role("heading", name="Queue")).to_be_focused()
