"""The page in Chinese: no English left on it, everything reachable on a telephone, and the choice is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from studio.languages import for_script, sentences
from studio.theme import WEB
from tests.browser.acts import right_edges
from tests.browser.scenes import write_pair
from tests.browser.serving import Server, start_server, stop_server

ZH = sentences("zh")
# What is no word of the interface: the user's own words, names, file formats, units
KEPT = re.compile(
    r"LumosX|LoRA|Studio|Nano|Segment Anything( ViT-B)?|InsightFace|Meta AI|Ollin Boer Bohan|taew2_1|TAEHV"
    r"|MIT|Apache-2\.0|MP4|WebM|GIF|PNG|zip|VAE"
    r"|Shift|Ctrl|Alt|Esc|Language|caption\.txt|subjects/1/[\w ]+\.png|objects/|background/|\.lumosx"
    r"|[\d.]+ ?[GMk]?B|px|/[\w/.-]+"
)
# every text a person can see or hear, but those that are the user's own
TEXTS = """
() => {
  const own = ".words, .prompt, .chip-name, .name, .label, .cast-title, .bound, .clip h3";
  const found = [];
  const walker = document.createTreeWalker(document.querySelector(".lx"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const text = node.textContent.trim();
    if (text && !node.parentElement.closest(own)) found.push(text);
  }
  for (const node of document.querySelectorAll(".lx [aria-label], .lx [title], .lx [placeholder]")) {
    if (node.closest(own)) continue;
    for (const name of ["aria-label", "title", "placeholder"]) found.push(node.getAttribute(name) || "");
  }
  return [...new Set(found)];
}
"""

# what a person can see of the page that stands out of the window or of its own box; rows that move sideways may
STICKING_OUT = """
root => {
  const wide = innerWidth + 0.5;
  const slides = node => /auto|scroll/.test(getComputedStyle(node).overflowX);
  const moves = node => node && node !== document.body && (slides(node) || moves(node.parentElement));
  const texts = "button, label, h1, h2, h3, p, summary, legend";
  return [...root.querySelectorAll("*")].filter(node => {
    if (!node.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || moves(node)) return false;
    const box = node.getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1) return false; // for readers of the screen only
    const cut = node.matches(texts) && node.scrollWidth > node.clientWidth + 1;
    return box.left < -0.5 || box.right > wide || (cut && getComputedStyle(node).display !== "inline");
  }).map(node => `${node.tagName} ${node.className} ${node.textContent.slice(0, 60)}`);
}
"""


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A studio of its own: what is chosen here is no other test's."""
    home = tmp_path_factory.mktemp("languages")
    write_pair(home / "presets" / "test-pair")
    process, found = start_server(home, "--port", "8835")
    yield found
    assert stop_server(process) == 0


