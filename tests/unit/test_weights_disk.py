"""What an installation takes of the disk: published files go as soon as they have served, those of the user's never,
and whoever goes on after a kill needs none of them again."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from engine import weights
from engine.cli.commands.weights import run
from engine.cli.parser import build_parser
from engine.errors import OutputError, WeightsError
from engine.events import Progress
from engine.files import is_hidden
from engine.weights.components import COMPONENTS
from engine.weights.convert import convert_bundle
from engine.weights.hub import HuggingFaceHub, RemoteListing
from engine.weights.install import check, install, leftover, needs, remove_leftover, repair
from engine.weights.records import read_conversion
from tests.unit.loopback_hub import Handler
from tests.unit.published_bundle import TEXT_FILE, Published, contents, published, write_proportioned
from tests.unit.tiny_bundle import TEXT_CONFIG, text_state, vae_state

MADE = ("tokenizer", "transformer", "vae", "text_encoder")
"""Components in the order in which this bundle's take the least disk, as far as progress tells of them."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_proportioned(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def expected(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The converted model without its record."""
    out = tmp_path_factory.mktemp("expected") / "model"
    convert_bundle(bundle, out)
    return model_of(out)


@pytest.fixture
def lumosx(bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    with published(bundle, home, monkeypatch) as found:
        yield found


def model_of(folder: Path) -> dict[str, bytes]:
    return {name: body for name, body in contents(folder).items() if name != "conversion.json"}


def taken(folder: Path) -> int:
    """Bytes of all files in a folder, of several names for one only once."""
    states = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum({state.st_ino: state.st_size for state in states}.values())


class Stopped(BaseException):
    """As sudden as a kill; the process alone goes on."""


def stop_in(stage: str) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if progress.stage == stage:
            raise Stopped

    return watch


def stopped_in(name: str) -> None:
    """Begin an installation that ends while it writes this component."""
    with pytest.raises(Stopped):
        install("lumosx", on_progress=stop_in(f"convert {name}"))


def test_the_disk_is_never_fuller_than_was_said(lumosx: Published, expected: dict[str, bytes]) -> None:
    said, peak, stages = needs("lumosx"), 0, list[str]()
    mapped = list[str]()

    def watch(progress: Progress) -> None:
        nonlocal peak
        peak = max(peak, taken(lumosx.home / "models"))
        if progress.stage.startswith("convert ") and (name := progress.stage.split()[1]) not in stages:
            stages.append(name)
            mapped.extend(deleted_but_mapped(lumosx.downloads))

    done = install("lumosx", on_progress=watch)
    assert done.leftover is None
    assert tuple(stages) == MADE
    assert 0.97 * said.disk_bytes < peak < 1.02 * said.disk_bytes
    assert peak < 0.8 * (said.download_bytes + done.size_bytes)  # of all of it side by side
    assert mapped == []  # the space of a deleted file that is still mapped would not be free
    assert not lumosx.downloads.exists()
    assert model_of(lumosx.model) == expected
    assert (needs("lumosx").download_bytes, needs("lumosx").disk_bytes) == (0, 0)


def deleted_but_mapped(folder: Path) -> list[str]:
    if not Path("/proc/self/maps").exists():
        return []
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if str(folder) in line and line.endswith("(deleted)")]


@pytest.mark.parametrize("stop", MADE)
def test_after_a_stop_nothing_is_fetched_again(stop: str, lumosx: Published, expected: dict[str, bytes]) -> None:
    stopped_in(stop)
    finished = set(MADE[: MADE.index(stop)])
    assert finished <= set(read_conversion(lumosx.model).components)
    here = {path.name for path in lumosx.downloads.rglob("*") if path.is_file()}
    assert ("vae.pth" in here) == ("vae" not in finished)
    assert (".metadata" in here) == ("transformer" not in finished)
    assert weights.status("lumosx").problem != ""
    said = needs("lumosx")
    assert said.arrived_bytes == said.download_bytes  # as much as is still wanted
    before, peak = taken(lumosx.home / "models"), 0

    def watch(_: Progress) -> None:
        nonlocal peak
        peak = max(peak, taken(lumosx.home / "models"))

    lumosx.hub.requests.clear()
    install("lumosx", on_progress=watch)
    assert lumosx.hub.requests == []
    assert peak - before < 1.02 * said.disk_bytes
    assert model_of(lumosx.model) == expected
    assert not lumosx.downloads.exists()
    assert check("lumosx") > 8


def test_it_goes_on_without_a_network(lumosx: Published, expected: dict[str, bytes]) -> None:
    stopped_in("text_encoder")
    lumosx.hub.shutdown()
    lumosx.hub.server_close()
    assert install("lumosx", lumosx.bundle / "vae.pth").verified  # whatever of the user's it began with
    assert model_of(lumosx.model) == expected


