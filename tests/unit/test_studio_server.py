"""The plain routes and guards, asked as a stranger would ask them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from engine.clip import ClipWriter
from engine.errors import InputError
from engine.pictures import PictureStore
from studio.guards import middleware
from studio.instance import HELLO
from studio.models_desk import ModelsDesk
from studio.routes import PageRoutes, file_name, inside
from tests.unit.small_recipe import small_recipe

KEY = "a-key"


class _Site:
    def __init__(self, home: Path) -> None:
        self.pictures = PictureStore(home / "pictures")
        self.clips = home / "clips"
        self.clips.mkdir()
        (self.clips / "one.mp4").write_bytes(bytes(range(256)))
        (self.clips / "notes.txt").write_text("private")
        (home / "secret.mp4").write_bytes(b"secret")
        self.received: list[tuple[dict[str, bytes], str]] = []
        app = Starlette(
            routes=PageRoutes(
                key=KEY, pictures=lambda: self.pictures, clips=lambda: self.clips, exports=lambda: home / "exports",
                read_folder=self._read, receive_picture=self._picture, receive_clip=self._clip,
                receive_shared=self._shared, ask=self._ask, ask_as=self._ask_as, models=ModelsDesk(local=True),
            ).all(),
            middleware=middleware("127.0.0.1"),
        )  # fmt: skip
        self.client = TestClient(app, base_url="http://127.0.0.1:7860")

    def _picture(self, data: bytes, name: str) -> dict[str, Any]:
        return {"size": len(data), "name": name}

    def _shared(self, path: Path, name: str, keep: bool) -> dict[str, Any]:
        if path.read_bytes() == b"bad":
            raise InputError(f"“{path.name}” holds no scene.")
        return {"size": path.stat().st_size, "name": name, "keep": keep, "ending": path.suffix}

    def _clip(self, path: Path, name: str) -> dict[str, Any]:
        if path.read_bytes() == b"foreign":
            raise InputError(f"“{name}” holds no recipe.")
        return {"bytes": path.stat().st_size, "ending": path.suffix, "name": name}

    def _ask(self, message: Any) -> dict[str, Any]:
        return {"asked": message}

    def _ask_as(self, request: Request, message: Any) -> dict[str, Any]:
        return {"asked": message, "pass": request.headers.get("x-ip-token")}

    def _read(self, folder: Path, title: str) -> dict[str, Any]:
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.received.append((files, title))
        if title == "empty":
            raise InputError(f"The folder “{folder}” is empty.")
        if title == "bad":
            raise InputError("This folder holds no scene; choose another one.")
        return {"title": title}

    def send(self, paths: list[str], **headers: str) -> Any:
        files = [("file", (f"f{number}", b"data", "application/octet-stream")) for number in range(len(paths))]
        return self.client.post("/studio/folder", data={"path": paths}, files=files, headers=headers)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Site]:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path))
    site = _Site(tmp_path)
    with site.client:
        yield site


def test_hello_proves_who_answers(site: _Site) -> None:
    assert site.client.get(HELLO).json() == {"app": "lumosx-studio", "key": KEY}


def test_clips_come_whole_and_in_ranges(site: _Site) -> None:
    whole = site.client.get("/studio/clip/one.mp4")
    assert whole.status_code == 200
    assert whole.headers["content-type"] == "video/mp4"
    part = site.client.get("/studio/clip/one.mp4", headers={"Range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == bytes(range(10, 20))


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "..%2Fsecret.mp4", "%2e%2e/secret.mp4", "..%5Csecret.mp4", ".hidden.mp4", "gone.mp4", "%00.mp4"],
)
def test_nothing_else_is_served(site: _Site, name: str) -> None:
    answer = site.client.get(f"/studio/clip/{name}")
    assert answer.status_code == 404
    assert b"secret" not in answer.content


def test_a_picture_comes_small_and_may_be_kept(site: _Site) -> None:
    picture = site.pictures.add_array(np.full((900, 1200, 3), 77, np.uint8))
    answer = site.client.get(f"/studio/picture/{picture}")
    assert answer.headers["content-type"] == "image/webp"
    assert "immutable" in answer.headers["cache-control"]
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (448, 336)


def test_a_masked_picture_comes_as_the_model_sees_it(site: _Site) -> None:
    picture = site.pictures.add_array(np.zeros((40, 40, 3), np.uint8))
    keep = np.zeros((40, 40), np.uint8)
    keep[10:20, 5:35] = 255
    mask = site.pictures.add_mask(keep)
    answer = site.client.get(f"/studio/picture/{picture}?mask={mask}&role=attribute")
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (30, 10)
    assert site.client.get(f"/studio/picture/{picture}?mask={mask}&role=villain").status_code == 404
    assert site.client.get(f"/studio/picture/{'0' * 64}").status_code == 404
    assert site.client.get("/studio/picture/..%2f..%2fetc").status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.9:7860"])
def test_a_foreign_name_is_refused(site: _Site, host: str) -> None:
    assert site.client.get(HELLO, headers={"Host": host}).status_code == 400


def test_other_sites_cannot_post_here(site: _Site) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
        assert site.send(["x/caption.txt"], Origin=origin).status_code == 403
    assert site.received == []
    assert site.send(["x/caption.txt"], Origin="http://127.0.0.1:7860").status_code == 200


def test_a_folder_arrives_without_its_own_name_and_without_what_no_scene_needs(site: _Site) -> None:
    paths = ["Trip/caption.txt", "Trip/subjects/1/face_man.png", "Trip/.DS_Store", "Trip/run.exe", "Trip/a/b/c/d/e.png"]
    assert site.send(paths).json() == {"title": "Trip"}
    files, _ = site.received[0]
    assert sorted(files) == ["caption.txt", "subjects/1/face_man.png"]


@pytest.mark.parametrize("path", ["Trip/../../evil.txt", "/etc/evil.txt", "Trip/..\\..\\evil.txt", "C:/x/evil.txt"])
def test_a_file_cannot_leave_its_folder(site: _Site, path: str) -> None:
    assert "leads out" in site.send([path]).json()["error"]
    with pytest.raises(InputError):
        inside(Path("/tmp"), path)


def test_what_is_wrong_with_a_folder_is_a_sentence(site: _Site) -> None:
    assert site.send(["bad/caption.txt"]).json() == {"error": "This folder holds no scene; choose another one."}
    assert site.send(["empty/caption.txt"]).json() == {"error": "The folder “empty” is empty."}
    assert "too many files" in site.send([f"big/{number}.png" for number in range(200)]).json()["error"]
    assert "too large" in site.send(["x/caption.txt"], **{"Content-Length": str(2**40)}).json()["error"]
    assert "empty" in site.client.post("/studio/folder", files=[("other", b"x")]).json()["error"]


def test_a_page_that_leaves_while_it_sends_is_no_fault(site: _Site, caplog: pytest.LogCaptureFixture) -> None:
    begun = b'--x\r\nContent-Disposition: form-data; name="path"\r\n\r\nTrip/caption.txt'
    messages = iter([{"type": "http.request", "body": begun, "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {"Host": "127.0.0.1:7860", "Content-Type": "multipart/form-data; boundary=x", "Content-Length": "1000"}
    scope = {
        "type": "http", "method": "POST", "path": "/studio/folder", "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip

    async def ask() -> None:
        await site.client.app(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 400
    assert caplog.records == []
    assert site.received == []


def test_names_with_other_letters_are_served_too() -> None:
    assert file_name("Zwei Freunde – 朋友.mp4") == "Zwei Freunde – 朋友.mp4"
    assert file_name("a/b.mp4") is None
    assert file_name("友" * 84 + ".mp4") is None
    assert file_name("mp4") is None or not Path("mp4").suffix


def test_a_picture_is_received_with_its_name_and_one_too_large_is_not(
    site: _Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = site.client.post("/studio/pictures?name=%E7%BA%A2%20a.png", content=b"pixels")
    assert answer.json() == {"size": 6, "name": "红 a.png"}
    monkeypatch.setattr("studio.routes.MAX_FILE_BYTES", 3)
    assert "“big.png” is larger" in site.client.post("/studio/pictures?name=big.png", content=b"pixels").json()["error"]


def test_a_page_that_is_closed_leaves_its_draft_and_nothing_else(site: _Site) -> None:
    left = site.client.post("/studio/draft", content=b'{"do": "keep", "token": "x"}')
    assert left.json() == {"asked": {"do": "keep", "token": "x"}}
    for content in (b"", b"{", b"[]", b'{"do": "render"}', b'{"do": "keep"' + b" " * 3_000_000 + b"}"):
        assert site.client.post("/studio/draft", content=content).status_code == 400
    foreign = site.client.post("/studio/draft", content=b'{"do": "keep"}', headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403


def test_a_shared_file_is_taken_in_by_its_name(site: _Site) -> None:
    sent = site.client.post("/studio/shared?name=C:%5Cx%5Cfriends.lumosx&keep=1", content=b"12345")
    assert sent.json() == {"size": 5, "name": "friends.lumosx", "keep": True, "ending": ".lumosx"}
    sent = site.client.post("/studio/shared?name=friends.zip", content=b"bad")
    assert sent.json() == {"error": "“friends.zip” holds no scene."}
    assert "no file to share" in site.client.post("/studio/shared?name=x.exe", content=b"MZ").json()["error"]


def test_a_shared_file_that_is_too_large_is_not_kept(site: _Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio.routes.MAX_SHARED_BYTES", 2**20)
    sent = site.client.post("/studio/shared?name=x.lumosx", content=bytes(2**20 + 1))
    assert "larger than 1 MB" in sent.json()["error"]


def test_a_clip_that_is_sent_is_read_and_what_is_none_is_a_sentence(
    site: _Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(name: str, content: bytes) -> dict[str, Any]:
        return site.client.post("/studio/scene", params={"name": name}, content=content).json()

    assert send("红 a.MP4", b"1234") == {"bytes": 4, "ending": ".mp4", "name": "红 a.MP4"}
    assert "“a.mp4” holds no recipe" in send("a.mp4", b"foreign")["error"]
    assert "no clip of the studio" in send("a.mkv", b"x")["error"]
    assert "no clip of the studio" in send("../../etc/passwd", b"x")["error"]
    monkeypatch.setattr("studio.routes._MAX_CLIP_BYTES", 3)
    assert "larger" in send("a.mp4", b"1234")["error"]


def test_posters_and_strips_come_small_and_a_broken_clip_has_a_stand_in(site: _Site) -> None:
    recipe = small_recipe(site.pictures, width=640, height=480, num_frames=5)
    with ClipWriter(site.clips / "two.mp4", width=640, height=480, fps=8, recipe=recipe) as writer:
        for number in range(5):
            writer.write(np.full((480, 640, 3), 50 * number, np.uint8))
    for frame, level in (("0", 0), ("3", 150), ("99", 200)):
        answer = site.client.get(f"/studio/poster/two.mp4?frame={frame}")
        assert "immutable" in answer.headers["cache-control"]
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.size == (400, 300)
            assert abs(np.asarray(image.convert("L")).mean() - level) < 8
    with Image.open(io.BytesIO(site.client.get("/studio/strip/two.mp4").content)) as image:
        assert image.size == (960, 72)
        assert np.asarray(image.convert("L"))[36, ::96].tolist() == sorted(np.asarray(image.convert("L"))[36, ::96])
    broken = site.client.get("/studio/poster/one.mp4")
    assert (broken.status_code, broken.headers["cache-control"]) == (200, "no-store")
    for path in ("poster/gone.mp4", "strip/gone.mp4", "poster/two.mp4?frame=-1", "poster/..%2Fsecret.mp4"):
        assert site.client.get(f"/studio/{path}").status_code == 404


def test_a_message_in_somebodys_name_arrives_with_its_headers(site: _Site) -> None:
    message = {"do": "render", "title": "a"}
    answer = site.client.post("/studio/asked", json=message, headers={"X-IP-Token": "anna"})
    assert answer.json() == {"asked": message, "pass": "anna"}
    for content in (b"", b"{", b"[" * 100_000, b"\xff", b'"' + b"a" * (2 * 2**20) + b'"'):
        assert site.client.post("/studio/asked", content=content).json()["asked"] is None
    foreign = site.client.post("/studio/asked", json=message, headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "file=/etc/passwd",
        "upload",
        "proxy=http://127.0.0.1/",
        "stream/a/1/2/playlist.m3u8",
        "runs",
        "vibe-code",
        "run/x",
    ],
)
def test_doors_of_gradio_that_nobody_needs_are_shut(site: _Site, path: str) -> None:
    for method in ("GET", "POST"):
        answer = site.client.request(method, f"/gradio_api/{path}")
        assert (answer.status_code, answer.text) == (404, "There is no such page.")
    assert site.client.get("/gradio_api/queue/data").text == "Not Found"  # programs may come as far as Gradio


def test_what_another_site_loads_from_here_is_refused_and_a_link_is_followed(site: _Site) -> None:
    for site_of, mode, status in (
        ("cross-site", "no-cors", 403),
        ("same-site", "cors", 403),
        ("cross-site", "navigate", 200),
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
    ):
        headers = {"Sec-Fetch-Site": site_of, "Sec-Fetch-Mode": mode}
        assert site.client.get("/studio/clip/one.mp4", headers=headers).status_code == status
    posted = site.client.post("/studio/draft", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})
    assert posted.status_code == 403
