"""Downloads through huggingface_hub from a hub on the loopback: resumed, verified, and sparing with what is there."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.cancel import CancelToken
from engine.errors import Cancelled, InputError, OutputError, WeightsError
from engine.events import Progress
from engine.weights import hub as hub_module
from engine.weights.catalogue import CatalogueEntry, CatalogueFile
from engine.weights.download import Downloaded, download
from engine.weights.hub import HuggingFaceHub, PublishedFiles
from tests.unit.loopback_hub import CONTENT, REPOSITORY, Handler, LoopbackHub, listing, serving

WANTED = CatalogueEntry(
    name="lumosx",
    title="A bundle",
    purpose="",
    licence="Apache-2.0",
    licence_note="",
    repository=REPOSITORY,
    files=tuple(
        CatalogueFile(name=name, purpose="", approximate_bytes=1)
        for name in ("LumosX_models/", "vae.pth", "config.json")
    ),
)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with serving(LoopbackHub()) as server:
        yield server


def _no_sleep(_: float) -> None: ...


@pytest.fixture(autouse=True)
def only_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library may reach this hub though tests are offline otherwise, by no proxy, and without waiting."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_module, "time", SimpleNamespace(sleep=_no_sleep))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def _fetch(hub: LoopbackHub, folder: Path, source: Path | None = None, **more: Any) -> Downloaded:
    return download(WANTED, folder, HuggingFaceHub(hub.address), source, **more)


def _is_whole(folder: Path) -> bool:
    wanted = {name: body for name, body in CONTENT.items() if name != "README.md"}
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    found.pop("download.json", None)
    return found == wanted


def test_everything_wanted_arrives(hub: LoopbackHub, tmp_path: Path) -> None:
    events: list[Progress] = []
    assert _fetch(hub, tmp_path / "got", on_progress=events.append) == Downloaded(
        folder=tmp_path / "got", verified=True, revision="0123abcd"
    )
    assert _is_whole(tmp_path / "got")
    total = sum(len(body) for name, body in CONTENT.items() if name != "README.md")
    assert (events[-1].step, events[-1].num_steps) == (total, total)
    assert [event.step for event in events] == sorted(event.step for event in events)
    hub.requests.clear()
    assert _fetch(hub, tmp_path / "got").verified
    assert hub.requests == []


def test_a_broken_connection_is_taken_up_again(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.break_after = 200_000
    _fetch(hub, tmp_path / "got")
    assert _is_whole(tmp_path / "got")
    assert hub.breaks == 2
    starts = [start for name, start in hub.requests if name.endswith("distcp")]
    assert starts == [0, 200_000, 400_000]


def test_a_lost_connection_goes_on_in_the_next_run(hub: LoopbackHub, tmp_path: Path) -> None:
    cancel = CancelToken()

    def stop(progress: Progress) -> None:
        if progress.step > 100_000:
            cancel.cancel()

    hub.break_after = 300_000
    with pytest.raises(Cancelled):
        _fetch(hub, tmp_path / "got", on_progress=stop, cancel=cancel)
    partial = next((tmp_path / "got").rglob("*.part"))
    present = partial.stat().st_size
    assert 0 < present < len(CONTENT["LumosX_models/all/__0_0.distcp"])
    hub.break_after, hub.requests[:] = None, []
    _fetch(hub, tmp_path / "got")
    assert _is_whole(tmp_path / "got")
    assert ("LumosX_models/all/__0_0.distcp", present) in hub.requests


def test_a_hub_without_ranges_starts_anew(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.break_after, hub.ignore_ranges = 400_000, True
    with pytest.raises(WeightsError, match=r"No connection to the hub .*goes on where it stopped"):
        _fetch(hub, tmp_path / "got")
    hub.break_after = None
    events: list[Progress] = []
    _fetch(hub, tmp_path / "got", on_progress=events.append)
    assert _is_whole(tmp_path / "got")
    assert events[-1].step == events[-1].num_steps


def test_damaged_data_is_thrown_away(hub: LoopbackHub, tmp_path: Path) -> None:
    name = "LumosX_models/all/__0_0.distcp"
    hub.damage = bytes(len(CONTENT[name]))
    hub.content = {name: CONTENT[name], "vae.pth": b"", "config.json": b""}
    with pytest.raises(WeightsError, match=r"__0_0\.distcp arrived damaged and was thrown away: try again"):
        _fetch(hub, tmp_path / "got")
    assert not list((tmp_path / "got").rglob("*.part"))
    assert not (tmp_path / "got" / name).exists()


def test_a_file_that_does_not_end_is_given_up_at_its_size(hub: LoopbackHub, tmp_path: Path) -> None:
    name = "LumosX_models/all/__0_0.distcp"
    hub.damage = bytes(50_000_000)
    hub.content = {name: CONTENT[name], "vae.pth": b"", "config.json": b""}
    steps: list[int] = []
    with pytest.raises(WeightsError, match="arrived damaged and was thrown away"):
        _fetch(hub, tmp_path / "got", on_progress=lambda progress: steps.append(progress.step))
    assert len(CONTENT[name]) < max(steps) < 2_000_000
    assert not list((tmp_path / "got").rglob("*.part"))


def test_small_files_are_verified_too(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = tmp_path / "got"
    folder.mkdir()
    (folder / "config.json").write_bytes(b'{"dim": 9}')
    _fetch(hub, folder)
    assert (folder / "config.json").read_bytes() == CONTENT["config.json"]


def test_files_without_a_record_are_not_fetched_again(hub: LoopbackHub, tmp_path: Path) -> None:
    _fetch(hub, tmp_path / "got")
    (tmp_path / "got" / "download.json").unlink()
    hub.requests.clear()
    _fetch(hub, tmp_path / "got")
    assert hub.requests == []
    assert _is_whole(tmp_path / "got")


def _own(tmp_path: Path, *names: str) -> Path:
    source = tmp_path / "own"
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(CONTENT[name])
    return source


def test_a_complete_folder_is_used_in_place(hub: LoopbackHub, tmp_path: Path) -> None:
    source = _own(tmp_path, *CONTENT)
    assert _fetch(hub, tmp_path / "got", source) == Downloaded(folder=source, verified=True, revision="0123abcd")
    assert hub.requests == []
    assert not (tmp_path / "got").exists()


def test_a_part_of_the_files_is_linked_and_the_rest_fetched(hub: LoopbackHub, tmp_path: Path) -> None:
    source = _own(tmp_path, "LumosX_models/all/__0_0.distcp", "vae.pth")
    _fetch(hub, tmp_path / "got", source)
    assert _is_whole(tmp_path / "got")
    assert {name for name, _ in hub.requests} == {"LumosX_models/all/.metadata", "config.json"}
    assert (source / "vae.pth").stat().st_ino == (tmp_path / "got" / "vae.pth").stat().st_ino


def test_a_single_file_is_used(hub: LoopbackHub, tmp_path: Path) -> None:
    source = _own(tmp_path, "vae.pth") / "vae.pth"
    _fetch(hub, tmp_path / "got", source)
    assert _is_whole(tmp_path / "got")
    assert "vae.pth" not in {name for name, _ in hub.requests}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"va" * 1000, "has 2000 bytes, the published file 3000"), (b"eav" * 1000, "is not the published")],
)
def test_own_files_that_are_others(content: bytes, message: str, hub: LoopbackHub, tmp_path: Path) -> None:
    source = _own(tmp_path, *CONTENT)
    (source / "vae.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        _fetch(hub, tmp_path / "got", source)
    assert (source / "vae.pth").read_bytes() == content


def test_sources_that_do_not_help(hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="check the path"):
        _fetch(hub, tmp_path / "got", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds none of the published files \(LumosX_models/, vae\.pth"):
        _fetch(hub, tmp_path / "got", tmp_path / "empty")


def test_no_network(hub: LoopbackHub, tmp_path: Path) -> None:
    _fetch(hub, tmp_path / "got")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        hub.address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(WeightsError, match=r"No connection to the hub for someone/bundle \(ConnectError\): check the"):
        _fetch(hub, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert _fetch(hub, tmp_path / "got").verified
    assert _fetch(hub, tmp_path / "other", _own(tmp_path, *CONTENT)) == Downloaded(
        folder=tmp_path / "own", verified=False
    )
    (tmp_path / "got" / "vae.pth").unlink()
    with pytest.raises(WeightsError, match="No connection"):
        _fetch(hub, tmp_path / "got")


def test_offline_by_choice(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids to reach someone/bundle: unset it"):
        _fetch(hub, tmp_path / "got")
    assert hub.requests == []


def test_answers_of_the_hub(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.content.pop("vae.pth")
    with pytest.raises(WeightsError, match=r"no longer holds vae\.pth"):
        _fetch(hub, tmp_path / "got")
    other = CatalogueEntry(
        name="x", title="", purpose="", licence="", licence_note="", repository="someone/else", files=WANTED.files
    )
    with pytest.raises(WeightsError, match="The hub answered 404 for someone/else"):
        download(other, tmp_path / "got", HuggingFaceHub(hub.address))


def test_a_mirror_that_knows_no_digests_is_believed_the_sizes(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = listing

    def plain(repository: str, content: dict[str, bytes]) -> dict[str, Any]:
        full = known(repository, content)
        return {**full, "siblings": [{key: one[key] for key in ("rfilename", "size")} for one in full["siblings"]]}

    monkeypatch.setattr("tests.unit.loopback_hub.listing", plain)
    _fetch(hub, tmp_path / "got")
    assert _is_whole(tmp_path / "got")


def test_a_page_that_answers_in_place_of_the_hub_is_told(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def login(self: Handler) -> None:
        self._answer(200, b"<!doctype html><title>Log in</title>", {"Content-Type": "text/html"})

    monkeypatch.setattr(Handler, "do_GET", login)
    with pytest.raises(WeightsError, match="is no answer of the hub: if your network asks for a login"):
        _fetch(hub, tmp_path / "got")


def test_names_that_would_leave_the_folder_are_ignored(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.content["LumosX_models/../../escaped"] = b"x"
    hub.content["LumosX_models/c:stream"] = b"x"
    _fetch(hub, tmp_path / "below" / "got")
    assert _is_whole(tmp_path / "below" / "got")
    assert not (tmp_path / "escaped").exists()


def _free(num_bytes: int) -> Callable[[Path], SimpleNamespace]:
    def usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=num_bytes)

    return usage


def test_too_little_space_is_said_before_anything_is_fetched(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", _free(600_000))
    with pytest.raises(
        OutputError, match=r"needs 1\.0 MB in .*got, but only 600\.0 kB are free: free 42\d\.\d kB or set"
    ):
        _fetch(hub, tmp_path / "got")
    assert hub.requests == []
    assert not (tmp_path / "got").exists()


def _published(hub: LoopbackHub, body: bytes = CONTENT["vae.pth"]) -> CatalogueEntry:
    """An entry whose one file lies at a plain address."""
    file = CatalogueFile(
        name="vae.pth", purpose="a file", approximate_bytes=len(body), sha256=hashlib.sha256(body).hexdigest()
    )
    address = f"{hub.address}/{hub.repository}/resolve/main/"
    return dataclasses.replace(WANTED, repository="", address=address, files=(file,))


def test_a_file_at_a_plain_address_arrives_checked_and_no_token_is_told(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    told: list[str | None] = []
    monkeypatch.setattr(
        Handler, "log_request", lambda handler, *_: told.append(handler.headers.get("Authorization")), raising=False
    )
    wanted = _published(hub)
    hub.break_after = len(CONTENT["vae.pth"]) // 2
    got = download(wanted, tmp_path / "got", PublishedFiles(wanted))
    assert got.verified
    assert (tmp_path / "got" / "vae.pth").read_bytes() == CONTENT["vae.pth"]
    assert hub.breaks == 1
    assert told == [None, None]
    hub.requests.clear()
    download(wanted, tmp_path / "got", PublishedFiles(wanted))
    assert hub.requests == []


def test_a_file_at_a_plain_address_that_is_another_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    wanted = _published(hub, bytes(len(CONTENT["vae.pth"])))
    with pytest.raises(WeightsError, match="arrived damaged"):
        download(wanted, tmp_path / "got", PublishedFiles(wanted))
    own = tmp_path / "own" / "vae.pth"
    own.parent.mkdir()
    own.write_bytes(bytes(len(CONTENT["vae.pth"])))
    download(wanted, tmp_path / "got", PublishedFiles(wanted), own)
    assert (tmp_path / "got" / "vae.pth").read_bytes() == own.read_bytes()
