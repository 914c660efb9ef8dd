"""Weights from nothing to usable, in the process that the page has for it: packs, licences, breaks, kills, repairs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Generator, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest

from engine import weights
from engine.asking import close_input, start_process
from engine.cancel import CancelToken
from engine.errors import Cancelled, InputError, WeightsError
from engine.events import Progress
from engine.weights import catalogue
from engine.weights import hub as hub_module
from engine.weights.catalogue import CatalogueEntry
from engine.weights.install import check, install, leftover, needs, remove_leftover, repair
from engine.weights.installed import model_folder
from tests.patience import PATIENCE_S, wait_until
from tests.small_catalogue import CUTTER, DETECTOR, PACK, pack_of, use, write_catalogue
from tests.unit.loopback_hub import LoopbackHub, serving

NETWORK = bytes(range(256)) * 2000
SMALL_DETECTOR, LARGE_DETECTOR = b"small" * 900, b"large" * 2000
FACES, SAM = "face-detection", "segment-anything"


@contextlib.contextmanager
def small_hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[LoopbackHub]:
    """A hub with small weights, and a catalogue that knows them, for this process and those it starts."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(catalogue, "_ENTRIES", catalogue.entries())
    contents = {
        PACK: pack_of(SMALL_DETECTOR),
        DETECTOR: SMALL_DETECTOR,
        "det_10g.onnx": LARGE_DETECTOR,
        CUTTER: NETWORK,
    }
    server = LoopbackHub("published/files", {PACK: contents[PACK], CUTTER: NETWORK})
    with serving(server):
        write_catalogue(home, f"{server.address}/{server.repository}/resolve/main/", contents)
        use()
        yield server


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """See `small_hub`."""
    with small_hub(home, monkeypatch) as server:
        yield server


def files_of(home: Path) -> list[str]:
    found = (path.relative_to(home / "models") for path in (home / "models").rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found)


def test_a_pack_is_fetched_unpacked_and_leaves_no_second_copy(hub: LoopbackHub, home: Path) -> None:
    done = install(FACES, accepted=True)
    assert (done.folder, done.size_bytes, done.verified) == (home / "models" / FACES, len(SMALL_DETECTOR), True)
    assert files_of(home) == [f"{FACES}/{DETECTOR}"]
    assert weights.locate_whole(FACES) == model_folder(FACES)
    assert check(FACES) == 1
    assert len(weights.weights_digest(FACES)) == 64
    assert weights.remove(FACES) == len(SMALL_DETECTOR)
    assert files_of(home) == []


def test_a_licence_that_was_not_accepted_stops_everything(hub: LoopbackHub, home: Path) -> None:
    for source in (None, home):
        with pytest.raises(InputError, match="non-commercial research only: accept that licence first"):
            install(FACES, source)
    with pytest.raises(InputError, match="accept that licence first"):
        repair(FACES)
    assert hub.requests == []


def test_a_broken_pack_goes_on(hub: LoopbackHub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "time", type("Clock", (), {"sleep": staticmethod(lambda _: None)}))
    hub.break_after = 2 * len(hub.content[PACK]) // 3
    install(FACES, accepted=True)
    assert hub.breaks == 1
    assert [start for _, start in hub.requests] == [0, hub.break_after]


@pytest.mark.parametrize("form", ["file", "other name", "pack", "folder", "folder of packs"])
def test_what_the_user_has_is_recognised_by_its_content(
    hub: LoopbackHub, home: Path, tmp_path: Path, form: str
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "genderage.onnx").write_bytes(b"x")
    source = own
    match form:
        case "file":
            source = own / DETECTOR
            source.write_bytes(SMALL_DETECTOR)
        case "other name":
            source = own / "scrfd.bin"
            source.write_bytes(LARGE_DETECTOR)
        case "pack":
            source = own / "pack.zip"
            source.write_bytes(pack_of(LARGE_DETECTOR))
        case "folder":
            (own / "buffalo_l").mkdir()
            (own / "buffalo_l" / "det_10g.onnx").write_bytes(LARGE_DETECTOR)
            (own / DETECTOR).write_bytes(SMALL_DETECTOR)
        case _:
            (own / "pack.zip").write_bytes(pack_of(SMALL_DETECTOR))
    install(FACES, source, accepted=True)
    small = form in ("file", "folder of packs")
    assert files_of(home) == [f"{FACES}/{DETECTOR}" if small else f"{FACES}/det_10g.onnx"]
    assert hub.requests == []
    assert weights.status(FACES).problem == ""
    install(FACES, accepted=True)  # another one takes its place
    assert files_of(home) == [f"{FACES}/{DETECTOR}"]


def _encrypted(content: bytes) -> bytes:
    """An archive that says its members need a password."""
    data = bytearray(pack_of(content))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 4)
    return bytes(data)


