"""The prompt binder: marked words mean whom the key says, keep meaning it, unclear ones are mended with one click."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.scenes import PROMPT


def mark_words(page: Page, words: str) -> None:
    page.get_by_role("textbox", name="Prompt").evaluate(
        "(node, words) => { node.focus(); const at = node.value.indexOf(words);"
        " node.setSelectionRange(at, at + words.length); }",
        words,
    )


def marks(page: Page) -> list[tuple[str, str]]:
    found: list[list[str]] = page.eval_on_selector_all(
        ".prompt .mirror mark", "nodes => nodes.map(node => [node.textContent, node.dataset.badge])"
    )
    return [(words, badge) for words, badge in found]


def test_a_key_binds_marked_words_and_the_same_key_lets_them_go(page: Page) -> None:
    prompt = page.get_by_role("textbox", name="Prompt")
    mark_words(page, "green dress")
    page.keyboard.press("2")
    expect(page.get_by_role("region", name="Subject 2")).to_contain_text("bound to no words")
    page.keyboard.press("2")
    expect(page.get_by_role("region", name="Subject 2")).not_to_contain_text("bound to no words")
    assert ("green dress", "2") in marks(page)
    mark_words(page, "green dress")
    page.keyboard.press("1")  # it could be the man or his coat
    menu = page.get_by_role("menu", name="What “green dress” means")
    menu.get_by_role("menuitem", name="Attribute: red coat").click()
    expect(page.get_by_role("region", name="Subject 1")).to_contain_text("named 2 times")
    assert ("green dress", "1") in marks(page)
    mark_words(page, "stand")
    page.keyboard.press("9")  # nobody has this number, so it is typed
    expect(prompt).to_have_value(PROMPT.replace("stand", "9"))
    expect(page.locator(".prompt mark").first).to_have_text("man")
    page.keyboard.press("Control+z")
    expect(prompt).to_have_value(PROMPT)


def test_bindings_follow_what_is_typed_before_them(page: Page) -> None:
    prompt = page.get_by_role("textbox", name="Prompt")
    mark_words(page, "stand")
    page.keyboard.press("1")
    page.get_by_role("menuitem", name="Face: man").click()
    expect(prompt).to_be_focused()
    expect(page.locator(".prompt mark", has_text="stand")).to_have_count(1)
    prompt.press("Control+Home")
    prompt.press_sequentially("They stand. ", delay=10)
    expect(prompt).to_have_value("They stand. " + PROMPT)
    page.wait_for_timeout(300)
    assert [words for words, badge in marks(page) if badge == "1"] == ["man", "red coat", "stand"]
    place = page.evaluate(
        "(() => { let before = 0; for (const node of document.querySelector('.mirror').childNodes) {"
        " if (node.tagName && node.textContent === 'stand') return before;"
        " before += node.textContent.length; } })()"
    )
    assert place == ("They stand. " + PROMPT).rindex("stand")


def test_colours_are_there_before_the_server_answers(page: Page) -> None:
    prompt = page.get_by_role("textbox", name="Prompt")
    prompt.press("Control+Home")
    painted: list[str] = prompt.evaluate(
        "node => { node.setRangeText('So: ', 0, 0, 'end'); node.dispatchEvent(new Event('input'));"
        " return [...document.querySelectorAll('.mirror mark')].map(one => one.textContent); }"
    )
    assert painted == ["man", "red coat", "woman", "green dress", "bright room", "lamp"]


def test_the_legend_does_what_the_keys_do_and_knows_things_and_places(page: Page) -> None:
    mark_words(page, "stand in")
    page.get_by_role("button", name="The marked words mean Background").click()
    expect(page.get_by_role("region", name="Background")).to_contain_text("named 2 times")
    page.get_by_role("textbox", name="Prompt").evaluate("node => node.setSelectionRange(0, 0)")
    page.get_by_role("button", name="The marked words mean Object").click()
    alert = page.get_by_role("region", name="Prompt").get_by_role("alert").filter(visible=True)
    expect(alert).to_contain_text("Mark the words of the prompt that mean “lamp” first")


def test_missing_words_are_inserted_with_one_click(page: Page) -> None:
    prompt = page.get_by_role("textbox", name="Prompt")
    prompt.fill("A man meets a woman in a Green dress.")
    problems = page.locator(".problems")
    problems.get_by_role("button", name="“Green dress” means it").click()
    problems.get_by_role("button", name="Insert: wearing a red coat").click()
    expect(prompt).to_have_value("A man wearing a red coat meets a woman in a Green dress.")
    assert ("Green dress", "2") in marks(page)
    page.get_by_role("button", name="Write it from the cast").first.click()
    expect(prompt).to_have_value(
        "A man wearing a red coat and a woman wearing a green dress stand together in a bright room, beside a lamp."
    )
    expect(problems).to_be_hidden()


def test_a_phrase_inside_another_is_told_and_mended(page: Page) -> None:
    label = page.get_by_role("region", name="Subject 1").get_by_label("Label of the face")
    label.fill("young woman")
    label.press("Enter")
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(PROMPT.replace("man", "young woman", 1))
    problems = page.locator(".problems")
    expect(problems).to_contain_text("“woman” stands inside “young woman”")
    expect(page.locator(".prompt mark.shared")).to_have_text("woman")
    problems.get_by_role("button", name="“young woman” means subject 1 only").click()
    expect(problems).to_be_hidden()
    assert marks(page)[0] == ("young woman", "1")


def test_a_chinese_cast_is_written_and_bound(page: Page) -> None:
    names = [
        ("Subject 1", "face", "男人"), ("Subject 1", "attribute", "红色外套"), ("Subject 2", "face", "女人"),
        ("Subject 2", "attribute", "绿裙子"), ("Background", "background", "房间"), ("Object", "object", "灯"),
    ]  # fmt: skip
    for region, kind, words in names:
        label = page.get_by_role("region", name=region, exact=True).get_by_label(f"Label of the {kind}")
        label.fill(words)
        label.press("Enter")
        expect(page.get_by_role("textbox", name="Prompt")).to_have_value(re.compile(words))
    page.get_by_role("button", name="Write it from the cast").first.click()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(
        "在房间里，男人穿着红色外套和女人穿着绿裙子站在一起，旁边有灯。"
    )
    assert [badge for _, badge in marks(page)] == ["B", "1", "1", "2", "2", "O"]


def test_with_the_keyboard_alone_a_thing_changes_hands_and_words_are_bound(open_page: Callable[..., Page]) -> None:
    page = open_page()

    def tab_to(name: str) -> None:
        for _ in range(120):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.getAttribute('aria-label')") == name:
                return
        raise AssertionError(f"{name} is not reached by Tab")

    tab_to("Options of blue jacket")
    page.keyboard.press("Enter")
    for _ in range(12):
        page.keyboard.press("ArrowDown")
        if page.evaluate("document.activeElement.getAttribute('aria-label')") == "Belongs to":
            break
    page.keyboard.press("ArrowDown")  # in the list: the next person
    second = page.get_by_role("region", name="Subject 2")
    expect(second.get_by_role("button", name="Options of blue jacket")).to_be_focused()
    page.keyboard.press("Control+z")
    expect(
        page.get_by_role("region", name="Subject 1").get_by_role("button", name="Options of blue jacket")
    ).to_be_visible()
    page.get_by_role("textbox", name="Prompt").focus()
    page.keyboard.press("Control+Home")
    page.keyboard.press("Control+Shift+ArrowRight")
    page.keyboard.press("2")
    menu = page.locator(".menu")
    expect(menu).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".prompt mark").first).to_have_attribute("data-badge", "2")
    expect(page.get_by_role("textbox", name="Prompt")).to_be_focused()
