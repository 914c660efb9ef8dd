"""LoRAs on the page: one is added from a file, chosen, carried by its clip, and missed when it is gone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from engine.recipe import read_recipe
from tests.browser.acts import render
from tests.browser.conftest import Supplied
from tests.unit.tiny_lora import write_lora_for_nano


def test_from_a_file_to_a_clip_of_it(open_page: Callable[..., Page], supplied: Supplied, tmp_path: Path) -> None:
    file = write_lora_for_nano(tmp_path / "Ink.safetensors")
    page = open_page(server=supplied.server)
    page.get_by_role("radio", name="Test pair").check(force=True)
    page.get_by_text("More settings", exact=True).click()
    expect(page.get_by_text("None for this engine yet")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Models")).click()
    shelf = page.get_by_role("region", name="LoRAs")
    shelf.get_by_role("button", name="I already have the file…").click()
    shelf.get_by_label("File to copy").set_input_files(str(file))
    expect(shelf).to_contain_text("Added. Choose it under More settings.")
    expect(shelf.get_by_role("listitem")).to_contain_text(re.compile(r"Ink\s*[\d.]+ kB, for Nano"))
    page.keyboard.press("Escape")
    chosen = page.get_by_role("combobox", name="LoRA to add")
    expect(chosen).to_have_count(1)
    chosen.select_option(label="Ink")
    expect(chosen).to_have_count(2)  # room for one more
    page.get_by_role("spinbutton", name="Strength").first.fill("")
    page.get_by_role("button", name="Render", exact=True).click()
    expect(page.get_by_text("Give the LoRA a strength")).to_be_visible()
    page.get_by_role("spinbutton", name="Strength").first.fill("0.6")
    page.get_by_label("Guidance").fill("1.5")
    before = set((supplied.server.home / "clips").glob("*.mp4"))  # of other tests in this studio
    render(page)
    expect(page.get_by_role("region", name="Render")).to_contain_text("with Ink")
    (clip,) = set((supplied.server.home / "clips").glob("*.mp4")) - before
    made = read_recipe(clip).request.settings
    assert [(one.name, one.strength) for one in made.loras] == [("Ink", 0.6)]
    assert made.guidance_scale == 1.5
    page.get_by_role("button", name=re.compile("^Models")).click()
    shelf.get_by_role("button", name="Remove…").click()
    shelf.get_by_role("button", name="Remove it").click()
    expect(shelf.get_by_role("listitem")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(chosen.first).to_contain_text("Ink (not on this machine)")
    page.reload()  # the draft of the page remembers it, too
    expect(chosen.first).to_contain_text("Ink (not on this machine)")
    page.get_by_role("button", name="Render", exact=True).click()
    expect(page.get_by_text("The LoRA “Ink” is not on this machine: add its file under Models")).to_be_visible()
    chosen.first.select_option(label="None")
    expect(page.get_by_text("None for this engine yet")).to_be_visible()
    render(page)
