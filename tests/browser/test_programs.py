"""The studio for programs: the example of the documentation, run as it stands there, and what is refused."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Page, expect

from engine.clip import read_recipe
from engine.pictures import PictureStore
from engine.shared_file import write_shared
from engine.sources import load_source
from tests.browser.acts import hold
from tests.browser.serving import ROOT, Server

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "programs.md").read_text(encoding="utf-8"), re.S)


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    client = Client(server.url, verbose=False)
    yield client
    client.close()


def test_the_examples_of_the_documentation_make_clips(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    store = PictureStore(tmp_path / "pictures")
    scene = load_source(str(server.home / "presets" / "test-pair"), store).scene
    write_shared(scene, store, tmp_path / "scene.lumosx", title="From a program")
    first, second = EXAMPLES
    assert "http://127.0.0.1:7860" in first
    names: dict[str, Any] = {}
    exec(first.replace("http://127.0.0.1:7860", server.url.rstrip("/")), names)
    (path,) = tmp_path.glob("*.mp4")
    request = read_recipe(path).request
    assert (request.settings.seed, request.settings.num_inference_steps) == (7, 8)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == request.settings.num_frames
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("done")
    exec(second, names)
    states = list(names["studio"].submit(names["render"]["job"], api_name="/follow"))
    assert states[-1]["state"] == "done"
    clip = names["studio"].predict(names["render"]["job"], api_name="/fetch")
    assert "my-clip" in clip["name"]
    names["studio"].close()


def test_what_cannot_be_is_told_in_a_sentence(client: Any) -> None:
    for arguments, words in (
        (("no such preset", {}), "neither the name of a preset"),
        ((base64.b64encode(b"no zip").decode(), {}), "no file to share"),
        (("test-pair", {"steps": 3}), "There is no setting “steps”"),
        (("test-pair", {"width": "wide"}), "whole number"),
        (("test-pair", {"num_frames": 6}), "cannot have 6 frames"),
    ):
        with pytest.raises(AppError, match=words):
            client.predict(*arguments, api_name="/submit")
    for name in ("/follow", "/fetch", "/cancel"):
        with pytest.raises(AppError, match="no such render"):
            client.predict("nobody", api_name=name)


def test_a_page_sees_what_a_program_asked_for(client: Any, page: Page, open_page: Callable[..., Page]) -> None:
    hold(page)
    render = client.predict("test-pair", {"seed": 77}, "Asked by a program", api_name="/submit")
    assert render["settings"]["seed"] == "77"
    expect(page.get_by_role("list", name="Queue")).to_contain_text("Asked by a program, seed 77")
    with pytest.raises(AppError, match="no clip"):
        client.predict(render["job"], api_name="/fetch")
    assert client.predict(render["job"], api_name="/cancel") is True
    states = list(client.submit(render["job"], api_name="/follow"))
    assert [one["state"] for one in states] == ["cancelled"]
    expect(page.get_by_role("list", name="Queue").get_by_role("listitem")).to_have_count(0)
