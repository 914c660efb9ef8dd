"""`render` and `export` from the command line: clips, dry runs, and one sentence for every bad input."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from PIL import Image

from engine.cli.main import main
from engine.paths import pictures_dir
from engine.pictures import PictureStore
from engine.sample_folder import write_sample_folder
from engine.scene import Scene
from engine.sources import load_source
from tests.unit.tiny_pipeline import FRAMES, HEIGHT, STEPS, WIDTH
from tests.unit.tiny_studio import tiny_scene

SMALL = ("--size", f"{WIDTH}x{HEIGHT}", "--frames", str(FRAMES), "--steps", str(STEPS))


pytestmark = pytest.mark.usefixtures("tiny_model")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """An official sample folder: a man in a red coat and a woman."""
    folder = tmp_path / "sample"
    (folder / "subjects" / "1").mkdir(parents=True)
    (folder / "subjects" / "2").mkdir()
    (folder / "caption.txt").write_text("clip_1;a man in red coat and a woman", encoding="utf-8")
    for number, name in enumerate(("1/face_man", "1/red coat", "2/face_woman")):
        Image.new("RGB", (20, 30), (80 * number, 40, 90)).save(folder / "subjects" / f"{name}.png")
    return folder


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must be refused: exit code 2, one sentence on stderr, no traceback."""
    assert main([*argv]) == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    assert "usage:" not in said
    assert said.endswith((".", ")"))
    assert len(said.splitlines()) == 1
    return said


