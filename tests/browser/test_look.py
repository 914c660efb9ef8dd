"""What the page looks like on a small screen and in the dark, and what the server tells strangers."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.acts import right_edges
from tests.browser.serving import Server
from tests.patience import PATIENCE_S

# WCAG contrast of an element's text against the first opaque ground behind it
CONTRAST = """
selector => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const nodes = [...document.querySelectorAll(selector)];
  return nodes.filter(node => node.offsetParent && node.innerText.trim()).map(node => {
    let ground = node;
    const clear = one => (c => c.length === 4 && c[3] < 1)(parse(getComputedStyle(one).backgroundColor));
    while (ground && clear(ground)) ground = ground.parentElement;
    const back = light(parse(getComputedStyle(ground || document.body).backgroundColor));
    const front = light(parse(getComputedStyle(node).color));
    const ratio = (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05);
    const colours = [getComputedStyle(node).color, getComputedStyle(ground || document.body).backgroundColor];
    return [ratio, `${node.outerHTML.slice(0, 120)}: ${colours.join(" on ")}`];
  });
}
"""
TEXTS = ".lx :is(h1, h2, h3, .quiet, figcaption span, button, .badge, .field label, .name, .about)"


def test_nothing_sticks_out_on_a_telephone(open_page: Callable[..., Page]) -> None:
    page = open_page(width=400, height=800)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    edges = right_edges(page)
    assert len(edges) > 20
    assert max(edges) <= 400


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read(open_page: Callable[..., Page], dark: bool) -> None:
    page = open_page(dark=dark)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(23, 22, 20)" if dark else "rgb(250, 249, 246)")
    contrasts: list[tuple[float, str]] = page.evaluate(CONTRAST, TEXTS)
    assert len(contrasts) > 20
    assert [what for ratio, what in contrasts if ratio < 4.5] == []


def test_the_running_server_refuses_foreign_names(server: Server) -> None:
    for path in ("", "studio/hello", "gradio_api/info", "config"):
        request = urllib.request.Request(server.url + path, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=PATIENCE_S)
        caught.value.close()
        assert caught.value.code == 400


def test_files_of_the_machine_cannot_be_fetched(server: Server) -> None:
    for path in (
        "gradio_api/file=/etc/passwd",
        f"gradio_api/file={server.home}/studio.json",
        "studio/clip/..%2fstudio.json",
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(server.url + path, timeout=PATIENCE_S)
        caught.value.close()
        assert caught.value.code in (403, 404)
