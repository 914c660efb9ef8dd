"""A shared studio and two people: whatever is one's own, nobody else can list, open, see, follow or fetch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.acts import PATIENCE_MS
from tests.browser.asking import Json, Visitor
from tests.browser.scenes import write_pair
from tests.browser.serving import Server, start_server, stop_server
from tests.browser.tiny_engine import SLOW
from tests.patience import wait_until

PASSWORD = "a long word"
TOKEN = "a" * 32


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A studio that is open to everyone on this machine, whose owner has a preset and a clip of before."""
    home = tmp_path_factory.mktemp("shared")
    write_pair(home / "presets" / "of-the-owner")
    (home / "clips").mkdir()
    (home / "clips" / "of-the-owner.mp4").write_bytes(b"not for visitors")
    process, found = start_server(home, "--port", "8840", "--open-to-everyone")
    yield found
    assert stop_server(process) == 0


@dataclass(frozen=True)
class Things:
    """What the first visitor has made, by how it is asked for."""

    scene: Json
    job: str
    clip: str
    pictures: list[str]
    addresses: list[str]
    preset: str
    task: str


@pytest.fixture(scope="module")
def anna(shared: Server) -> Iterator[Visitor]:
    visitor = Visitor(shared.url)
    yield visitor
    visitor.close()


@pytest.fixture
def ben(shared: Server) -> Iterator[Visitor]:
    visitor = Visitor(shared.url)
    yield visitor
    visitor.close()


@pytest.fixture(scope="module")
def things(anna: Visitor, tmp_path_factory: pytest.TempPathFactory) -> Things:
    """Everything that can be made: pictures, a clip, a draft, a preset, an export, a file to share."""
    folder = tmp_path_factory.mktemp("sent") / "pair"
    write_pair(folder)
    scene = anna.send_folder(folder)
    pictures = [one["image"] for subject in scene["scene"]["subjects"] for one in [subject["face"]]]
    job = anna.render(scene)["job"]
    done = anna.finished(job)
    assert done["state"] == "done", done
    clip = done["clip"]["name"]
    entry = {"scene": scene["scene"], "title": "Mine", "preset": None}
    kept = anna.ask("keep", token=TOKEN, present="0", past=[], future=[], entries={"0": entry}, settings={})
    assert kept == {"missing": []}
    preset = anna.ask("save_preset", scene=scene["scene"], what="scene", name="Of Anna")["preset"]
    shared = anna.ask("share", scene=scene["scene"], what="scene", name="To share")["url"]
    saving = anna.ask("save", clip=clip, format="gif")
    task = saving["task"]
    export = _result(anna, task)["url"]
    addresses = [
        *(f"/studio/picture/{picture}" for picture in pictures),
        f"/studio/clip/{clip}", f"/studio/poster/{clip}?frame=0", f"/studio/strip/{clip}", f"/{shared}", f"/{export}",
    ]  # fmt: skip
    for address in addresses:
        assert anna.http.get(address).status_code == 200, address
    return Things(scene, job, clip, pictures, addresses, preset, task)


def _result(visitor: Visitor, task: str) -> Json:
    wait_until(lambda: visitor.ask("task", task=task)["state"] == "done", "an end of that task")
    return visitor.ask("task", task=task)["result"]


def test_no_address_of_ones_own_opens_for_another(shared: Server, things: Things, ben: Visitor) -> None:
    stranger = httpx.Client(base_url=shared.url, trust_env=False)
    for address in things.addresses:
        assert ben.http.get(address).status_code == 404, address
        assert stranger.get(address).status_code == 401, address
    stranger.close()


def test_no_list_names_what_is_anothers(things: Things, ben: Visitor) -> None:
    seen = ben.ask("look")
    assert seen["jobs"] == []
    assert "preview" not in seen
    assert ben.ask("clips")["names"] == []
    names = [preset["name"] for preset in ben.ask("begin")["presets"]]
    assert things.preset not in names
    assert "of-the-owner" not in names
    assert names != []
    assert ben.ask("reopen", token=TOKEN) == {"draft": None}


