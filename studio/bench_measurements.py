"""What is measured on the page, as a list: `MEASUREMENTS`. To measure more, add one more to it.

Each acts on a page that has just been opened on a server that has just started; they happen in the order of the list.
Times are taken in the page itself, at the frame that shows what is waited for, and are in seconds.
"""

from __future__ import annotations

import functools
import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studio.bench_cutter import TIMED

if TYPE_CHECKING:
    from playwright.sync_api import Page

_FRAME_S = 1 / 60
_TYPED = " They move slowly."
_STEPS = 200
_PHOTOGRAPH = (6000, 4000)  # px: 24 megapixels
_CLICKS = 5

# In every page from its beginning: the first frame that shows it usable, and the first that shows a render's progress.
MOMENTS = r"""
window.lxMoments = {};
(() => {
  const line = () => document.querySelector(".lx .status .line")?.textContent ?? "";
  const holds = {
    usable: () =>
      document.querySelector(".lx .preset") &&
      document.querySelector(".lx .cast figure") &&
      !document.querySelector(".lx [inert]"),
    progress: () => /step \d+ of \d+/.test(line()),
  };
  const look = () => {
    for (const name in holds) if (!(name in lxMoments) && holds[name]()) lxMoments[name] = performance.now() / 1000;
    if (Object.keys(holds).some((name) => !(name in lxMoments))) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""

# For every key: the first frame that shows the new letter, and the first in which the phrases have their colours again.
_WATCH_EDITS = r"""
() => {
  const area = document.querySelector("#lx-prompt");
  const mirror = document.querySelector(".lx .prompt .mirror");
  let began = 0;
  window.lxEdits = [];
  area.addEventListener("keydown", (event) => (began = event.timeStamp));
  area.addEventListener("input", () => {
    const edit = { began, frame: null, answer: null };
    const value = area.value;
    lxEdits.push(edit);
    const look = () => {
      const shown = mirror.textContent === value + "\u200b";
      if (shown && edit.frame === null) edit.frame = performance.now();
      if (shown && mirror.querySelector("mark")) edit.answer = performance.now();
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  area.focus();
  area.setSelectionRange(area.value.length, area.value.length);
}
"""

# From the page's question for the list to the frame that holds all entries, and from the first look at them to the
# frame in which every poster in view is decoded: the two together. Then a search, from the letter to the frame that
# shows what fits.
_SHOW_CLIPS = r"""
async (total) => {
  const frame = () => new Promise(requestAnimationFrame);
  const painted = async () => {
    await frame();
    await new Promise((done) => setTimeout(done)); // behind the frame that paints it
    return performance.now();
  };
  const cards = () => [...document.querySelectorAll(".lx article.clip")];
  const at = (name) => performance.getEntriesByName(name)[0]?.startTime;
  while (at("lx-gallery-listed") === undefined) await frame();
  if (cards().length !== total) throw new Error(`${cards().length} clips are listed`);
  const listing = at("lx-gallery-listed") - at("lx-gallery-asked");
  const began = performance.now();
  cards()[0].scrollIntoView();
  await frame();
  const inView = () => cards().map((card) => card.querySelector("img")).filter((image) => {
    const { top, bottom } = image.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  });
  while (!inView().length || !inView().every((image) => image.complete && image.naturalWidth)) await frame();
  await Promise.all(inView().map((image) => image.decode()));
  const shown = (await painted()) - began;
  const search = document.querySelector(".lx .gallery input[type=search]");
  const typed = performance.now();
  search.value = "seed 3";
  search.dispatchEvent(new Event("input", { bubbles: true }));
  if (!cards().some((card) => card.hidden)) throw new Error("the search hides nothing");
  const searched = (await painted()) - typed;
  search.value = "";
  search.dispatchEvent(new Event("input", { bubbles: true }));
  return [(listing + shown) / 1000, searched / 1000];
}
"""

# From the click on the button to the first frame in which the queue shows a job that was not there before.
_WATCH_RENDER = r"""
() => {
  const panel = document.querySelector('.lx section[aria-label="Render"]');
  const shown = () => `${panel.dataset.job ?? ""}/${panel.querySelectorAll(".queue li[data-state=waiting]").length}`;
  const before = shown();
  window.lxQueued = null;
  const clicked = (event) => {
    const look = () => {
      if (shown() !== before) window.lxQueued = (performance.now() - event.timeStamp) / 1000;
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  };
  panel.querySelector("button.main").addEventListener("click", clicked, { once: true, capture: true });
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One repeat: a server that has just started, and the page that was opened on it. Times in seconds."""

    page: Page
    import_gradio_s: float
    server_s: float
    num_clips: int


Figures = dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A line of the table; `limit_s` is what is promised, None where nothing is."""

    name: str
    title: str
    limit_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Figures that are taken together: `take` acts on a visit and returns the seconds of each, by name."""

    figures: tuple[Figure, ...]
    take: Callable[[Visit], Figures]


# The measurements -----------------------------------------------------------------------------------------------------


def _start(visit: Visit) -> Figures:
    return {
        "import_gradio_s": [visit.import_gradio_s],
        "server_ready_s": [visit.server_s],
        "server_over_import_gradio_s": [visit.server_s - visit.import_gradio_s],
    }


def _usable(visit: Visit) -> Figures:
    return {"page_usable_s": [moment(visit.page, "usable")]}


def _edits(visit: Visit) -> Figures:
    page = visit.page
    page.evaluate(_WATCH_EDITS)
    for number, letter in enumerate(_TYPED, start=1):
        page.keyboard.type(letter)
        page.wait_for_function("number => lxEdits.length === number && lxEdits.at(-1).answer !== null", arg=number)
    edits: list[dict[str, float]] = page.evaluate("lxEdits")
    return {
        "edit_to_frame_s": [(edit["frame"] - edit["began"]) / 1000 for edit in edits],
        "edit_to_answer_s": [(edit["answer"] - edit["began"]) / 1000 for edit in edits],
    }


def _gallery(visit: Visit) -> Figures:
    shown, searched = visit.page.evaluate(_SHOW_CLIPS, visit.num_clips)
    return {"gallery_shown_s": [shown], "gallery_search_s": [searched]}


def _cut(visit: Visit) -> Figures:
    page = visit.page
    # The first box's face comes first, then what that person wears.
    worn = page.locator("figure", has=page.get_by_role("button", name=re.compile("^Cut out "))).nth(1)
    picture = worn.get_by_role("img")
    before = picture.get_attribute("src")
    worn.get_by_role("button", name=re.compile("^Options of ")).click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("menuitem", name="Replace the picture").click()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jacket.jpg"
        path.write_bytes(_photograph())
        chooser.value.set_files(path)
        replaced = "([node, before]) => node.getAttribute('src') !== before"
        page.wait_for_function(replaced, arg=[picture.element_handle(), before])
    worn.get_by_role("button", name=re.compile("^Cut out ")).click()
    width, height = _PHOTOGRAPH
    dialog = page.locator(f"dialog.cutter[data-ready][data-picture='{width}x{height}']")
    dialog.wait_for()
    _click_around(page, 0)
    page.get_by_role("button", name="Start over").click()  # answered, too
    page.wait_for_function("count => performance.getEntriesByName('lumosx-cut-answer').length > count", arg=_CLICKS)
    dialog.get_by_label("Cutter").select_option(TIMED.name)
    page.locator(f"dialog.cutter[data-ready='{TIMED.name}']").wait_for()
    earlier: int = page.evaluate("performance.getEntriesByName('lumosx-cut-answer').length")
    _click_around(page, earlier)
    took: dict[str, list[float]] = page.evaluate(
        "Object.fromEntries(['lumosx-cut-ready', 'lumosx-cut-answer'].map((name) => "
        "[name, performance.getEntriesByName(name).map((entry) => entry.duration / 1000)]))"
    )
    page.keyboard.press("Escape")
    answers = took["lumosx-cut-answer"]
    return {
        "large_picture_ready_s": took["lumosx-cut-ready"],
        "click_to_mask_s": answers[:_CLICKS],
        "click_to_timed_mask_s": answers[earlier:],
    }


def _click_around(page: Page, answers: int) -> None:
    """Click about the middle of the picture, one click after the other's answer; `answers` came before."""
    box = page.locator("dialog.cutter canvas").bounding_box()
    assert box is not None
    for number in range(_CLICKS):
        across, down = 0.4 + 0.05 * number, 0.45 + 0.03 * number
        page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])
        counted = "count => performance.getEntriesByName('lumosx-cut-answer').length > count"
        page.wait_for_function(counted, arg=answers + number)


@functools.cache
def _photograph() -> bytes:
    """A JPEG file of 24 megapixels with something in its middle to cut out."""
    import numpy as np
    from PIL import Image

    width, height = _PHOTOGRAPH
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    grain = np.random.default_rng(1).integers(0, 10, (height, width), dtype=np.uint8)
    inside = ((columns / width - 0.5) / 0.28) ** 2 + ((rows / height - 0.5) / 0.38) ** 2 < 1
    pixels = np.stack([np.where(inside, 150, 40), np.where(inside, 60, 120), np.where(inside, 50, 150)], axis=2)
    file = io.BytesIO()
    Image.fromarray((pixels + grain[..., None]).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _render(visit: Visit) -> Figures:
    page = visit.page
    page.get_by_label("Steps").fill(str(_STEPS))
    page.evaluate(_WATCH_RENDER)
    page.get_by_role("button", name="Render", exact=True).click()
    page.wait_for_function("lxQueued !== null")
    queued: float = page.evaluate("lxQueued")
    moment(page, "progress")
    page.reload(wait_until="commit")
    shown = moment(page, "progress")
    page.get_by_role("button", name="Cancel").click()
    page.locator(".lx section.panel[data-state=cancelled]").wait_for()
    return {"render_click_to_queue_s": [queued], "reload_to_progress_s": [shown]}


def moment(page: Page, name: str) -> float:
    """Wait for a moment of `MOMENTS`; seconds since the page's navigation began."""
    page.wait_for_function("name => name in lxMoments", arg=name)
    seconds: float = page.evaluate("name => lxMoments[name]", name)
    return seconds


MEASUREMENTS = (
    Measurement(
        figures=(
            Figure(name="import_gradio_s", title="a bare “import gradio”"),
            Figure(name="server_ready_s", title="server ready"),
            Figure(name="server_over_import_gradio_s", title="server ready, beyond the import", limit_s=1.5),
        ),
        take=_start,
    ),
    Measurement(figures=(Figure(name="page_usable_s", title="page usable after that", limit_s=1.5),), take=_usable),
    Measurement(
        figures=(
            Figure(name="edit_to_frame_s", title="a key in the prompt, to the frame that shows it", limit_s=_FRAME_S),
            Figure(name="edit_to_answer_s", title="a key in the prompt, to the phrases' colours"),
        ),
        take=_edits,
    ),
    Measurement(
        figures=(
            Figure(name="gallery_shown_s", title="all clips in the gallery, with their pictures", limit_s=1.0),
            Figure(name="gallery_search_s", title="a search among them, to what fits"),
        ),
        take=_gallery,
    ),
    Measurement(
        figures=(
            Figure(name="large_picture_ready_s", title="a picture of 24 megapixels, to be cut", limit_s=1.5),
            Figure(name="click_to_mask_s", title="a click in it, to the mask of the built-in cutter"),
            Figure(
                name="click_to_timed_mask_s", title="a click in it, to a mask that takes 50 ms itself", limit_s=0.15
            ),
        ),
        take=_cut,
    ),
    Measurement(
        figures=(
            Figure(name="render_click_to_queue_s", title="click on Render, to the job in the queue"),
            Figure(name="reload_to_progress_s", title="reload during a render, to its progress", limit_s=1.0),
        ),
        take=_render,
    ),
)