def test_a_deletion_that_was_cut_short_is_finished(lumosx: Published, expected: dict[str, bytes]) -> None:
    stopped_in("vae")
    (lumosx.downloads / "LumosX_models" / "all").mkdir(parents=True)
    (lumosx.downloads / "LumosX_models" / "all" / "__0_0.distcp").write_bytes(b"of a checkpoint that served")
    begun = lumosx.model / ".lumosx-999999999-abcdabcd1234"  # of a process that is no more
    begun.mkdir()
    (begun / "x").write_bytes(bytes(10_000))
    most = needs("lumosx").disk_bytes
    (begun / "x").write_bytes(b"")
    assert needs("lumosx").disk_bytes == most + 10_000  # it will be free
    lumosx.hub.requests.clear()
    install("lumosx")
    assert lumosx.hub.requests == []
    assert model_of(lumosx.model) == expected
    assert not lumosx.downloads.exists()


def test_a_stop_while_it_is_fetched_fetches_the_rest(lumosx: Published, expected: dict[str, bytes]) -> None:
    with pytest.raises(Stopped):
        install("lumosx", on_progress=stop_in(f"download {TEXT_FILE}"))
    arrived = {path.relative_to(lumosx.downloads).as_posix() for path in lumosx.downloads.rglob("*")}
    assert needs("lumosx").arrived_bytes > 0
    lumosx.hub.requests.clear()
    install("lumosx")
    assert not arrived & lumosx.asked()
    assert model_of(lumosx.model) == expected


class _Asked(HuggingFaceHub):
    """Notes the revisions that were asked for."""

    revisions: list[str]

    def listing(self, repository: str, revision: str = "") -> RemoteListing:
        self.revisions.append(revision)
        return super().listing(repository, revision)


def test_what_was_begun_is_finished_of_the_same_state(lumosx: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = _Asked(lumosx.hub.address)
    hub.revisions = []
    monkeypatch.setattr("engine.weights.install.hub_of", lambda _: hub)
    stopped_in("text_encoder")
    (lumosx.downloads / TEXT_FILE).unlink()
    install("lumosx")
    (lumosx.model / "vae" / "config.json").unlink()
    repair("lumosx")
    assert hub.revisions == ["", "0123abcd", "0123abcd"]


def test_a_state_that_is_gone_is_said(lumosx: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    install("lumosx")
    (lumosx.model / "vae" / "config.json").unlink()

    def gone(self: Handler) -> None:
        self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})

    monkeypatch.setattr(Handler, "do_GET", gone)
    with pytest.raises(WeightsError, match="no longer publishes the files that this model was made of: remove the"):
        repair("lumosx")


def test_a_complete_folder_of_the_users_is_never_touched(lumosx: Published, expected: dict[str, bytes]) -> None:
    before = {path: path.stat() for path in lumosx.bundle.rglob("*")}
    install("lumosx", lumosx.bundle)
    after = {path: path.stat() for path in lumosx.bundle.rglob("*")}
    assert [(path, one.st_ino, one.st_mtime_ns, one.st_nlink) for path, one in before.items()] == [
        (path, one.st_ino, one.st_mtime_ns, one.st_nlink) for path, one in after.items()
    ]
    assert lumosx.hub.requests == []
    assert model_of(lumosx.model) == expected
    assert not lumosx.downloads.exists()