def test_no_message_touches_what_is_anothers(anna: Visitor, things: Things, ben: Visitor) -> None:
    job, clip = {"job": things.job}, {"clip": things.clip}
    edit = {"clip": things.clip, "start": 0, "end": 1}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("queue_open", job), ("queue_log", job), ("queue_retry", job), ("queue_forget", job),
        ("queue_move", {**job, "by": -1}), ("report", job), ("report", {}), ("queue_pause", {"paused": True}),
        ("open_clip", clip), ("clip_remove", clip), ("clip_rename", {**clip, "title": "x"}), ("clip_swap", clip),
        ("clip_poster", {**clip, "frame": 1}), ("save", {**clip, "format": "gif"}), ("clip_edit", {"edit": edit}),
        ("choose", {"preset": things.preset}), ("insert_preset", {"preset": things.preset, **things.scene}),
        ("delete_preset", {"preset": things.preset}), ("delete_preset", {"preset": "01-two-friends-in-the-park"}),
        ("share_preset", {"preset": things.preset, "name": "x"}), ("task", {"task": things.task}),
        ("open", {"path": "/etc"}), ("models_do", {"kind": "remove", "name": "nano"}),
        ("framing", {"picture": things.pictures[0], "mask": None}), ("find_faces", {"picture": things.pictures[0]}),
        ("cut_open", {"picture": things.pictures[0], "cutter": "grabcut"}),
        ("share", {"scene": things.scene["scene"], "what": "scene", "name": "x"}),
        ("save_preset", {"scene": things.scene["scene"], "what": "scene", "name": "x"}),
    ]  # fmt: skip
    for do, fields in asked:
        answer = ben.ask(do, **fields)
        assert "error" in answer, (do, answer)
        for words in ("went wrong", "incomplete", "older than"):  # refused for whose it is, not for how it is asked
            assert words not in answer["error"], (do, answer)
    assert ben.ask("cancel", job=things.job) == {"cancelled": False}
    assert ben.render(things.scene).get("error", "").startswith("The picture of")
    assert things.clip in anna.ask("clips")["names"]
    assert [one["id"] for one in anna.ask("look")["jobs"]] == [things.job]


def test_a_preview_is_its_owners_and_a_later_visitor_is_served_between(
    anna: Visitor, ben: Visitor, tmp_path: Path
) -> None:
    scenes: list[Json] = []
    for visitor, prompt in ((anna, f"{SLOW} a man and a woman"), (ben, "a man and a woman")):
        folder = tmp_path / f"pair{len(scenes)}"
        write_pair(folder, prompt)
        scenes.append(visitor.send_folder(folder))
    # the longest there are, so that the first is still under way and the second not done when we look
    first, _, last = (anna.ask("render", **_wanted(anna, scenes[0]))["job"] for _ in range(3))
    between = ben.render(scenes[1])["job"]
    wait_until(lambda: "preview" in anna.ask("look"), "a preview for whose render it is")
    assert "preview" not in ben.ask("look")
    assert {one["id"]: one["state"] for one in anna.ask("look")["jobs"]}[first] == "running"
    assert anna.ask("cancel", job=first) == {"cancelled": True}
    assert ben.finished(between)["state"] == "done"
    states = {one["id"]: one["state"] for one in anna.ask("look")["jobs"]}
    assert states[first] == "cancelled"
    assert states[last] == "waiting"
    for one in states:
        anna.ask("cancel", job=one)
    anna.finished(last)


def _wanted(visitor: Visitor, scene: Json) -> Json:
    engine = next(one for one in visitor.ask("begin")["engines"] if one["name"] == "nano")
    settings = {**engine["defaults"], "num_inference_steps": 200}
    return {"scene": scene["scene"], "prompt": scene["prompt"], "settings": settings, "title": "Slow",
            "allow_unbound": True}  # fmt: skip