def _lying(content: bytes) -> bytes:
    """An archive whose member has the right size and another content."""
    return pack_of(bytes(len(content)))


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04 and no more", pack_of(SMALL_DETECTOR)[:200], _lying(SMALL_DETECTOR), _encrypted(SMALL_DETECTOR)],
    ids=["empty", "a head", "cut off", "another", "locked"],
)
def test_archives_that_do_not_help_end_in_a_sentence(
    hub: LoopbackHub, home: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "pack.zip").write_bytes(content)
    with pytest.raises((InputError, WeightsError), match=r"as it was published|is damaged or no archive"):
        install(FACES, tmp_path / "pack.zip", accepted=True)
    assert files_of(home) == []


def test_names_in_an_archive_lead_nowhere(hub: LoopbackHub, home: Path, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as pack:
        pack.writestr("../../../escaped.onnx", SMALL_DETECTOR)
    (tmp_path / "pack.zip").write_bytes(stream.getvalue())
    install(FACES, tmp_path / "pack.zip", accepted=True)
    assert files_of(home) == [f"{FACES}/{DETECTOR}"]


def test_repair_fetches_the_damaged_file_alone(hub: LoopbackHub, home: Path) -> None:
    install(SAM)
    file = model_folder(SAM) / CUTTER
    stamp = file.stat()
    file.write_bytes(bytes(len(NETWORK)))
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as rot would: nothing shows
    hub.requests.clear()
    assert weights.status(SAM).problem == ""
    with pytest.raises(WeightsError, match="is damaged: press Repair"):
        check(SAM)
    assert "is damaged" in weights.status(SAM).problem
    repair(SAM)
    assert hub.requests == [(CUTTER, 0)]
    assert file.read_bytes() == NETWORK
    hub.requests.clear()
    repair(SAM)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("damaged", "fetched"),
    [
        ("vae/diffusion_pytorch_model.safetensors", {"vae.pth"}),
        ("tokenizer/tokenizer.json", {"umt5-xxl/"}),
        ("transformer/config.json", {"LumosX_models/", "config.json"}),
        ("model_index.json", {"config.json"}),
        ("scheduler/scheduler_config.json", set[str]()),
    ],
)
def test_one_part_of_a_converted_model_is_made_again_of_what_it_comes_from_alone(
    hub: LoopbackHub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str, fetched: set[str]
) -> None:
    from tests.unit.tiny_bundle import write_bundle

    bundle = write_bundle(tmp_path / "bundle")
    hub.repository = "Alibaba-DAMO-Academy/LumosX"
    hub.content = {one.relative_to(bundle).as_posix(): one.read_bytes() for one in bundle.rglob("*") if one.is_file()}
    monkeypatch.setattr("engine.weights.install.hub_of", lambda _: hub_module.HuggingFaceHub(hub.address))
    assert install("lumosx").leftover is None
    folder = model_folder("lumosx")
    before = {one.relative_to(folder): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    (folder / damaged).write_bytes(bytes(len((folder / damaged).read_bytes())))
    hub.requests.clear()
    repair("lumosx")
    asked = {name for name, _ in hub.requests}
    assert {part for part in fetched if any(name.startswith(part) for name in asked)} == fetched
    assert all(name.startswith(tuple(fetched)) for name in asked)
    after = {one.relative_to(folder): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    assert {name for name in before if before[name] != after[name]} <= {Path("conversion.json")}
    assert check("lumosx") > 8
    assert not (home / "models" / "downloads" / "lumosx").exists()
    hub.requests.clear()
    repair("lumosx")  # nothing is left to do
    assert hub.requests == []


def test_what_it_needs_is_known_beforehand(hub: LoopbackHub, home: Path) -> None:
    assert needs(FACES).disk_bytes == len(hub.content[PACK]) + len(SMALL_DETECTOR)
    published = needs("lumosx")
    assert published.download_bytes == pytest.approx(23.3e9, rel=0.01)
    assert published.disk_bytes == pytest.approx(29.1e9, rel=0.01)
    cancel = CancelToken()

    def stop(progress: Progress) -> None:
        if progress.step:
            cancel.cancel()

    hub.pause_s = 0.01
    with pytest.raises(Cancelled):
        install(SAM, on_progress=stop, cancel=cancel)
    now = needs(SAM)
    assert 0 < now.arrived_bytes < len(NETWORK)
    assert now.disk_bytes == len(NETWORK) - now.arrived_bytes
    assert leftover(SAM) is None
    with pytest.raises(WeightsError, match="nothing to delete"):
        remove_leftover(SAM)


class _Proxy(BaseHTTPRequestHandler):
    """Answers requests for whole addresses, as a proxy does, from the hub's contents."""

    asked: ClassVar[list[str]] = []
    body = NETWORK

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)


def test_the_usual_proxy_variables_are_respected(hub: LoopbackHub, home: Path) -> None:
    entry = replace(catalogue.entry(SAM), address="http://weights.example/files/")
    write_catalogue(home, entry.address, {CUTTER: NETWORK})
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        address = f"http://127.0.0.1:{proxy.server_address[1]}"
        last = _errand({"do": "install", "name": SAM}, HTTP_PROXY=address, http_proxy=address, NO_PROXY="", no_proxy="")
        proxy.shutdown()
        thread.join()
    assert "done" in last, last
    assert _Proxy.asked == [f"http://weights.example/files/{CUTTER}"]


def test_a_mirror_is_used_instead_of_the_publisher(hub: LoopbackHub, home: Path) -> None:
    write_catalogue(home, "http://127.0.0.1:9/", {CUTTER: NETWORK})
    hub.content = {f"{SAM}/{CUTTER}": NETWORK}
    mirror = f"{hub.address}/{hub.repository}/resolve/main"
    assert "done" in _errand({"do": "install", "name": SAM}, LUMOSX_WEIGHTS_MIRROR=mirror)
    assert hub.requests == [(f"{SAM}/{CUTTER}", 0)]


def _errand(errand: dict[str, Any], **variables: str) -> dict[str, Any]:
    """Run one errand in its process to its end; the last line."""
    with mock.patch.dict(os.environ, variables), started(errand) as process:
        return last_line(process)


@contextlib.contextmanager
def started(errand: dict[str, Any]) -> Generator[subprocess.Popen[str]]:
    """An errand's process with its input left open."""
    process = start_process([sys.executable, "-m", "tests.small_errand"])
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(errand) + "\n")
    process.stdin.flush()
    try:
        yield process
    finally:
        close_input(process)
        process.stdout.close()
        process.wait(PATIENCE_S)


