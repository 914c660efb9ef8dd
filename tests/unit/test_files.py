"""Files and folders that are replaced and removed, broken off by a kill at any of their steps."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.errors import OutputError
from engine.files import hidden_beside, put_in_place, remove_folder, remove_leftovers, write_atomically


class _Killed(BaseException):
    """What stands in for a kill: nothing of ours catches it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "place" / "folder"
    made.mkdir(parents=True)
    (made / "file").write_text("old")
    return made


def new_beside(folder: Path) -> Path:
    made = hidden_beside(folder)
    made.mkdir()
    (made / "file").write_text("new")
    return made


def of_an_earlier_life(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restart in a container, where the process has the same number again."""
    monkeypatch.setattr("engine.files._OURS", "wxyz")
    remove_leftovers(place)


def test_a_folder_is_replaced_and_nothing_else_stays(folder: Path) -> None:
    put_in_place(new_beside(folder), folder)
    assert (folder / "file").read_text() == "new"
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_a_kill_while_a_folder_is_replaced_leaves_the_old_or_the_new(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    steps, rename = 0, Path.replace

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            raise _Killed

    def renamed(self: Path, to: Path) -> Path:
        step()
        return rename(self, to)

    def removed(path: Path, ignore_errors: bool = False) -> None:
        step()

    new = new_beside(folder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", renamed)
        patch.setattr(shutil, "rmtree", removed)
        with pytest.raises(_Killed):
            put_in_place(new, folder)
    assert folder.exists() == (kill_at != 2)
    remove_leftovers(folder.parent)
    assert len(list(folder.parent.iterdir())) > 1  # this process may be at work with it
    of_an_earlier_life(folder.parent, monkeypatch)
    assert (folder / "file").read_text() == ("new" if kill_at == 3 else "old")
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_cannot_be_replaced_stays(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        put_in_place(folder.with_name(".lumosx-none"), folder)
    assert (folder / "file").read_text() == "old"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_goes_as_a_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path) -> None:
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(_Killed):
            remove_folder(folder)
    assert not folder.exists()
    of_an_earlier_life(folder.parent, monkeypatch)
    assert list(folder.parent.iterdir()) == []


def test_leftovers_of_dead_processes_go_and_what_living_ones_work_at_stays(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    dead = tmp_path / f".lumosx-{process.pid}-0123456789ab"
    dead.mkdir()
    (dead / "frame_00000.png").write_bytes(b"half")
    (tmp_path / "deep").mkdir()
    deep = tmp_path / "deep" / f".lumosx-{process.pid}-0123456789ab.part"
    deep.write_bytes(b"half")
    kept = [hidden_beside(tmp_path / "clip.mp4", ".mp4"), tmp_path / ".lumosx-notes", tmp_path / "clip.mp4"]
    kept += [tmp_path / f".lumosx-{os.getppid()}-0123456789ab"]
    for path in kept:
        path.write_bytes(b"")
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, deep.parent])
    assert deep.exists()
    remove_leftovers(tmp_path, below=True)
    assert not deep.exists()
    remove_leftovers(tmp_path / "missing")


def test_a_data_folder_that_is_gone_is_not_begun_anew(home: Path) -> None:
    write_atomically(home / "drafts" / "one.json", b"1")
    assert (home / "drafts" / "one.json").stat().st_mode & 0o077 == 0
    home.rename(home.with_name("away"))
    with pytest.raises(OutputError, match="is gone; bring it back"):
        write_atomically(home / "drafts" / "two.json", b"2")
    assert not home.exists()
    home.with_name("away").rename(home)
    write_atomically(home / "drafts" / "two.json", b"2")
    assert sorted(path.name for path in (home / "drafts").iterdir()) == ["one.json", "two.json"]
