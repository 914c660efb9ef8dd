"""What a render will take stands beside the button before it is pressed, and follows scene and settings."""

from __future__ import annotations

from playwright.sync_api import Page, expect


def test_the_forecast_follows_the_choices(page: Page) -> None:
    told = page.locator(".forecast")
    expect(told).to_contain_text("not known yet")
    expect(told).to_contain_text("GB of memory at most")
    assert "At its peak" in (told.get_attribute("title") or "")
    page.get_by_label("Steps").fill("0")
    page.get_by_label("Steps").blur()
    expect(told).to_be_hidden()