@pytest.fixture
def open_in(browser: Browser, own_server: Server) -> Iterator[Callable[..., Page]]:
    """Open a page in a browser that speaks a language; no page may complain."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_one(locale: str, *, width: int = 1280, height: int = 900) -> Page:
        page = browser.new_context(locale=locale, viewport={"width": width, "height": height}).new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(own_server.url)
        page.locator(".cast figure").first.wait_for()
        pages.append(page)
        return page

    yield open_one
    for page in pages:
        page.context.close()
    assert complaints == []


def _choose(page: Page, language: str) -> None:
    page.locator(".masthead-menu").click()
    page.locator(".menu select").select_option(language)
    expect(page.locator("html")).to_have_attribute("lang", {"en": "en", "zh": "zh-CN"}[language])
    page.locator(".cast figure").first.wait_for()


def _english(page: Page, own: list[str]) -> list[str]:
    texts: list[str] = page.evaluate(TEXTS)
    for word in sorted(own, key=len, reverse=True):
        texts = [text.replace(word, "") for text in texts]
    return [text for text in texts if re.search(r"[A-Za-z]{3}", KEPT.sub("", text))]


def test_a_chinese_browser_gets_a_chinese_page(open_in: Callable[..., Page]) -> None:
    page = open_in("zh-CN", width=400, height=800)
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    page.get_by_role("radio", name="Test pair").check(force=True)
    page.get_by_role("region", name=ZH["cast_title"]).get_by_text("Test pair", exact=True).wait_for()
    own = page.evaluate("() => [...document.querySelectorAll('.lx .label')].map(one => one.value).filter(Boolean)")
    titles = page.evaluate("() => [...document.querySelectorAll('.preset .name')].map(one => one.textContent)")
    assert ZH["preset_named_two_friends_in_the_park"] in titles
    page.wait_for_timeout(1500)  # cost and forecast come a moment later
    left = _english(page, [*own, *titles])
    assert left == [], left
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert max(right_edges(page)) <= 400
    # dialogs and menus, and what is refused
    page.get_by_role("button", name=ZH["models_title"]).click()
    page.locator("dialog.models .model").first.wait_for()
    assert _english(page, [*own, *titles, "download"]) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="人物 1的选项").click()
    assert _english(page, [*own, *titles]) == []
    page.get_by_role("menuitem", name=ZH["save_preset_menu"]).click()
    page.get_by_label(ZH["presets_name"]).fill("")
    page.get_by_role("button", name=ZH["save"], exact=True).first.click()
    expect(page.get_by_text("请给预设取一个不超过")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#lx-prompt").fill("")
    expect(page.get_by_text(ZH["heard_prompt_empty"])).to_be_visible()


@pytest.mark.parametrize("width", [400, 1440])
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_no_language_sticks_out(open_in: Callable[..., Page], locale: str, width: int) -> None:
    page = open_in(locale, width=width)
    words = sentences("zh" if locale == "zh-CN" else "en")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".lx").first.evaluate(STICKING_OUT) == []
    # what comes only when it is asked for
    page.get_by_role("button", name=words["models_title"]).click()
    page.locator("dialog.models .model").first.wait_for()
    assert page.locator("dialog.models").evaluate(STICKING_OUT) == []
    page.keyboard.press("Escape")
    page.locator(".masthead-menu").click()  # which chooses nothing: the next browser gets its own language
    assert page.locator(".menu").first.evaluate(STICKING_OUT) == []
    page.keyboard.press("Escape")
    page.locator("#lx-prompt").fill("")
    page.get_by_text(words["heard_prompt_empty"]).wait_for()
    page.get_by_label(words["settings_steps"]).fill("999")
    page.locator(".panel .actions .main").click()
    page.locator(".settings .advice:not([hidden])").first.wait_for()
    assert page.locator(".lx").first.evaluate(STICKING_OUT) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_choice_is_kept_and_loses_nothing(open_in: Callable[..., Page]) -> None:
    page = open_in("en-US")
    words = page.locator("#lx-prompt")
    words.fill("Two people wave at a very last letter")
    _choose(page, "zh")
    expect(page.locator("#lx-prompt")).to_have_value("Two people wave at a very last letter")
    expect(page.get_by_role("button", name=ZH["run_render"], exact=True)).to_be_visible()
    page.get_by_role("button", name=ZH["undo"], exact=True).first.click()
    expect(page.locator("#lx-prompt")).not_to_have_value("Two people wave at a very last letter")
    # another browser of the same user finds the choice, too
    other = open_in("en-US")
    expect(other.get_by_role("button", name=ZH["run_render"], exact=True)).to_be_visible()
    _choose(other, "en")
    expect(other.get_by_role("button", name="Render", exact=True)).to_be_visible()


def test_the_pages_rule_is_the_servers(browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.add_script_tag(content=f"{for_script()}\n{Path(WEB / 'language.js').read_text(encoding='utf-8')}")
    said = page.evaluate(
        """() => {
          const found = [languageOf("zh-TW"), languageOf("en-GB"), languageOf(null)];
          found.push(sayCount("frames", 1), sayCount("frames", 3));
          speak("zh");
          return [...found, say("named", { what: "{name}", name: "$& {what}" }), sayCount("frames", 1)];
        }"""
    )
    assert said == ["zh", "en", "en", "1 frame", "3 frames", "{name}：$& {what}", "1 帧"]
    for wrong in ('say("no such sentence")', 'say("named", { what: "x" })'):
        assert page.evaluate(f"() => {{ try {{ {wrong}; return ''; }} catch (error) {{ return 'told'; }} }}") == "told"
    context.close()
    assert json.loads(for_script().removeprefix("const LANGUAGES = ").removesuffix(";")).keys() == {"en", "zh"}
