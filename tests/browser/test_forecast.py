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


def test_a_draft_is_folded_away_and_said_to_be_one(page: Page) -> None:
    kind, share = page.get_by_label("Work taken over"), page.get_by_label("Up to a share of")
    expect(kind).to_be_hidden()
    page.get_by_text("Quicker drafts").click()
    expect(share).to_be_hidden()
    kind.select_option("magnitude")
    expect(share).to_have_value("0.06")
    expect(page.locator(".forecast")).to_contain_text("A draft: steps are taken over until they are off by 0.06.")
    share.fill("7")
    page.get_by_text("Quicker drafts").click()
    page.get_by_role("button", name="Render", exact=True).click()
    expect(share).to_be_focused()
    expect(page.locator(".settings .field", has=share).get_by_role("alert")).to_contain_text("the nearest is 1")