def test_a_sample_folder_becomes_a_clip(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "clip.mp4"
    assert main(["render", str(sample), "--out", str(out), *SMALL]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(out)
    assert "built-in preview model" in captured.err
    assert out.stat().st_size > 0


def test_json_tells_every_event_and_the_finished_clip(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "frames"
    assert main(["render", str(sample), "--out", str(out), "--json", "--seed", "4", *SMALL]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["event"] for event in events[:-1]} <= {"progress", "preview"}
    last = events[-1]
    assert last["event"] == "finished"
    assert last["builtin"] is True
    assert last["clip"]["request"]["settings"]["seed"] == 4
    assert len(list(out.glob("*.png"))) == FRAMES


def test_a_dry_run_tells_the_plan_and_makes_nothing(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clip.mp4"
    assert main(["render", str(sample), "--out", str(out), "--dry-run", "--json", *SMALL]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [(row["label"], row["group"], row["words"]) for row in plan["references"]] == [
        ("man", 0, ["man"]),
        ("red coat", 0, ["red", "coat"]),
        ("woman", 1, ["woman"]),
    ]
    assert plan["tokens"] == (2 + 3) * (WIDTH // 16) * (HEIGHT // 16)
    assert not out.exists()
    assert main(["render", str(sample), "--dry-run", *SMALL]) == 0
    assert "attribute of subject 1: “red coat” bound to red coat" in capsys.readouterr().out


def test_settings_of_a_clip_are_kept_and_the_command_line_wins(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "clip.mp4"
    assert main(["render", str(sample), "--out", str(clip), "--seed", "11", "--strength", "0.25", *SMALL]) == 0
    capsys.readouterr()
    assert main(["render", str(clip), "--dry-run", "--json", "--steps", "2"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["seed"], plan["steps"], plan["width"]) == (11, 2, WIDTH)
    source = load_source(str(clip), PictureStore(pictures_dir()))
    assert source.settings is not None
    assert source.settings.binding_strength == 0.25


def test_export_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = PictureStore(pictures_dir())
    scene = tiny_scene(store)
    write_sample_folder(scene, store, tmp_path / "first", title="Two people")
    assert main(["export", str(tmp_path / "first"), str(tmp_path / "second")]) == 0
    assert load_source(str(tmp_path / "second"), store).scene == scene
    assert (tmp_path / "second" / "caption.txt").is_file()


def test_bad_scenes_are_refused_in_a_sentence(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "clip.mp4"
    out.parent.mkdir()
    render = ("render", str(sample), "--out", str(out), *SMALL)
    (tmp_path / "empty").mkdir()
    assert "no" in refused(capsys, "render", str(tmp_path / "nowhere"), "--out", str(out)).lower()
    refused(capsys, "render", str(tmp_path / "empty"), "--out", str(out))
    assert "preset" in refused(capsys, "render", "no-such-preset", "--out", str(out))

    coat = sample / "subjects" / "1" / "red coat.png"
    good = coat.read_bytes()
    coat.write_text("this is no picture")
    assert "red coat" in refused(capsys, *render)
    coat.write_bytes(_huge_png())
    assert "red coat" in refused(capsys, *render)
    coat.write_bytes(good[: len(good) // 2])
    refused(capsys, *render)
    coat.write_bytes(good)

    (sample / "caption.txt").write_text("clip_1;a man and a woman", encoding="utf-8")
    assert "red coat" in refused(capsys, *render)
    assert main([*render, "--allow-unbound"]) == 0
    capsys.readouterr()
    out.unlink()
    (sample / "subjects" / "1" / "face_man.png").unlink()
    assert "face" in refused(capsys, *render)
    assert list(out.parent.iterdir()) == []


def _huge_png() -> bytes:
    """A valid header of a picture of 200 megapixels, and hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (20_000).to_bytes(4, "big") + (10_000).to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 60_001)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("option", "word"),
    [
        (("--size", "100x100"), "multiple"),
        (("--frames", "6"), "nearest"),
        (("--engine", "nanoo"), "engine"),
        (("--profile", "huge"), "profile"),
        (("--engine", "lumosx"), "weights"),
        (("--fps", "900"), "fps"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str], word: str
) -> None:
    small = SMALL if option[0] in ("--engine", "--profile", "--fps") else ()
    assert word in refused(capsys, "render", str(sample), "--out", str(tmp_path / "clip.mp4"), *small, *option)
    assert not (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize("name", ["clip.avi", "missing/clip.mp4", "sample"])
def test_bad_targets_are_refused_before_any_work(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    refused(capsys, "render", str(sample), "--out", str(tmp_path / name), *SMALL)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() != 0 if hasattr(os, "geteuid") else True, reason="mounting a file system takes root")
def test_a_full_disk_is_told_and_leaves_nothing(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("mount") is None:
        pytest.skip("this machine cannot mount a file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let tests mount a file system")
    try:
        larger = ("--size", "64x64", "--frames", "41", "--steps", "2")
        said = refused(capsys, "render", str(sample), "--out", str(disk / "clip.mp4"), *larger)
        assert "disk is full" in said
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_scene_without_references_is_plain_text_to_video(tmp_path: Path) -> None:
    store = PictureStore(pictures_dir())
    write_sample_folder(Scene(prompt="a man in red coat"), store, tmp_path / "plain")
    assert main(["render", str(tmp_path / "plain"), "--out", str(tmp_path / "clip.gif"), *SMALL]) == 0
    assert dataclasses.asdict(load_source(str(tmp_path / "clip.gif"), store).scene)["prompt"] == "a man in red coat"


def test_several_seeds_become_several_clips(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(sample), "--out", str(tmp_path / "clip.gif"), "--seeds", "4,7", *SMALL]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "clip-seed4.gif"), str(tmp_path / "clip-seed7.gif")]
    made = {
        load_source(str(tmp_path / f"clip-seed{seed}.gif"), PictureStore(pictures_dir())).settings for seed in (4, 7)
    }
    assert {settings.seed for settings in made if settings is not None} == {4, 7}


@pytest.mark.parametrize("seeds", [("--seeds", "4"), ("--seeds", "4,4"), ("--seeds", "1,2", "--seed", "3")])
def test_seeds_that_are_no_list_are_refused(
    sample: Path, capsys: pytest.CaptureFixture[str], seeds: tuple[str, ...]
) -> None:
    assert "at least two different seeds" in refused(capsys, "render", str(sample), "--out", "clip.mp4", *seeds)