@pytest.mark.parametrize("stop", [None, "text_encoder"])
def test_linked_files_of_the_users_are_only_unlinked(
    stop: str | None, lumosx: Published, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("vae.pth", TEXT_FILE):
        shutil.copy(lumosx.bundle / name, own / name)
    before = contents(own)
    if stop:
        with pytest.raises(Stopped):
            install("lumosx", own, stop_in(f"convert {stop}"))
        assert os.path.samefile(own / TEXT_FILE, lumosx.downloads / TEXT_FILE)
        # deleting it will free nothing, so nothing of it is counted
        assert needs("lumosx").disk_bytes == (own / TEXT_FILE).stat().st_size
    install("lumosx", own)
    assert contents(own) == before
    assert {path.stat().st_nlink for path in own.iterdir()} == {1}
    assert not {"vae.pth", TEXT_FILE} & lumosx.asked()
    assert not lumosx.downloads.exists()
    assert model_of(lumosx.model) == expected


def test_space_for_linked_files_is_asked_for(
    lumosx: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[int] = []

    def noted(_: Path, needed_bytes: int, __: str) -> None:
        said.append(needed_bytes)

    monkeypatch.setattr("engine.weights.download.check_space", noted)
    own = tmp_path / "own"
    own.mkdir()
    for name in ("vae.pth", TEXT_FILE):
        shutil.copy(lumosx.bundle / name, own / name)
    for source in (None, own):
        with pytest.raises(Stopped):
            install("lumosx", source, stop_in("download config.json"))
        shutil.rmtree(lumosx.downloads)
    fetched, linked = said
    text = (lumosx.bundle / TEXT_FILE).stat().st_size
    assert fetched == needs("lumosx").disk_bytes
    # neither has to be fetched, and neither's going frees anything
    assert linked == fetched - text


@pytest.mark.parametrize("whole", [True, False])
def test_files_in_the_download_folder_that_are_named_are_the_users(
    whole: bool, lumosx: Published, expected: dict[str, bytes]
) -> None:
    shutil.copytree(lumosx.bundle, lumosx.downloads)
    before = contents(lumosx.downloads)
    done = install("lumosx", lumosx.downloads if whole else lumosx.downloads / "vae.pth")
    assert {name: body for name, body in contents(lumosx.downloads).items() if name != "download.json"} == before
    assert done.leftover == leftover("lumosx") == lumosx.downloads
    assert lumosx.hub.requests == []
    assert model_of(lumosx.model) == expected


def refuse(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file of this name in the folder be deleted, as a system does while another program has it open."""
    delete = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == name and folder in path.parents:
            raise PermissionError(13, "Permission denied")
        delete(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)


def test_a_file_that_cannot_be_deleted_costs_no_model(
    lumosx: Published,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as held:
        refuse(lumosx.downloads, "vae.pth", held)
        done = install("lumosx")
        assert done.leftover == leftover("lumosx") == lumosx.downloads
        assert model_of(lumosx.model) == expected
        assert {path.name for path in lumosx.downloads.iterdir()} == {"vae.pth"}
        with pytest.raises(OutputError, match=r"vae\.pth|lumosx \(Permission denied\)"):
            remove_leftover("lumosx")
        assert run(build_parser().parse_args(["weights", "download", "lumosx"])) == 0
        assert f"{lumosx.downloads} could not all be deleted" in capsys.readouterr().out
    assert lumosx.asked() == set(contents(lumosx.bundle))
    assert remove_leftover("lumosx") == (lumosx.bundle / "vae.pth").stat().st_size
    assert leftover("lumosx") is None
    assert not lumosx.downloads.exists()
    assert model_of(lumosx.model) == expected


def test_the_download_of_an_earlier_version_goes_with_the_next_installation(
    lumosx: Published, expected: dict[str, bytes]
) -> None:
    install("lumosx")
    shutil.copytree(lumosx.bundle, lumosx.downloads)
    (lumosx.downloads / "notes.txt").write_text("mine")
    assert leftover("lumosx") == lumosx.downloads
    check("lumosx")
    assert leftover("lumosx") == lumosx.downloads  # who only looks deletes nothing
    lumosx.hub.requests.clear()
    (lumosx.model / "vae" / "config.json").write_bytes(b"{")
    repair("lumosx")
    assert lumosx.hub.requests == []  # what it needed was there
    assert contents(lumosx.downloads) == {"notes.txt": b"mine"}  # nobody but the user put that there
    assert leftover("lumosx") is None
    assert model_of(lumosx.model) == expected


def test_nothing_is_deleted_before_its_component_is_on_the_disk(
    lumosx: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32":
        pytest.skip("there a folder cannot be synced")
    synced: set[int] = set()
    fsync, replace, delete = os.fsync, os.replace, Path.unlink
    deleted: list[str] = []

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def renamed(source: Path, target: Path) -> None:
        replace(source, target)
        synced.discard(target.parent.stat().st_ino)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if lumosx.downloads in path.parents and path.name != "download.json" and not is_hidden(path):
            deleted.append(path.name)
            done = [one for one in lumosx.model.rglob("*") if not is_hidden(one)]
            assert {one.stat().st_ino for one in (lumosx.model, *done)} <= synced
        delete(path, missing_ok)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(Path, "unlink", unlink)
    install("lumosx")
    assert {"vae.pth", TEXT_FILE, ".metadata", "tokenizer.json", "config.json"} <= set(deleted)


def test_what_is_left_has_to_fit_what_is_there(lumosx: Published, tmp_path: Path) -> None:
    stopped_in("text_encoder")
    other = tmp_path / "other"
    shutil.copytree(lumosx.bundle, other)
    torch.save(text_state(config={**TEXT_CONFIG, "dim": 20}), other / TEXT_FILE)
    with pytest.raises(WeightsError, match=f"{TEXT_FILE} and .*transformer do not belong together"):
        convert_bundle(other, lumosx.model, only=("text_encoder", "model_index.json"))
    torch.save(text_state(config={**TEXT_CONFIG, "vocab_size": 39}), other / TEXT_FILE)
    with pytest.raises(WeightsError, match=f"tokenizer and .*{TEXT_FILE} do not belong together"):
        convert_bundle(other, lumosx.model, only=("text_encoder", "model_index.json"))
    (lumosx.model / "vae" / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="vae is damaged: press Repair"):
        convert_bundle(lumosx.bundle, lumosx.model, only=("text_encoder", "model_index.json"))


def test_a_conversion_of_other_files_that_was_stopped_is_not_mixed_with_the_published(
    lumosx: Published, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(lumosx.bundle, other)
    torch.save({"model_state": vae_state(seed=9)}, other / "vae.pth")
    with pytest.raises(Stopped):
        convert_bundle(other, lumosx.model, stop_in("convert text_encoder"))
    assert "vae" in read_conversion(lumosx.model).components
    assert needs("lumosx").download_bytes == sum(map(len, contents(lumosx.bundle).values()))
    stopped_in("transformer")
    assert set(read_conversion(lumosx.model).components) == {"scheduler", "tokenizer"}
    install("lumosx")
    assert model_of(lumosx.model) == expected
    assert set(read_conversion(lumosx.model).components) == set(COMPONENTS)
    assert contents(other).keys() == contents(lumosx.bundle).keys()
