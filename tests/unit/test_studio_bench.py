"""`bench studio` without a browser: what it says, what it writes, what it counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.commands import bench as command
from engine.cli.parser import parse
from engine.clip import read_recipe
from engine.errors import Cancelled, MachineError
from studio import bench
from studio.bench import Report, table, torch_is_loaded, write_clips
from studio.bench_measurements import MEASUREMENTS

NAMES = [figure.name for one in MEASUREMENTS for figure in one.figures]


def report_of(seconds: list[float], torch: bool | None = False) -> Report:
    return Report(
        repeats=len(seconds), num_clips=7, chromium="9.9", seconds=dict.fromkeys(NAMES, seconds),
        torch_before_render=torch,
    )  # fmt: skip


def test_the_command_line_asks_for_repeats() -> None:
    assert parse(["bench", "studio"]).repeats == 5
    assert parse(["bench", "studio", "--repeats", "2"]).repeats == 2
    with pytest.raises(SystemExit) as caught:
        parse(["bench", "studio", "--repeats", "0"])
    assert caught.value.code == 2


def test_without_chromium_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.run(parse(["bench", "studio", "--repeats", "1"])) == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "The speed of the page is measured in a real browser; install Chromium (on Debian: apt-get install chromium), "
        "then start this again."
    ]


def test_without_playwright_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "find_chromium", lambda: "/usr/bin/chromium")
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(MachineError, match="install Playwright"):
        bench.measure(repeats=1)


def test_a_cancelled_measurement_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 130))
    with pytest.raises(Cancelled):
        command.run(parse(["bench", "studio"]))


def test_the_table_shows_medians_beside_what_is_promised() -> None:
    lines = table(report_of([9.0, 1.25, 1.0])).splitlines()
    usable = next(line for line in lines if line.startswith("page usable"))
    assert usable.split()[-6:] == ["1.25", "s", "9.00", "s", "1.50", "s"]
    reload = next(line for line in lines if line.startswith("reload"))
    assert reload.endswith("1.00 s  over")
    assert next(line for line in lines if line.startswith("torch")).split()[-2:] == ["no", "no"]
    figures = json.loads(lines[-1])["studio"]
    assert {name: figures[name] for name in NAMES} == dict.fromkeys(NAMES, 1.25)
    assert (figures["torch_before_render"], figures["clips"], figures["repeats"]) == (False, 7, 3)
    assert figures["chromium"] == "9.9"


def test_a_machine_that_does_not_tell_about_torch_is_believed_nothing() -> None:
    lines = table(report_of([1.0], torch=None)).splitlines()
    assert "unknown" in next(line for line in lines if line.startswith("torch"))
    assert json.loads(lines[-1])["studio"]["torch_before_render"] is None


def test_the_clips_carry_their_scene(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", 3)
    paths = sorted((tmp_path / "clips").iterdir())
    recipes = [read_recipe(path) for path in paths]
    assert [recipe.request.settings.seed for recipe in recipes] == [0, 1, 2]
    assert all(recipe.pictures and recipe.request.scene.subjects for recipe in recipes)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs a system that shows what a process has loaded")
def test_torch_is_seen_where_it_is_loaded() -> None:
    for words, loaded in (("pass", False), ("import torch", True)):
        with subprocess.Popen(
            [sys.executable, "-c", f"{words}\nprint(flush=True)\ninput()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert torch_is_loaded(process.pid) is loaded
            process.communicate(b"\n")
