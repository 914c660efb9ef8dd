"""`bench speed` with tiny real networks: every second lands in a stage, drafts are held against the full render."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.bench import speed
from engine.bench.speed import STAGES, measure_speed, psnr_db, report, stage_seconds, variants_of
from engine.cli.commands import bench
from engine.cli.commands.render import chosen_settings
from engine.cli.parser import parse
from engine.engines import resolve_settings
from engine.errors import InputError
from engine.model.pipeline import LumosXPipeline
from engine.model.step_cache import FirstBlockCache, MagnitudeCache
from engine.nano.evaluation import Sampling, Score
from engine.pictures import PictureStore
from engine.runtime import Engine
from engine.sample_folder import write_sample_folder
from engine.weights.loras import add_lora
from engine.weights.magnitudes import Magnitudes, keep_magnitudes
from tests.unit.tiny_lora import write_lora
from tests.unit.tiny_pipeline import FRAMES, HEIGHT, WIDTH
from tests.unit.tiny_studio import tiny_request, tiny_scene, tiny_settings, use_assets

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
        "guidance 1.5",
        "guidance 1.5, half",
        "without relation guidance",
        "relation guidance in half",
        "2 steps",
        "1 steps",
        "first-block 0.05",
        "first-block 0.1",
    ]
    (left_out,) = [text for text in said if text.startswith("Left out")]
    assert "weights calibrate nano" in left_out
    assert rows["first"].psnr_db is None
    assert rows["again"].psnr_db is None
    assert rows["2 steps"].psnr_db is not None
    assert rows["guidance 1.5"].psnr_db is not None
    assert rows["guidance 1.5, half"].against == "guidance 1.5"
    assert rows["guidance 1.5, half"].psnr_db is not None
    assert rows["without relation guidance"].psnr_db is not None
    assert {row.binding for row in figures} == {None}
    assert [row.steps for row in figures] == [4, 4, 4, 4, 4, 4, 2, 1, 4, 4]
    for row in figures:
        assert (row.repeats, row.width, row.height, row.frames) == (2, WIDTH, HEIGHT, FRAMES)
        assert row.step_s == pytest.approx(row.stages_s["denoise"] / row.steps)
    # The words of one that has rendered were kept.
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
        "guidance in half",
        "25 steps",
        "12 steps",
        "half canvas",
        "first-block 0.05",
        "first-block 0.1",
        "magnitude 0.06",
        "magnitude 0.12",
    ]
    one_step = variants_of(tiny_settings(num_inference_steps=1), magnitudes=False)
    assert [variant.name for variant in one_step][2:] == [
        "guidance 1.5",
        "guidance 1.5, half",
        "without relation guidance",
        "relation guidance in half",
        "first-block 0.05",
        "first-block 0.1",
    ]


def test_half_a_canvas_is_measured_where_it_is_a_legal_size() -> None:
    halves = {
        (width, height): [
            (one.settings["width"], one.settings["height"])
            for one in variants_of(resolve_settings("nano", width=width, height=height))
            if one.name == "half canvas"
        ]
        for width, height in ((128, 96), (832, 480), (416, 240), (16, 16))
    }
    assert halves == {(128, 96): [(64, 48)], (832, 480): [(416, 240)], (416, 240): [], (16, 16): []}


def test_who_wears_what_is_measured_with_the_settings_of_every_draft(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(assets, tmp_path / "assets")
    use_assets(monkeypatch, tmp_path / "assets")
    keep_magnitudes("nano", Magnitudes(cond=(1.0,) * 4, uncond=(1.0,) * 4, unrelated=(1.0,) * 4))
    asked: list[Sampling] = []

    def judged(_: LumosXPipeline, scenes: int, seed: int, sampling: Sampling, num_subjects: int) -> list[Score]:
        assert (scenes, seed, num_subjects) == (3, 1, 2)
        asked.append(sampling)
        return [Score(binding=share, face=0.0) for share in (1.0, 0.5, len(asked) / 10)]

    monkeypatch.setattr("engine.nano.evaluation.score_scenes", judged)
    figures = measure_speed("nano", repeats=1, scenes=3, settings={**SMALL, "width": 64, "height": 32})
    rows = {row.variant: row for row in figures}
    assert rows["first"].binding == rows["again"].binding == round(1.6 / 3, 4)
    assert [round(row.binding * 30 - 15) for row in figures[1:] if row.binding is not None] == list(range(1, 13))
    sampled = dict(zip([row.variant for row in figures[1:]], asked, strict=True))
    full = sampled["again"]
    assert (full.width, full.height, full.num_frames, full.num_inference_steps) == (64, 32, FRAMES, 4)
    assert (full.step_cache, full.guided_share, full.guidance_scale) == (None, 1.0, 1.0)
    assert (full.relation_guidance, sampled["without relation guidance"].relation_guidance) == (1.5, 0.0)
    assert sampled["1 steps"].num_inference_steps == 1
    assert (sampled["half canvas"].width, sampled["half canvas"].height) == (32, 16)
    assert (sampled["guidance 1.5, half"].guidance_scale, sampled["guidance 1.5, half"].guided_share) == (1.5, 0.5)
    assert sampled["first-block 0.1"].step_cache == FirstBlockCache(0.1)
    magnitude = sampled["magnitude 0.12"].step_cache
    assert isinstance(magnitude, MagnitudeCache)
    assert magnitude.threshold == 0.12
    assert rows["half canvas"].psnr_db is not None  # its frames were enlarged
    lines = report(figures).splitlines()
    assert "3 scenes of 2 people, chance 0.50" in lines[0]
    assert lines[1].endswith("binding")
    assert json.loads(lines[-1])["speed"][1]["binding"] == rows["again"].binding


@pytest.mark.usefixtures("home")
def test_a_draft_of_ones_own_with_a_lora_is_measured_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_lora(write_lora(tmp_path / "quick.safetensors"))
    judged: list[tuple[int, float]] = []

    def judge(pipeline: LumosXPipeline, _: int, __: int, sampling: Sampling, ___: int) -> list[Score]:
        judged.append(
            (
                sampling.num_inference_steps,
                sum(float(one.detach().abs().sum()) for one in pipeline.transformer.parameters()),
            )
        )
        return [Score(binding=1.0, face=0.0)]

    monkeypatch.setattr("engine.nano.evaluation.score_scenes", judge)
    args = parse(["bench", "speed", "--lora", "quick:0.5", "--steps", "3"])
    figures = measure_speed("nano", repeats=1, scenes=1, settings=SMALL, yours=chosen_settings(args))
    yours = figures[-1]
    assert (yours.variant, yours.steps, yours.against) == ("yours", 3, "again")
    assert yours.psnr_db is not None
    assert judged[-1][0] == 3
    assert judged[-1][1] != judged[0][1]
    assert {weights for _, weights in judged[:-1]} == {judged[0][1]}


def test_who_wears_what_is_measured_of_the_built_in_model_only() -> None:
    with pytest.raises(InputError, match="leave out --scenes for lumosx"):
        measure_speed("lumosx", scenes=1)


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
    assert len(lines) == 2 + len(rows) + 1 + 1
    assert lines[-2] == "“guidance 1.5, half” is held against “guidance 1.5”."
    assert "the same" in lines[3]
    assert "round 1 of 1" in output.err
