"""The cast board: pictures become people, things change hands, and nothing a user typed or chose is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.acts import render
from tests.browser.pictures import drop, photograph
from tests.browser.scenes import PROMPT

HOSTILE = '"><img src=x onerror="window.hacked=1">'


def subject(page: Page, number: int) -> Locator:
    return page.get_by_role("region", name=f"Subject {number}")


def labels(page: Page, number: int) -> list[str]:
    return [one.input_value() for one in subject(page, number).locator("textarea.label").all()]


def choose(page: Page, button: str, item: str) -> None:
    """Open a menu and choose an entry, or an entry of one of its lists."""
    page.get_by_role("button", name=button, exact=True).click()
    page.locator(".menu").get_by_role("menuitem", name=item).click()


def prompt(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Prompt")


def undo(page: Page) -> None:
    page.get_by_role("button", name="Undo").click()


def redo(page: Page) -> None:
    page.get_by_role("button", name="Redo").click()


def start_empty(page: Page) -> None:
    page.get_by_role("button", name="Start empty").click()
    expect(page.get_by_text("Who is in your clip?")).to_be_visible()
    expect(prompt(page)).to_have_value("")


def test_two_pictures_dropped_become_two_people_and_bad_files_are_named(page: Page, tmp_path: Path) -> None:
    start_empty(page)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    files = [photograph(tmp_path / "Anna.png"), tmp_path / "notes.txt", photograph(tmp_path / "IMG_1.jpg", 900, 600)]
    drop(page, [*files, tmp_path / "broken.png"])
    dialog = page.get_by_role("dialog", name="Where is the face?")
    expect(dialog).to_contain_text("1 of 2")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("2 of 2")
    dialog.get_by_role("button", name="Whole picture").click()
    dialog.get_by_role("button", name="Use this box").click()
    expect(dialog).to_be_hidden()
    assert (labels(page, 1), labels(page, 2)) == (["Anna"], ["first person"])
    refused = page.locator(".refused")
    expect(refused).to_contain_text("“notes.txt” is not a picture")
    expect(refused).to_contain_text("“broken.png” is not a picture")
    refused.get_by_role("button").click()
    expect(refused).to_be_hidden()
    page.get_by_role("button", name="Write it from the cast").first.click()
    expect(prompt(page)).to_have_value("Anna and the first person stand together.")
    render(page)
    for _ in range(3):  # the words, the second face, both people; the first box was taken as it was
        undo(page)
    expect(page.get_by_text("Who is in your clip?")).to_be_visible()


def test_a_box_drawn_by_mouse_and_keys_is_what_the_model_gets(page: Page, tmp_path: Path) -> None:
    start_empty(page)
    drop(page, [photograph(tmp_path / "Both.png", 1800, 1200)])
    dialog = page.get_by_role("dialog", name="Where is the face?")
    picture = dialog.get_by_role("img", name="The whole picture")
    page.wait_for_function("document.querySelector('.face-stage img').naturalWidth === 1600")
    box = picture.bounding_box()
    assert box is not None
    scale = box["width"] / 1800
    page.mouse.move(box["x"] + 100 * scale, box["y"] + 900 * scale)
    page.mouse.down()
    page.mouse.move(box["x"] + 250 * scale, box["y"] + 1000 * scale)
    page.mouse.move(box["x"] + 400 * scale, box["y"] + 1150 * scale)
    page.mouse.up()
    expect(dialog).to_contain_text("300 × 250 px")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowRight")
    expect(dialog).to_contain_text("324 × 250 px")
    dialog.get_by_role("button", name="Somebody else in this picture").click()
    expect(page.locator(".kind-subject")).to_have_count(2)
    dialog.get_by_role("button", name="Whole picture").click()
    page.keyboard.press("Escape")  # what was there stays
    page.wait_for_function(
        "[...document.querySelectorAll('.face .picture img')].every(one => one.naturalWidth === 324)"
    )
    choose(page, "Options of Both", "Draw the face box")
    expect(dialog).to_contain_text("324 × 250 px")
    page.keyboard.press("Escape")


def test_dropped_on_a_person_it_is_worn_and_on_the_tiles_it_is_a_thing_or_the_place(page: Page, tmp_path: Path) -> None:
    drop(page, [photograph(tmp_path / "Straw Hat.png")], ".kind-subject:nth-of-type(2)")
    expect(subject(page, 2).get_by_label("Label of the attribute").last).to_have_value("straw hat")
    drop(page, [photograph(tmp_path / "kite.png")], ".tile.small")
    expect(page.get_by_role("region", name="Object 2").get_by_role("textbox")).to_have_value("kite")
    drop(page, [photograph(tmp_path / "beach.png")], ".kind-background")
    expect(prompt(page)).to_have_value(PROMPT.replace("bright room", "beach"))
    problems = page.locator(".problems")
    problems.get_by_role("button", name="Insert: and a straw hat").click()
    problems.get_by_role("button", name="Insert: beside a kite").click()
    expect(prompt(page)).to_have_value(
        "A man in a red coat and a woman in a green dress and a straw hat stand in a beach, beside a lamp,"
        " beside a kite."
    )
    expect(problems).to_be_hidden()


def test_pictures_are_chosen_and_replaced_with_the_keyboard(page: Page, tmp_path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add an object").press("Enter")
    chooser.value.set_files([photograph(tmp_path / "kite.png"), photograph(tmp_path / "drum.png")])
    kite = page.get_by_role("region", name="Object 2")
    expect(kite.get_by_role("textbox")).to_have_value("kite")
    expect(page.get_by_role("region", name="Object 3").get_by_role("textbox")).to_have_value("drum")
    picture = kite.get_by_role("img", name="Object: kite")
    before = picture.get_attribute("src") or ""
    kite.get_by_role("button", name="Options of kite").press("Enter")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("menuitem", name="Replace the picture").press("Enter")
    chooser.value.set_files(photograph(tmp_path / "other.png", colour="#27ae60"))
    expect(picture).not_to_have_attribute("src", before)
    expect(kite.get_by_role("textbox")).to_have_value("kite")
    undo(page)
    expect(picture).to_have_attribute("src", before)


def test_undo_and_redo_go_through_everything_and_survive_a_reload(page: Page) -> None:
    choose(page, "Options of Subject 1", "Remove")
    expect(page.locator(".kind-subject")).to_have_count(1)
    for number in range(105):
        prompt(page).evaluate(
            "(node, words) => { node.value += words; node.setSelectionRange(9e6, 9e6);"
            " node.dispatchEvent(new Event('input')); }",
            f" and {number}",
        )
    expect(prompt(page)).to_have_value(re_words(105))
    page.reload()
    expect(prompt(page)).to_have_value(re_words(105))
    prompt(page).focus()
    for _ in range(105):
        page.keyboard.press("Control+z")
    expect(prompt(page)).to_have_value(PROMPT)
    expect(page.locator(".kind-subject")).to_have_count(1)
    undo(page)
    expect(page.locator(".kind-subject")).to_have_count(2)
    expect(subject(page, 1)).to_contain_text("named once")
    redo(page)
    expect(page.locator(".kind-subject")).to_have_count(1)
    prompt(page).focus()
    page.keyboard.press("Control+Shift+z")
    expect(prompt(page)).to_have_value(re_words(1))


def re_words(count: int) -> str:
    return PROMPT + "".join(f" and {number}" for number in range(count))


def test_the_last_state_is_there_in_a_new_tab_of_the_same_browser(page: Page) -> None:
    prompt(page).fill(f"{PROMPT} The last word.")
    page.get_by_label("Steps").fill("3")
    page.get_by_label("Steps").blur()
    page.close(run_before_unload=False)
    other = page.context.new_page()
    other.goto(page.url)
    expect(prompt(other)).to_have_value(f"{PROMPT} The last word.")
    expect(other.get_by_label("Steps")).to_have_value("3")
    undo(other)
    expect(prompt(other)).to_have_value(PROMPT)


def test_typing_survives_uploads_and_a_new_order(page: Page, tmp_path: Path) -> None:
    drop(page, [photograph(tmp_path / "hat.png", 2000, 2000)], ".kind-subject")
    prompt(page).press("Control+End")
    prompt(page).press_sequentially(" The woman laughs.", delay=15)
    expect(subject(page, 1).get_by_label("Label of the attribute").last).to_have_value("hat")
    expect(prompt(page)).to_have_value(f"{PROMPT} The woman laughs.")
    label = subject(page, 2).get_by_label("Label of the attribute")
    label.fill("emerald gow")
    # another hand moves the people while this one types
    page.evaluate("document.querySelectorAll('.kind-subject .box-head .icon')[1].click()")
    page.locator(".menu").get_by_role("menuitem", name="Move one place forward").dispatch_event("click")
    expect(subject(page, 1).get_by_label("Label of the face")).to_have_value("woman")
    moved = subject(page, 1).get_by_label("Label of the attribute")
    expect(moved).to_have_value("emerald gow")
    moved.press("End")
    moved.press_sequentially("n")
    moved.press("Enter")
    expect(prompt(page)).to_have_value(PROMPT.replace("green dress", "emerald gown") + " The woman laughs.")
    expect(moved).to_be_focused()


def test_people_change_places_and_are_copied_and_removed(page: Page) -> None:
    choose(page, "Options of Subject 2", "Move one place forward")
    expect(subject(page, 1).get_by_label("Label of the face")).to_have_value("woman")
    choose(page, "Options of Subject 1", "Duplicate")
    expect(page.locator(".kind-subject")).to_have_count(3)
    assert labels(page, 2) == ["woman", "green dress"]
    problems = page.locator(".problems")
    expect(problems).to_contain_text("at once, so it binds none of them")
    problems.get_by_role("button", name="Say “the first woman”").click()
    expect(subject(page, 2).get_by_label("Label of the face")).to_have_value("second woman")
    expect(prompt(page)).to_have_value(PROMPT.replace("a woman", "the first woman"))
    for _ in range(2):
        choose(page, "Options of Subject 2", "Duplicate")
    expect(page.get_by_text("trained with up to 3 people")).to_be_visible()
    choose(page, "Options of Subject 4", "Remove")
    choose(page, "Options of Subject 3", "Remove")
    expect(page.get_by_text("trained with up to 3 people")).to_be_hidden()


def test_clothes_and_things_change_places_with_the_keyboard(page: Page, tmp_path: Path) -> None:
    drop(page, [photograph(tmp_path / "hat.png"), photograph(tmp_path / "scarf.png")], ".kind-subject")
    expect(subject(page, 1).locator("textarea.label")).to_have_count(4)
    for name, item, wanted in (
        ("scarf", "Move one place forward", ["man", "red coat", "scarf", "hat"]),
        ("red coat", "Move one place back", ["man", "scarf", "red coat", "hat"]),
        ("red coat", "Move one place back", ["man", "scarf", "hat", "red coat"]),
    ):
        page.get_by_role("button", name=f"Options of {name}").press("Enter")
        page.get_by_role("menuitem", name=item).press("Enter")
        for place, label in enumerate(wanted):
            expect(subject(page, 1).locator("textarea.label").nth(place)).to_have_value(label)
        expect(page.get_by_role("button", name=f"Options of {name}")).to_be_focused()
    page.get_by_role("button", name="Options of red coat").press("Enter")
    expect(page.get_by_role("menuitem", name="Move one place back")).to_be_disabled()
    page.keyboard.press("Escape")
    assert prompt(page).input_value() == PROMPT
    drop(page, [photograph(tmp_path / "kite.png")], ".tile.small")
    choose(page, "Options of kite", "Move one place forward")
    expect(page.get_by_role("region", name="Object 1").get_by_role("textbox")).to_have_value("kite")


def test_a_dress_swap_by_list_and_by_hand(page: Page) -> None:
    swapped = "A man in a green dress and a woman in a red coat stand in a bright room, beside a lamp."
    page.get_by_role("button", name="Options of red coat").click()
    page.get_by_label("Exchange with").select_option(label="green dress (Subject 2)")
    expect(prompt(page)).to_have_value(swapped)
    assert labels(page, 1) == ["man", "green dress"]
    figures = page.locator(".reference[draggable=true]")
    figures.filter(has=page.get_by_role("button", name="Picture of red coat")).drag_to(
        figures.filter(has=page.get_by_role("button", name="Picture of green dress"))
    )
    expect(prompt(page)).to_have_value(PROMPT)
    assert labels(page, 1) == ["man", "red coat"]
    render(page)


def test_a_thing_is_dragged_to_its_owner(page: Page) -> None:
    figures = page.locator(".reference[draggable=true]")
    figures.filter(has=page.get_by_role("button", name="Picture of lamp")).drag_to(
        subject(page, 1).get_by_role("button", name="Picture of man")
    )
    expect(subject(page, 1).locator("textarea.label")).to_have_count(3)
    assert labels(page, 1) == ["man", "red coat", "lamp"]
    page.get_by_role("button", name="Options of lamp").click()
    page.get_by_label("Belongs to").select_option("objects")
    expect(page.get_by_role("region", name="Object", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Options of lamp")).to_be_focused()


def test_a_person_is_kept_found_inserted_and_deleted(page: Page) -> None:
    choose(page, "Options of Subject 2", "Save as a preset")
    dialog = page.get_by_role("dialog", name="Save as a preset")
    dialog.get_by_label("Name of the preset").fill(f"Greta {HOSTILE}")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog).to_be_hidden()
    scene = page.get_by_role("region", name="Scene")
    scene.get_by_label("Search presets").fill("greta GREEN")
    expect(scene.locator(".preset:visible")).to_have_count(1)
    expect(scene.locator(".preset:visible")).to_contain_text(HOSTILE)
    expect(scene.locator(".preset:visible")).to_contain_text("Person: 1 subject, 1 attribute")
    start_empty(page)
    choose(page, f"Options of the preset Greta {HOSTILE}", "Add to this scene")
    expect(subject(page, 1).get_by_label("Label of the attribute")).to_have_value("green dress")
    page.get_by_role("button", name="Save as a preset").click()
    dialog.get_by_label("Name of the preset").fill(f"Greta {HOSTILE}")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog).to_contain_text("already")
    dialog.get_by_role("button", name="Cancel").click()
    choose(page, f"Options of the preset Greta {HOSTILE}", "Delete")
    page.get_by_role("dialog", name="Delete a preset").get_by_role("button", name="Delete it").click()
    expect(scene.locator(".preset:visible")).to_have_count(0)
    expect(scene).to_contain_text("No preset has these words.")
    assert labels(page, 1) == ["woman", "green dress"]
    assert page.evaluate("window.hacked") is None


def test_hostile_names_stay_text(page: Page, tmp_path: Path) -> None:
    start_empty(page)
    drop(page, [photograph(tmp_path / "<b>bold${window.hacked=2}.png", 300, 300)])
    label = subject(page, 1).get_by_label("Label of the face")
    expect(label).to_have_value("<b>bold${window hacked=2}")
    label.fill(HOSTILE)
    label.press("Enter")
    page.get_by_role("button", name="Write it from the cast").first.click()
    expect(page.locator(".chip")).to_contain_text(HOSTILE)
    expect(page.locator(".prompt mark")).to_have_text(HOSTILE)
    (tmp_path / "<img src=x onerror=alert(1)>.txt").write_text("x")
    drop(page, [tmp_path / "<img src=x onerror=alert(1)>.txt"])
    expect(page.locator(".refused")).to_contain_text("“<img src=x onerror=alert(1)>.txt” is not a picture")
    page.reload()
    expect(page.locator(".prompt mark")).to_have_text(HOSTILE)
    assert page.evaluate("window.hacked") is None
    assert page.locator(".lx img[src=x]").count() == 0


def test_on_a_telephone_everything_is_within_reach(open_page: Callable[..., Page]) -> None:
    page = open_page(width=400, height=800)
    for button in page.locator(".cast button:visible").all():
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 400
    for button in page.locator(".cast .icon").all():
        button.click()
        menu = page.locator(".menu").bounding_box()
        assert menu is not None
        assert menu["x"] >= 0
        assert menu["x"] + menu["width"] <= 400
        assert menu["y"] + menu["height"] <= 800
        page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_label_half_typed_is_there_after_a_reload_and_in_the_next_tab(page: Page) -> None:
    label = subject(page, 1).get_by_label("Label of the attribute")
    label.fill("crimson coa")
    label.press_sequentially("t")  # the field still has the focus: nothing was sent
    page.reload()
    expect(subject(page, 1).get_by_label("Label of the attribute")).to_have_value("crimson coat")
    expect(prompt(page)).to_have_value(PROMPT.replace("red coat", "crimson coat"))
    undo(page)
    expect(prompt(page)).to_have_value(PROMPT)
    page.reload()  # and it is no ghost that comes back
    expect(prompt(page)).to_have_value(PROMPT)
    assert labels(page, 1) == ["man", "red coat"]
    subject(page, 2).get_by_label("Label of the face").press_sequentially(" of the house")
    page.close(run_before_unload=False)
    other = page.context.new_page()
    other.goto(page.url)
    expect(subject(other, 2).get_by_label("Label of the face")).to_have_value("woman of the house")


def test_a_number_half_typed_is_there_after_a_reload(page: Page) -> None:
    page.get_by_label("Steps").fill("17")
    page.reload()
    expect(page.get_by_label("Steps")).to_have_value("17")


def test_the_board_says_what_its_pictures_cost(page: Page) -> None:
    cost = page.locator(".cost")
    expect(cost).to_contain_text("6 pictures make a render about")
    before = cost.inner_text()
    choose(page, "Options of lamp", "Remove")
    expect(cost).to_contain_text("5 pictures make")
    page.get_by_label("Length").select_option(index=0)
    expect(cost).not_to_have_text(before)
    page.get_by_label("Steps").fill("0")
    expect(cost).to_be_hidden()
    page.get_by_label("Steps").fill("4")
    start_empty(page)
    expect(cost).to_be_hidden()
