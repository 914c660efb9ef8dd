"""A folder with a scene in it, dropped on the page: it opens as one that is picked, within the same limits."""

from __future__ import annotations

import base64
import mimetypes
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from studio import routes
from studio.theme import WEB
from tests.browser.pictures import photograph
from tests.browser.scenes import PROMPT, write_pair

# Drops folders as Chromium tells of them: as entries, whose contents come in portions, at last an empty one.
DROP_FOLDERS = """
([folders, selector]) => {
  const file = ({ path, type, data, size }) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const made = new File([bytes], path.split("/").at(-1), { type });
    if (size) Object.defineProperty(made, "size", { value: size });
    return made;
  };
  const entries = (all, above) => {
    const below = all.filter(({ path }) => path.startsWith(`${above}/`));
    const names = [...new Set(below.map(({ path }) => path.slice(above.length + 1).split("/")[0]))];
    return names.map((name) => entry(all, `${above}/${name}`));
  };
  const entry = (all, path) => {
    const whole = all.find((one) => one.path === path);
    const common = { name: path.split("/").at(-1), fullPath: `/${path}`, isDirectory: !whole, isFile: Boolean(whole) };
    const given = (done, failed) => (whole.locked ? failed(new Error("no")) : done(file(whole)));
    if (whole) return { ...common, file: given };
    return {
      ...common,
      createReader() {
        const rest = entries(all, path);
        return { readEntries: (done) => setTimeout(() => done(rest.splice(0, 2))) };
      },
    };
  };
  const transfer = new DataTransfer();
  folders.forEach(({ name }) => transfer.items.add(new File([""], name)));
  const dropped = folders.map(({ name, files }) => entry(files, name));
  const real = DataTransferItem.prototype.webkitGetAsEntry;
  DataTransferItem.prototype.webkitGetAsEntry = () => dropped.shift();
  const node = document.querySelector(selector);
  for (const moment of ["dragenter", "dragover", "drop"]) {
    node.dispatchEvent(new DragEvent(moment, { bubbles: true, cancelable: true, dataTransfer: transfer }));
  }
  DataTransferItem.prototype.webkitGetAsEntry = real;
}
"""


def told(folder: Path, **more: object) -> dict[str, object]:
    """A folder as `DROP_FOLDERS` takes it; `more` is true of each of its files."""
    return {
        "name": folder.name,
        "files": [
            {
                "path": path.relative_to(folder.parent).as_posix(),
                "type": mimetypes.guess_type(path.name)[0] or "",
                "data": base64.b64encode(path.read_bytes()).decode(),
                **more,
            }
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ],
    }


def drop_folders(page: Page, *folders: dict[str, object], onto: str = ".masthead") -> None:
    """Drop them on the page as the system's file manager would."""
    page.evaluate(DROP_FOLDERS, [list(folders), onto])


@pytest.fixture
def notice(page: Page) -> Locator:
    """What the board says of things that came in."""
    return page.get_by_role("region", name="Cast").get_by_role("alert").filter(visible=True)


@pytest.mark.parametrize("onto", [".masthead", ".owner .tile"], ids=["anywhere", "on a person"])
def test_a_dropped_folder_opens_as_its_scene(page: Page, tmp_path: Path, onto: str) -> None:
    write_pair(tmp_path / "Holiday", f"{PROMPT} They wave.")
    (tmp_path / "Holiday" / ".DS_Store").write_bytes(b"of the system")
    drop_folders(page, told(tmp_path / "Holiday"), onto=onto)
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(f"{PROMPT} They wave.")
    cast = page.get_by_role("region", name="Cast")
    cast.get_by_text("Holiday", exact=True).wait_for()
    expect(cast.locator("figure")).to_have_count(6)
    page.wait_for_function("[...document.querySelectorAll('.cast img')].every(image => image.naturalWidth > 0)")


def test_of_several_folders_the_first_is_opened_and_that_is_said(page: Page, tmp_path: Path, notice: Locator) -> None:
    write_pair(tmp_path / "One", f"{PROMPT} The first.")
    write_pair(tmp_path / "Two", f"{PROMPT} The second.")
    drop_folders(page, told(tmp_path / "One"), told(tmp_path / "Two"))
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(f"{PROMPT} The first.")
    expect(notice).to_contain_text("“One” was")


def test_what_is_no_scene_or_too_much_is_told_and_the_scene_stays(page: Page, tmp_path: Path, notice: Locator) -> None:
    (tmp_path / "Pictures").mkdir()
    photograph(tmp_path / "Pictures" / "cat.png")
    (tmp_path / "Many" / "deep").mkdir(parents=True)
    for number in range(129):
        (tmp_path / "Many" / "deep" / f"{number}.png").write_bytes(b"x")
    for folder, sentence in (
        (told(tmp_path / "Pictures"), "caption.txt"),
        (told(tmp_path / "Many"), "too many files; 128 at most"),
        (told(tmp_path / "Pictures", size=2**28 + 1), "too large; send 256 MB at most"),
        (told(tmp_path / "Pictures", locked=True), "“Pictures” cannot be read to its end"),
    ):
        drop_folders(page, folder)
        expect(notice).to_contain_text(sentence)
        notice.get_by_role("button").click()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(PROMPT)


def test_the_page_knows_what_the_studio_takes() -> None:
    script = (WEB / "folder.js").read_text(encoding="utf-8")
    assert re.search(r"FOLDER_FILES = (.+?);", script)[1] == str(routes._MAX_FILES)  # type: ignore[index]
    assert "FOLDER_BYTES = 256 * 2 ** 20;" in script
    assert routes._MAX_FOLDER_BYTES == 256 * 2**20
