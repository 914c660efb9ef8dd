"""The gallery: finding clips, playing, comparing in step, going on from them, deleting with undo."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from engine.clip import read_recipe
from tests.browser.clips import FPS, write_clip
from tests.browser.scenes import PROMPT
from tests.browser.serving import Server
from tests.browser.test_look import CONTRAST

SWAPPED = "A man in a green dress and a woman in a red coat stand in a bright room, beside a lamp."

# For two seconds: the largest distance between two playing videos, in seconds, and how far the first one went.
DRIFT = """
() => new Promise((done) => {
  const [one, other] = document.querySelectorAll("dialog.compare video");
  const began = performance.now();
  let worst = 0, most = 0;
  const look = () => {
    const apart = Math.abs(one.currentTime - other.currentTime);
    if ([one, other].every((video) => !video.paused && !video.seeking)) worst = Math.max(worst, apart);
    most = Math.max(most, one.currentTime);
    if (performance.now() - began < 2000) requestAnimationFrame(look);
    else done([worst, most]);
  };
  look();
})
"""
STANDING = """
([fps, frames]) => [...document.querySelectorAll("dialog.compare video")].every((video, place) =>
  video.paused && !video.seeking && Math.floor(video.currentTime * fps) === frames[place])
"""
PLAYING = (
    "[...document.querySelectorAll('dialog[open] video')].every(video => !video.paused && video.currentTime > 0.1)"
)
BOTH_PLAYING = PLAYING.replace("dialog[open]", "dialog.compare")


def gallery(page: Page) -> Locator:
    """Return the part of the page that holds the clips."""
    return page.get_by_role("region", name="Clips")


def card(page: Page, title: str) -> Locator:
    """Return the newest clip of that title."""
    found = gallery(page).get_by_role("article").filter(has=page.get_by_role("heading", name=title, exact=True))
    found.first.wait_for()
    return found.first


def view(page: Page, title: str) -> Locator:
    """Open a clip in the viewer."""
    card(page, title).get_by_role("button", name=f"Play {title}").click()
    dialog = page.get_by_role("dialog", name=title)
    dialog.wait_for()
    return dialog


def choose(page: Page, title: str) -> None:
    """Choose a clip in the small window that asks for one."""
    page.locator("dialog.picker").get_by_role("button").filter(has_text=title).first.click()


def in_step(page: Page) -> float:
    """Wait for two seconds in which the videos stay within a frame of each other; how far the first one went.

    A machine that is busy with other things drops frames of one or the other: then there is another chance.
    """
    seen: list[float] = []
    for _ in range(15):
        worst, most = page.evaluate(DRIFT)
        if worst <= 1 / FPS:
            return float(most)
        seen.append(worst)
    raise AssertionError(f"the videos were apart by {seen} s")


def test_clips_are_found_by_their_words(open_page: Callable[..., Page], server: Server) -> None:
    # made two seconds after five past ten: no seed 502
    write_clip(server.clips, "zebra-one", seed=501, prompt=PROMPT + " A zebra watches.", made="20261122-100502")
    write_clip(server.clips, "quokka-two", seed=502, prompt=PROMPT + " A quokka watches.")
    page = open_page()
    newest = gallery(page).get_by_role("article").first
    expect(newest).to_contain_text("Quokka two")
    search = gallery(page).get_by_role("searchbox", name="Search clips")
    shown = gallery(page).locator("article:visible")
    for typed, title in (
        ("ZEBRA watches", "Zebra one"),
        ("seed 502", "Quokka two"),
        ("green dress zebra", "Zebra one"),
    ):
        search.fill(typed)
        expect(shown).to_have_count(1)
        expect(shown).to_contain_text(title)
    expect(gallery(page).get_by_role("status").first).to_contain_text("1 of ")
    search.fill("nothing like this")
    expect(shown).to_have_count(0)
    expect(gallery(page)).to_contain_text("No clip fits this search.")
    search.fill("")
    expect(newest).to_be_visible()


def test_posters_load_only_where_one_looks_and_new_clips_come_by_themselves(
    open_page: Callable[..., Page], server: Server
) -> None:
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "studio/clip/" in request.url else None)
    write_clip(server.clips, "latecomer", seed=510)
    poster = card(page, "Latecomer").locator("img")
    poster.scroll_into_view_if_needed()
    page.wait_for_function("image => image.complete && image.naturalWidth === 128", arg=poster.element_handle())
    assert poster.get_attribute("loading") == "lazy"
    assert asked == []  # no film is fetched for a list


def test_a_clip_plays_is_named_and_gets_its_picture(open_page: Callable[..., Page], server: Server) -> None:
    write_clip(server.clips, "namesake", seed=520)
    page = open_page()
    before = card(page, "Namesake").locator("img").get_attribute("src")
    dialog = view(page, "Namesake")
    page.wait_for_function(PLAYING)
    dialog.get_by_role("button", name="Pause").click()
    position = dialog.get_by_role("slider", name="Position")
    position.fill("17")
    expect(dialog.locator("output").first).to_have_text("frame 18 of 25 · 1.50 s")
    page.wait_for_function(f"Math.floor(document.querySelector('dialog[open] video').currentTime * {FPS}) === 17")
    dialog.get_by_role("button", name="Use this frame as its picture").click()
    expect(dialog).to_contain_text("This frame stands for the clip now.")
    title = dialog.get_by_label("Title")
    title.fill("  Morgens <b>früh</b> ")
    title.press("Enter")
    page.keyboard.press("Escape")
    named = card(page, "Morgens <b>früh</b>")
    expect(named.locator("img")).to_have_attribute("src", f"{before[:-1] if before else ''}17")
    page.reload()
    expect(card(page, "Morgens <b>früh</b>").locator("img")).to_have_attribute(
        "src", f"{before[:-1] if before else ''}17"
    )


def test_two_clips_play_in_step(open_page: Callable[..., Page], server: Server) -> None:
    write_clip(server.clips, "step-left", seed=530, num_frames=49)
    write_clip(server.clips, "step-right", seed=531, num_frames=37)
    page = open_page()
    view(page, "Step left").get_by_role("button", name="Compare with…").click()
    choose(page, "Step right")
    both = page.get_by_role("dialog", name="Side by side")
    page.wait_for_function(BOTH_PLAYING)
    assert in_step(page) > 0.5
    both.get_by_role("button", name="Pause").click()
    for frames in ([5, 5], [30, 30], [45, 36]):  # the shorter one stands on its last frame
        both.get_by_role("slider", name="Position").fill(str(frames[0]))
        page.wait_for_function(STANDING, arg=[FPS, frames])
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('dialog.compare video')")


def test_a_clip_opens_as_scene_or_as_cast_for_a_new_prompt(page: Page, server: Server) -> None:
    write_clip(server.clips, "cast-only", seed=540, prompt=PROMPT + " They wave.")
    prompt = page.get_by_role("textbox", name="Prompt")
    view(page, "Cast only").get_by_role("button", name="Open its scene").click()
    expect(prompt).to_have_value(PROMPT + " They wave.")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("540")
    expect(page.get_by_role("dialog")).to_have_count(0)
    view(page, "Cast only").get_by_role("button", name="Same cast, new prompt").click()
    expect(prompt).to_have_value("")
    expect(prompt).to_be_focused()
    expect(page.get_by_label("Keep this seed")).not_to_be_checked()
    expect(page.get_by_role("region", name="Cast").locator("figure")).to_have_count(6)
    page.get_by_role("button", name="Undo").first.click()
    expect(prompt).to_have_value(PROMPT + " They wave.")


def test_dress_swap_is_one_click_and_both_are_shown_in_step(open_page: Callable[..., Page], server: Server) -> None:
    original = write_clip(server.clips, "to-exchange", seed=550)
    page = open_page()
    before = set(server.clips.iterdir())
    swap = card(page, "To exchange").get_by_role("button", name="Dress swap")
    assert swap.get_attribute("title") == "Exchange “red coat” and “green dress”, with the same seed and settings"
    swap.dblclick()  # makes one render, not two
    both = page.get_by_role("dialog", name="Side by side")
    both.wait_for()
    expect(both.locator("figure")).to_have_count(2)
    expect(both.locator("figure").first).to_contain_text("Original")
    expect(both.locator("figure").nth(1)).to_contain_text("Clothes exchanged")
    expect(both.locator("figure").nth(1)).to_contain_text("seed 550")
    page.wait_for_function(BOTH_PLAYING)
    in_step(page)
    (made,) = [path for path in server.clips.iterdir() if path not in before and path.suffix == ".mp4"]
    was, now = read_recipe(original).request, read_recipe(made).request
    assert now.settings == was.settings
    assert now.scene.prompt == SWAPPED
    assert [one.attributes[0].label for one in now.scene.subjects] == ["green dress", "red coat"]
    assert [one.face for one in now.scene.subjects] == [one.face for one in was.scene.subjects]


def test_where_three_are_dressed_two_things_are_chosen(open_page: Callable[..., Page], server: Server) -> None:
    page = open_page()
    page.get_by_role("radio", name="Three on the beach").check(force=True)
    page.get_by_role("region", name="Cast").get_by_text("Three on the beach", exact=True).wait_for()
    page.get_by_label("Steps").fill("2")
    page.get_by_role("button", name="Render", exact=True).click()
    card(page, "Three on the beach").get_by_role("button", name="Dress swap").click()
    chooser = page.get_by_role("dialog", name="What should be exchanged?")
    exchange = chooser.get_by_role("button", name="Exchange them")
    expect(exchange).to_be_disabled()
    for thing in ("purple t-shirt", "green coat", "orange sweater"):  # the third takes the first one's place
        chooser.get_by_role("checkbox", name=thing).check(force=True)
    expect(chooser.get_by_role("checkbox", name="purple t-shirt")).not_to_be_checked()
    before = set(server.clips.glob("*.mp4"))
    exchange.click()
    page.get_by_role("dialog", name="Side by side").wait_for()
    (made,) = set(server.clips.glob("*.mp4")) - before
    labels = [one.attributes[0].label for one in read_recipe(made).request.scene.subjects]
    assert labels == ["purple t-shirt", "orange sweater", "green coat"]


def test_a_deleted_clip_can_be_undone_on_any_page_and_after_a_reload(
    open_page: Callable[..., Page], server: Server
) -> None:
    path = write_clip(server.clips, "slip-of-hand", seed=560)
    page = open_page()
    one = card(page, "Slip of hand")
    one.get_by_role("button", name="Options of Slip of hand").click()
    page.get_by_role("menuitem", name="Delete").click()
    expect(gallery(page).get_by_role("heading", name="Slip of hand")).to_have_count(0)
    assert not path.exists()
    undo = gallery(page).get_by_role("listitem").filter(has_text="“Slip of hand” was deleted.")
    undo.wait_for()
    page.reload()
    undo.get_by_role("button", name="Undo").click()
    card(page, "Slip of hand").get_by_role("button", name="Play Slip of hand").wait_for()
    expect(undo).to_have_count(0)
    assert read_recipe(path).request.settings.seed == 560


def test_the_gallery_works_with_the_keyboard_alone(open_page: Callable[..., Page], server: Server) -> None:
    write_clip(server.clips, "key-old", seed=571)
    write_clip(server.clips, "key-new", seed=572)
    page = open_page()
    newest = card(page, "Key new").get_by_role("button", name="Play Key new")
    newest.focus()
    page.keyboard.press("ArrowRight")
    expect(card(page, "Key old").get_by_role("button", name="Play Key old")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(newest).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Key new")
    page.wait_for_function(PLAYING)
    page.keyboard.press("Enter")  # the button that plays has the focus
    page.wait_for_function("document.querySelector('dialog[open] video').paused")
    page.keyboard.press("Home")
    at = dialog.locator("output").first.inner_text()
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("output").first).not_to_have_text(at)
    page.keyboard.press("Escape")
    expect(newest).to_be_focused()
    page.keyboard.press("Delete")
    expect(card(page, "Key old").get_by_role("button", name="Play Key old")).to_be_focused()
    expect(gallery(page)).to_contain_text("“Key new” was deleted.")


def test_everything_fits_a_telephone_in_the_dark(open_page: Callable[..., Page], server: Server) -> None:
    write_clip(server.clips, "narrow-one", seed=580)
    write_clip(server.clips, "narrow-two", seed=581)
    page = open_page(width=400, height=800, dark=True)
    dialog = view(page, "Narrow two")
    dialog.get_by_text("Make a new clip of it").click()
    expect(dialog.locator(".edit-make")).to_be_visible()

    def fits() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        for part in page.locator("dialog[open] :is(button, input, video, select)").all():
            box = part.bounding_box()
            assert box is None or (box["x"] >= -1 and box["x"] + box["width"] <= 401), part.evaluate("n => n.outerHTML")
        pairs: list[tuple[float, str]] = page.evaluate(
            CONTRAST, ".lx dialog[open] :is(h2, h3, .quiet, button, .facts, .prompt-words, label, summary)"
        )
        assert [what for ratio, what in pairs if ratio < 4.5] == []

    fits()
    dialog.get_by_role("button", name="Compare with…").click()
    choose(page, "Narrow one")
    page.wait_for_function(BOTH_PLAYING)
    fits()