def last_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    return json.loads(lines[-1]) if lines else {}


def test_an_errand_reports_its_steps_and_its_end(hub: LoopbackHub, home: Path) -> None:
    hub.pause_s = 0.02
    with started({"do": "install", "name": SAM}) as process:
        assert process.stdout is not None
        lines = [json.loads(line) for line in process.stdout]
    steps = [line for line in lines if "stage" in line]
    assert steps[0]["stage"] == f"download {CUTTER}"
    assert [step["step"] for step in steps] == sorted(step["step"] for step in steps)
    assert steps[-1]["num_steps"] == len(NETWORK)
    assert lines[-1] == {"done": {"size_bytes": len(NETWORK) + (home / "models" / SAM / "download.json").stat().st_size,
                                  "verified": True, "undeleted": False}}  # fmt: skip


def test_an_errand_ends_in_a_sentence(hub: LoopbackHub) -> None:
    for errand, sentence in [
        ({"do": "install", "name": FACES}, "accept that licence first"),
        ({"do": "install", "name": "sora"}, "There are no weights “sora”"),
        ({"do": "remove", "name": SAM}, "nothing to remove"),
        ({"do": "check", "name": SAM}, "are not installed"),
    ]:
        with started(errand) as process:
            assert sentence in last_line(process)["error"]
    with started({"do": "dance", "name": SAM}) as process:
        assert "no errand is called dance" in last_line(process)["fault"]


def test_a_closed_input_stops_an_errand_and_the_next_goes_on(hub: LoopbackHub, home: Path) -> None:
    hub.pause_s = 0.5  # far from its end when it is stopped, however late that is
    with started({"do": "install", "name": SAM}) as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline()).get("step", 0) == 0:
            pass
        close_input(process)
        assert last_line(process) == {"cancelled": True}
    arrived = next((home / "models" / SAM).glob("*.part")).stat().st_size
    hub.pause_s = 0.0
    hub.requests.clear()
    install(SAM)
    assert hub.requests == [(CUTTER, arrived)]


def test_a_killed_errand_loses_nothing(hub: LoopbackHub, home: Path) -> None:
    arrived = hub.hold_at = 100_000

    def parts() -> list[int]:
        return [path.stat().st_size for path in (home / "models" / SAM).glob("*.part")]

    with started({"do": "install", "name": SAM}) as process:
        wait_until(lambda: parts() == [arrived], "a file that is here in part")
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    assert parts() == [arrived]
    assert weights.status(SAM).problem != ""
    hub.hold_at = None
    hub.requests.clear()
    install(SAM)
    assert hub.requests == [(CUTTER, arrived)]
    assert hashlib.sha256((model_folder(SAM) / CUTTER).read_bytes()).digest() == hashlib.sha256(NETWORK).digest()


def test_everything_works_offline_once_it_is_there(hub: LoopbackHub, home: Path) -> None:
    install(SAM)
    hub.requests.clear()
    last = _errand({"do": "repair", "name": SAM}, HF_HUB_OFFLINE="1", HTTP_PROXY="http://127.0.0.1:9")
    assert "done" in last, last
    assert hub.requests == []


def test_the_published_catalogue_is_complete() -> None:
    entry: CatalogueEntry = catalogue.entry(FACES)
    assert entry.archive is not None
    assert all(len(file.sha256 or "") == 64 for file in (*entry.files, entry.archive))
    assert entry.approximate_bytes == entry.archive.approximate_bytes
