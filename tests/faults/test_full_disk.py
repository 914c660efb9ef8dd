"""A small disk that is full: said in a sentence, nothing broken by it, and the queue goes on when there is room."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import OutputError
from engine.paths import unfinished_dir
from tests.faults.conftest import Tally
from tests.faults.work import Work


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 megabytes; skips where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True)
    if not done or done.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield place
    finally:
        # An encoder whose last write failed lets go of its file when it is collected, in whatever thread that happens.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(autouse=True)
def home(disk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder on that disk."""
    monkeypatch.setenv("LUMOSX_HOME", str(disk / "home"))
    return disk / "home"


def fill(disk: Path) -> Path:
    """Take the last byte of a disk; return the file that holds it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017
    return filler


def _ask_for_more(work: Work) -> None:
    for _ in range(50):  # the last page of the queue's file may have room for one more
        work.submit(seed=6)


def test_a_disk_that_fills_up_under_a_render_loses_nothing(
    work: Work, disk: Path, fault_rounds: int, tally: Tally
) -> None:
    for number in range(min(fault_rounds, 10)):
        job = work.begin(5 + 5 * number)
        filler = fill(disk)
        with pytest.raises(OutputError, match="full"):
            _ask_for_more(work)
        work.let_end()
        work.until_trouble("full")
        filler.unlink()
        work.check(job)
    assert tally.different_after_resume == 0
    assert unfinished_dir().is_dir()
    assert os.statvfs(disk).f_bavail > 0
