"""`bench speed` with tiny real networks: every second lands in a stage, drafts are held against the full render."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from engine.bench import speed
from engine.bench.speed import STAGES, measure_speed, psnr_db, stage_seconds, variants_of
from engine.cli.commands import bench
from engine.cli.parser import parse
from engine.engines import resolve_settings
from engine.errors import InputError
from engine.pictures import PictureStore
from engine.runtime import Engine
from engine.sample_folder import write_sample_folder
from tests.unit.tiny_pipeline import FRAMES, HEIGHT, WIDTH
from tests.unit.tiny_studio import tiny_request, tiny_scene, tiny_settings

SMALL = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES, "num_inference_steps": 4}


@pytest.fixture(autouse=True)
def tiny(tiny_model: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model as the built-in one and one preset, whose scene it can render."""
    store = PictureStore(tmp_path / "given")
    write_sample_folder(tiny_scene(store), store, tmp_path / "presets" / "pair", settings=tiny_settings())
    monkeypatch.setattr("engine.sources.builtin_presets_dir", lambda: tmp_path / "presets")


def test_every_variant_has_its_figures_and_only_drafts_differ_from_the_full_render() -> None:
    said: list[str] = []
    figures = measure_speed("nano", repeats=2, settings=SMALL, state=said.append)
    rows = {row.variant: row for row in figures}
    assert list(rows) == [
        "first",
        "again",
        "with guidance 1.5",
        "2 steps",
        "1 steps",
        "step cache 0.05",
        "step cache 0.1",
    ]
    assert rows["first"].psnr_db is None
    assert rows["again"].psnr_db is None
    assert rows["2 steps"].psnr_db is not None
    assert rows["with guidance 1.5"].psnr_db is not None
    assert [row.steps for row in figures] == [4, 4, 4, 2, 1, 4, 4]
    for row in figures:
        assert (row.repeats, row.width, row.height, row.frames) == (2, WIDTH, HEIGHT, FRAMES)
        assert row.step_s == pytest.approx(row.stages_s["denoise"] / row.steps)
    # A fresh engine loads; one that has rendered does not, and its words and pictures were kept.
    assert rows["first"].stages_s["load"] > rows["again"].stages_s["load"]
    assert rows["first"].stages_s["prompt"] > rows["again"].stages_s["prompt"]
    assert "Nano, the built-in preview model, first: warming up" in said
    assert "Nano, the built-in preview model, 2 steps: round 2 of 2" in said


def test_the_stages_hold_the_whole_render(tmp_path: Path) -> None:
    store = PictureStore(tmp_path / "store")
    engine = Engine(cache=tmp_path / "cache")
    seconds = stage_seconds(engine, tiny_request(store, num_inference_steps=6), store, tmp_path / "a.mp4")
    assert tuple(seconds) == STAGES
    assert all(value > 0 for value in seconds.values())
    assert any((tmp_path / "cache").iterdir())


def test_drafts_have_fewer_steps_and_guidance_is_turned_round() -> None:
    names = [variant.name for variant in variants_of(resolve_settings("lumosx"))]
    assert names == [
        "first",
        "again",
        "without guidance",
        "25 steps",
        "12 steps",
        "step cache 0.05",
        "step cache 0.1",
        "guidance in half",
    ]
    assert [variant.name for variant in variants_of(tiny_settings(num_inference_steps=1))][2:3] == ["with guidance 1.5"]


def test_psnr_is_that_of_the_textbook() -> None:
    frames = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    assert psnr_db(frames, frames) is None
    assert psnr_db(frames + 5, frames) == pytest.approx(20 * math.log10(255 / 5))


def test_no_repeat_and_no_preset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one repeat"):
        measure_speed("nano", repeats=0)
    (tmp_path / "presets" / "pair").rename(tmp_path / "pair")
    with pytest.raises(InputError, match="no presets"):
        measure_speed("nano", repeats=1, settings=SMALL)


def test_the_command_ends_in_one_json_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(speed, "resolve_settings", lambda engine, **_: resolve_settings(engine, **SMALL))
    assert bench.run(parse(["bench", "speed", "--repeats", "1"])) == 0
    output = capsys.readouterr()
    lines = output.out.splitlines()
    rows = json.loads(lines[-1])["speed"]
    assert [row["variant"] for row in rows][:2] == ["first", "again"]
    assert len(lines) == 2 + len(rows) + 1
    assert "the same" in lines[3]
    assert "round 1 of 1" in output.err
