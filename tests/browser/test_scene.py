"""Choosing a scene, seeing its cast, editing its words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.acts import render
from tests.browser.scenes import PROMPT, write_pair
from tests.browser.serving import Server

HOSTILE = '<img src=x onerror="window.hacked=1"> ${window.hacked=2} {{x}} <script>window.hacked=3</script> &lt;b&gt;'


def marks(page: Page) -> list[tuple[str, str]]:
    """Return the coloured phrases of the prompt, each with the number it carries."""
    found: list[list[str]] = page.eval_on_selector_all(
        ".prompt .mirror mark", "nodes => nodes.map(node => [node.textContent, node.dataset.badge])"
    )
    return [(words, badge) for words, badge in found]


def test_the_page_comes_up_without_torch(open_page: Callable[..., Page], server: Server) -> None:
    page = open_page()
    expect(page.get_by_role("heading", name="LumosX Studio")).to_be_visible()
    assert page.title() == "LumosX Studio"
    maps = Path(f"/proc/{server.pid}/maps")
    if maps.exists():
        assert "libtorch" not in maps.read_text()


def test_a_preset_shows_its_cast_and_what_the_words_mean(page: Page) -> None:
    cast = page.get_by_role("region", name="Cast")
    assert cast.get_by_role("heading").all_text_contents()[1:] == ["1Subject 1", "2Subject 2", "OObject", "BBackground"]
    second = cast.get_by_role("region", name="Subject 2")
    expect(second.get_by_role("img", name="Attribute: green dress")).to_be_visible()
    expect(second).to_contain_text("named once")
    assert marks(page) == [
        ("man", "1"), ("red coat", "1"), ("woman", "2"), ("green dress", "2"), ("bright room", "B"), ("lamp", "O"),
    ]  # fmt: skip
    page.wait_for_function("[...document.querySelectorAll('.cast img')].every(image => image.naturalWidth > 0)")


def test_words_typed_fast_are_never_lost(page: Page) -> None:
    prompt = page.get_by_role("textbox", name="Prompt")
    prompt.press("Control+End")
    words = " The man waves to the woman in the red coat, twice."
    prompt.press_sequentially(words, delay=4)
    expect(prompt).to_have_value(PROMPT + words)
    page.wait_for_function("document.querySelectorAll('.prompt mark').length === 9")
    assert page.locator(".prompt .mirror").inner_text().rstrip("\u200b\n") == PROMPT + words
    page.reload()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(PROMPT + words)


# Looks at the prompt in the moment in which it comes, however busy the machine is.
FIRST_SIGHT = """
new MutationObserver((changes, observer) => {
  const node = document.querySelector("#lx-prompt");
  if (!node) return;
  observer.disconnect();
  node.focus();
  window.firstSight = [node.value, document.activeElement === node, node.closest("[inert]") !== null];
}).observe(document, { childList: true, subtree: true });
"""


def test_a_slow_start_takes_no_words_that_would_be_lost_and_keeps_those_after(page: Page) -> None:
    slow = page.context.new_cdp_session(page)
    slow.send("Network.enable")
    prompt = page.locator("#lx-prompt")
    network = {"offline": False, "latency": 400, "downloadThroughput": -1, "uploadThroughput": -1}
    slow.send("Network.emulateNetworkConditions", network)
    page.add_init_script(FIRST_SIGHT)
    page.reload(wait_until="commit")
    # nothing can be typed while the last state is still on its way
    assert page.wait_for_function("window.firstSight").json_value() == ["", False, True]
    page.keyboard.type("Lost?")
    page.wait_for_function("!document.querySelector('.lx [inert]')")
    expect(prompt).to_have_value(PROMPT)
    prompt.press("Control+End")
    page.keyboard.type(" They wave, and wave.", delay=30)  # answers come later than the letters
    expect(prompt).to_have_value(PROMPT + " They wave, and wave.")
    page.wait_for_timeout(1500)
    expect(prompt).to_have_value(PROMPT + " They wave, and wave.")
    page.reload()
    expect(prompt).to_have_value(PROMPT + " They wave, and wave.")


def test_a_missing_word_is_told_and_stops_the_render_unless_meant(page: Page) -> None:
    prompt = page.get_by_role("textbox", name="Prompt")
    prompt.fill(PROMPT.replace("red coat", "coat"))
    advice = page.get_by_role("region", name="Prompt").locator(".under-prompt")
    expect(advice).to_contain_text("The prompt does not say “red coat”")
    expect(page.get_by_role("region", name="Subject 1")).to_contain_text("not in the prompt")
    page.get_by_role("button", name="Render", exact=True).click()
    expect(page.get_by_role("region", name="Render").get_by_role("alert").filter(visible=True)).to_contain_text(
        "red coat"
    )
    page.get_by_label("Render anyway").check()
    render(page)


def test_other_words_can_be_marked_for_a_picture(page: Page) -> None:
    words = "\N{GRINNING FACE} " + PROMPT.replace("red coat", "warm thing")  # one letter to us, two to a browser
    prompt = page.get_by_role("textbox", name="Prompt")
    prompt.fill(words)
    subject = page.get_by_role("region", name="Subject 1")
    expect(subject).to_contain_text("not in the prompt")
    prompt.evaluate("node => node.setSelectionRange(0, 0)")
    subject.get_by_role("button", name="Use the marked words").click()
    alert = page.get_by_role("region", name="Prompt").get_by_role("alert").filter(visible=True)
    expect(alert).to_contain_text("Mark the words of the prompt that mean “red coat”")
    prompt.evaluate("node => node.setSelectionRange(...[0, 10].map(place => node.value.indexOf('warm thing') + place))")
    subject.get_by_role("button", name="Use the marked words").click()
    expect(subject).to_contain_text("named once: “warm thing”")
    expect(alert).to_have_count(0)
    assert ("warm thing", "1") in marks(page)
    render(page)


def test_hostile_words_stay_words(page: Page) -> None:
    words = f"{PROMPT} {HOSTILE}"
    page.get_by_role("textbox", name="Prompt").fill(words)
    page.wait_for_function("document.querySelectorAll('.prompt mark').length === 6")
    assert page.locator(".prompt .mirror").evaluate("node => node.textContent").rstrip("\u200b") == words
    render(page)
    expect(page.get_by_role("region", name="Clips").get_by_role("article").first).to_contain_text("<script>")
    page.reload()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(words)
    assert page.evaluate("window.hacked") is None
    assert page.locator(".lx script, .lx img[src=x]").count() == 0


@pytest.mark.parametrize(
    ("path", "sentence"), [("", "Type the path"), ("/no/such/folder", "There is no folder"), ("EMPTY", "empty")]
)
def test_a_folder_that_is_no_scene_gets_a_sentence(page: Page, tmp_path: Path, path: str, sentence: str) -> None:
    page.get_by_text("Use a folder of your own pictures").click()
    page.get_by_label("Path of a sample folder").fill(str(tmp_path) if path == "EMPTY" else path)
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_role("region", name="Scene").get_by_role("alert").filter(visible=True)).to_contain_text(sentence)
    assert len(marks(page)) == 6  # the scene that was there is still there


def test_a_folder_by_path_and_a_folder_that_is_sent(page: Page, tmp_path: Path) -> None:
    write_pair(tmp_path / "by-path", "A man in a red coat looks at a woman in a green dress, a lamp, a bright room.")
    write_pair(tmp_path / "by-sending", "A woman in a green dress meets a man in a red coat, a lamp, a bright room.")
    page.get_by_text("Use a folder of your own pictures").click()
    page.get_by_label("Path of a sample folder").fill(str(tmp_path / "by-path"))
    page.get_by_label("Path of a sample folder").press("Enter")
    expect(page.get_by_role("region", name="Cast")).to_contain_text("By path")
    page.get_by_label("Folder to send").set_input_files(tmp_path / "by-sending")
    expect(page.get_by_role("region", name="Cast")).to_contain_text("By sending")
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(
        "A woman in a green dress meets a man in a red coat, a lamp, a bright room."
    )