def test_at_most_ten_renders_of_one_person_wait(ben: Visitor, tmp_path: Path) -> None:
    write_pair(tmp_path / "pair", f"{SLOW} a man and a woman")
    scene = ben.send_folder(tmp_path / "pair")
    wanted = _wanted(ben, scene)
    assert "job" in ben.ask("render", **wanted, count=8)
    assert "At most 10" in ben.ask("render", **wanted, count=3)["error"]
    for one in ben.ask("look")["jobs"]:
        ben.ask("cancel", job=one["id"])


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/gradio_api/upload", "/gradio_api/queue/data",
        "/gradio_api/queue/join", "/gradio_api/call/submit", "/gradio_api/proxy=http://127.0.0.1/", "/monitoring",
        "/gradio_api/runs", "/static/../gradio_api/upload", "/gradio_api/./upload", "//gradio_api/upload",
        "/studio/..%2F..%2Fetc/passwd", "/studio/clip/..%2Fof-the-owner.mp4", "/studio/clip/of-the-owner.mp4",
        "/file=/etc/passwd", "/assets/..%2f..%2fetc/passwd",
    ],
)  # fmt: skip
def test_tricks_and_doors_of_gradio_lead_nowhere(ben: Visitor, path: str) -> None:
    url = httpx.URL(scheme="http", host="127.0.0.1", port=ben.http.base_url.port, raw_path=path.encode())
    for method in ("GET", "POST"):
        answer = ben.http.request(method, url)
        assert answer.status_code in (404, 405), (method, answer.status_code)
        assert b"root:" not in answer.content
        assert b"not for visitors" not in answer.content


def test_other_names_and_other_sites_are_refused(shared: Server, ben: Visitor) -> None:
    for name in ("evil.example", "127.0.0.1.evil.example", "", "[::1"):
        assert ben.http.get("/", headers={"Host": name}).status_code == 400, name
    body = {"data": {"do": "clips"}, "component_id": ben.component, "fn_name": "ask", "session_hash": "x"}
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert ben.http.post("/gradio_api/component_server", json=body, headers=headers).status_code == 403
    picture = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert ben.http.get("/studio/clip/x.mp4", headers=picture).status_code == 403
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ben.http.get("/", headers=followed).status_code == 200
    cookie = ben.page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_forged_cookie_is_nobodys(shared: Server, ben: Visitor) -> None:
    (name,) = ben.http.cookies
    value = ben.http.cookies[name]
    visitor, _, signature = value.partition(".")
    for forged in (f"{'0' * 32}.{signature}", visitor, f"{visitor}.", f"../../x.{signature}", f"{visitor}.é"):
        headers = [(b"Cookie", f"{name}={forged}".encode())]
        answer = httpx.get(f"{shared.url}config", headers=headers, trust_env=False)
        assert answer.status_code == 401, forged
    assert len(list((shared.home / "visitors").glob("0000*"))) == 0


def test_too_long_a_message_is_not_read(ben: Visitor) -> None:
    answer = ben.http.post("/gradio_api/component_server", content=b"{" + b" " * (17 * 2**20))
    assert answer.status_code == 413


def test_with_a_password_nothing_opens_before_it(tmp_path: Path) -> None:
    process, server = start_server(tmp_path, "--port", "8845", "--password", PASSWORD)
    try:
        stranger = Visitor(server.url)
        assert "password" in stranger.page.text
        assert "gradio" not in stranger.page.text
        assert stranger.http.get("/config").status_code == 401
        wrong = stranger.http.post("/studio/enter", data={"password": "something else"})
        assert (wrong.status_code, list(wrong.cookies)) == (403, [])
        stranger.close()
        guest = Visitor(server.url, PASSWORD)
        assert guest.ask("begin")["local"] is False
        guest.close()
    finally:
        assert stop_server(process) == 0


def test_two_people_in_two_browsers(shared: Server, browser: Browser, anna: Visitor, things: Things) -> None:
    (name,) = anna.http.cookies
    titles: list[int] = []
    refused: list[str] = []
    for cookies in ([{"name": name, "value": anna.http.cookies[name], "url": shared.url}], []):
        context = browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        if cookies:
            context.add_cookies(cookies)  # pyright: ignore[reportArgumentType]
        page = context.new_page()
        page.on("response", lambda one: refused.append(one.url) if one.status >= 400 else None)
        page.goto(shared.url)
        expect(page.get_by_role("heading", name="LumosX Studio")).to_be_visible()
        page.get_by_role("button", name="Models").first.wait_for()
        gallery = page.get_by_role("region", name="Clips")
        clips = page.locator(f'video[src*="{things.clip}"], img[src*="{things.clip}"]')
        here = gallery.get_by_role("article").first if cookies else gallery.get_by_text("Finished clips gather here")
        expect(here).to_be_visible()
        page.wait_for_timeout(1500)
        assert page.get_by_role("button", name="Pause queue").count() == 0
        titles.append(clips.count())
        context.close()
    assert titles[0] > 0
    assert titles[1] == 0
    assert refused == []
