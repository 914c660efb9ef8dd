"""The step cache “magnitude” from its measurement to a draft: the file beside the weights, the commands, renders."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.cancel import CancelToken
from engine.cli.commands import weights as weights_command
from engine.cli.commands.render import settings_of
from engine.cli.parser import parse
from engine.cli.render_options import STEP_CACHE_KINDS
from engine.codec import from_json, to_json
from engine.engines import draft_of, resolve_settings
from engine.errors import InputError, MachineError, WeightsError
from engine.events import Event, Finished, Notice, Progress
from engine.memory.profiles import work_of
from engine.model.transformer import LumosXTransformer3DModel
from engine.pictures import PictureStore
from engine.rendering import AGAIN
from engine.request import STEP_CACHE_KINDS as KINDS
from engine.request import RenderRequest, RenderSettings
from engine.runtime import Engine
from engine.sources import Source, first_preset, load_source
from engine.weights.installed import MAGNITUDES_NAME, model_folder
from engine.weights.magnitudes import Magnitudes, keep_magnitudes, magnitudes_for
from tests.unit.test_drafts import counted as counted  # a fixture
from tests.unit.test_runtime import frames_of
from tests.unit.tiny_studio import tiny_request, tiny_scene, use_assets

STEPS = 5
CACHE: dict[str, Any] = {"step_cache": 1.0, "step_cache_kind": "magnitude"}
DRAFT: dict[str, Any] = {**CACHE, "num_inference_steps": STEPS}
EVEN = Magnitudes(cond=(1.0,) * STEPS, uncond=(1.0,) * STEPS, unrelated=(1.0,) * STEPS)


@pytest.fixture
def folder(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model as the built-in one, in a folder of this test's own."""
    shutil.copytree(assets, tmp_path / "assets")
    use_assets(monkeypatch, tmp_path / "assets")
    return model_folder("nano")


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def wanted(num_steps: int = STEPS) -> Magnitudes:
    found = magnitudes_for(resolve_settings("nano", **{**DRAFT, "num_inference_steps": num_steps}))
    assert found is not None
    return found


# The file -------------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_found_again_by_the_nearest_number_of_steps(folder: Path) -> None:
    assert magnitudes_for(resolve_settings("nano")) is None
    assert magnitudes_for(resolve_settings("nano", step_cache=0.5)) is None
    lora = {"name": "quick", "digest": "0" * 64, "strength": 1.0}
    with pytest.raises(WeightsError, match="without LoRAs"):
        magnitudes_for(resolve_settings("nano", step_cache=0.5, step_cache_kind="magnitude", loras=[lora]))
    long = Magnitudes(cond=(1.0,) * 20, uncond=(0.9876543,) * 20, unrelated=(0.9876543,) * 20)
    assert keep_magnitudes("nano", EVEN) == folder / MAGNITUDES_NAME
    keep_magnitudes("nano", long)
    assert wanted() == wanted(1) == wanted(12) == EVEN
    assert wanted(13).cond == long.cond
    assert wanted(50).uncond == (0.98765,) * 20
    changed = dataclasses.replace(EVEN, uncond=(0.5,) * STEPS, unrelated=(0.5,) * STEPS)
    keep_magnitudes("nano", changed)
    assert wanted() == changed
    assert len(wanted(20).cond) == 20


@pytest.mark.parametrize("change", ["nothing", "weights", "text", "no runs", "unequal", "not a number"])
def test_figures_that_cannot_be_used_are_refused_with_the_command_that_makes_new_ones(
    folder: Path, change: str
) -> None:
    path = keep_magnitudes("nano", EVEN)
    data: Any = json.loads(path.read_text())
    match change:
        case "nothing":
            path.unlink()
        case "weights":
            data["weights"] = "0" * 64
        case "no runs":
            data["runs"] = []
        case "unequal":
            data["runs"][0]["uncond"].pop()
        case "not a number":
            data["runs"][0]["uncond"][0] = "one"
        case _:
            pass
    if change != "nothing":
        path.write_text("{" if change == "text" else json.dumps(data))
    sentence = {"nothing": "have not been measured yet", "weights": "was measured with other weights"}
    with pytest.raises(WeightsError, match=sentence.get(change, "is damaged")) as refusal:
        wanted()
    assert "run `python3 launcher.py weights calibrate nano`" in str(refusal.value)
    assert keep_magnitudes("nano", EVEN) == path
    assert wanted() == EVEN


def test_new_weights_make_old_figures_stale(folder: Path) -> None:
    keep_magnitudes("nano", EVEN)
    keep_magnitudes("nano", Magnitudes(cond=(1.0,) * 20, uncond=(1.0,) * 20, unrelated=(1.0,) * 20))
    card: Any = json.loads((folder / "card.json").read_text())
    card["files"]["model_index.json"] = "1" * 64
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="other weights"):
        wanted()
    keep_magnitudes("nano", EVEN)
    assert wanted(20) == EVEN  # those of twenty steps were of the old weights


# Settings -------------------------------------------------------------------------------------------------------------


def test_a_draft_says_which_cache_it_was_made_with() -> None:
    (first,) = draft_of(resolve_settings("nano", step_cache=0.1))
    (other,) = draft_of(resolve_settings("nano", step_cache=0.1, step_cache_kind="magnitude"))
    assert "change less than 0.1" in first
    assert "off by 0.1" in other
    assert draft_of(resolve_settings("nano", step_cache_kind="magnitude")) == ()
    assert tuple(STEP_CACHE_KINDS) == KINDS  # the parser loads nothing and says them itself


def test_a_recipe_from_before_there_were_two_kinds_keeps_its_own() -> None:
    data: Any = to_json(resolve_settings("nano", step_cache=0.2))
    assert data.pop("step_cache_kind") == "first-block"
    assert from_json(RenderSettings, data) == resolve_settings("nano", step_cache=0.2)
    data["step_cache_kind"] = "third"
    with pytest.raises(InputError, match="first-block, magnitude"):
        from_json(RenderSettings, data)
    with pytest.raises(InputError, match="choose first-block or magnitude"):
        resolve_settings("nano", step_cache_kind="third")


def test_the_command_line_chooses_the_kind(store: PictureStore) -> None:
    args = parse(["render", "s", "--out", "a.mp4", "--step-cache", "0.1", "--step-cache-kind", "magnitude"])
    source = Source(scene=tiny_scene(store), settings=None, title="t")
    settings = settings_of(args, source)
    assert (settings.step_cache, settings.step_cache_kind) == (0.1, "magnitude")
    left_open = settings_of(parse(["render", "s", "--out", "a.mp4"]), dataclasses.replace(source, settings=settings))
    assert left_open == settings
    with pytest.raises(SystemExit):
        parse(["render", "s", "--out", "a.mp4", "--step-cache-kind", "third"])


def test_what_a_cache_keeps_is_in_the_memory_plan() -> None:
    kept = [
        work_of(resolve_settings("lumosx", **settings), 0).kept_streams
        for settings in (
            {"step_cache_kind": "magnitude"},
            {"step_cache": 0.1},
            {"step_cache": 0.1, "step_cache_kind": "magnitude"},
            {"step_cache": 0.1, "step_cache_kind": "magnitude", "guidance_scale": 1.0},
            {"step_cache": 0.1, "guided_share": 0.0},
        )
    ]
    assert kept == [0, 6, 4, 2, 3]


# Renders --------------------------------------------------------------------------------------------------------------


def test_a_draft_by_magnitudes_skips_blocks_and_leaves_the_next_render_alone(
    counted: Callable[..., tuple[np.ndarray, int, int]], folder: Path
) -> None:
    keep_magnitudes("nano", EVEN)
    whole, _, blocks = counted()
    steps = blocks // 2
    draft, passes, blocks = counted(**CACHE)
    assert passes == 2 * steps
    assert blocks == 2  # the first step of each pass; the three behind it are taken over
    assert not np.array_equal(draft, whole)
    streamed, _, _ = counted(profile="streamed", **CACHE)
    assert np.array_equal(streamed, draft)
    keep_magnitudes("nano", Magnitudes(cond=(5.0,) * STEPS, uncond=(5.0,) * STEPS, unrelated=(5.0,) * STEPS))
    careful, _, blocks = counted(**CACHE)
    assert blocks == 2 * steps
    assert np.array_equal(careful, whole)
    again, _, blocks = counted()
    assert blocks == 2 * steps
    assert np.array_equal(again, whole)


def test_without_figures_nothing_is_begun(folder: Path, store: PictureStore, tmp_path: Path) -> None:
    request = tiny_request(store, **DRAFT)
    with pytest.raises(WeightsError, match="weights calibrate nano"):
        list(Engine().render(request, store, CancelToken(), tmp_path / "clip.mp4"))
    assert not (tmp_path / "clip.mp4").exists()
    keep_magnitudes("nano", EVEN)
    list(Engine().render(request, store, CancelToken(), tmp_path / "clip.mp4"))


def test_it_begins_anew_after_a_stop_and_its_seeds_are_painted_together(
    folder: Path, store: PictureStore, tmp_path: Path
) -> None:
    keep_magnitudes("nano", EVEN)
    request, saved = tiny_request(store, **DRAFT), tmp_path / "saved.safetensors"
    events = Engine().render(request, store, CancelToken(), tmp_path / "cancelled.mp4", resume=saved)
    for event in events:
        if isinstance(event, Progress) and event.stage == "denoise" and event.step == 3:
            break
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert not saved.exists()
    outs = {seed: tmp_path / f"{seed}" for seed in (1, 2)}
    told: list[Event] = list(Engine().render_seeds(request, store, CancelToken(), outs))
    assert sum(isinstance(event, Finished) for event in told) == 2
    assert sum(isinstance(event, Progress) and event.stage == "load" for event in told) == 1
    alone = tiny_request(store, **DRAFT, seed=2)
    list(Engine().render(alone, store, CancelToken(), tmp_path / "alone"))
    pictures = [
        np.stack([_pixels(path) for path in sorted((tmp_path / name).glob("*.png"))]) for name in ("2", "alone")
    ]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_memory_that_runs_out_in_a_draft_is_stepped_down_from(
    folder: Path, store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_magnitudes("nano", EVEN)
    monkeypatch.setattr("engine.rendering.leaner", lambda *_, **__: None)
    engine, request = Engine(), tiny_request(store, num_inference_steps=STEPS)
    list(engine.render(request, store, CancelToken(), tmp_path / "whole.mp4"))
    with monkeypatch.context() as once:
        _fails_once(once, in_pass=5)  # of two in every step
        events = list(engine.render(tiny_request(store, **DRAFT), store, CancelToken(), tmp_path / "draft.mp4"))
    assert [event.text for event in events if isinstance(event, Notice)] == [AGAIN]
    steps = [event.step for event in events if isinstance(event, Progress) and event.stage == "denoise"]
    assert steps == [0, 1, 2, 2, 3, 4, 5]
    assert isinstance(events[-1], Finished)
    list(engine.render(request, store, CancelToken(), tmp_path / "again.mp4"))
    assert np.array_equal(frames_of(tmp_path / "again.mp4"), frames_of(tmp_path / "whole.mp4"))


def _fails_once(monkeypatch: pytest.MonkeyPatch, in_pass: int) -> None:
    forward: Any = LumosXTransformer3DModel.forward
    seen: list[int] = []

    def scarce(*args: object, **options: object) -> object:
        seen.append(1)
        if len(seen) == in_pass:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(*args, **options)

    monkeypatch.setattr(LumosXTransformer3DModel, "forward", scarce)


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path)).astype(int)


# The calibration ------------------------------------------------------------------------------------------------------


def test_the_command_measures_both_passes_and_keeps_them_with_the_model(
    folder: Path,
    store: PictureStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        "engine.sources.load_source", lambda *_: Source(scene=tiny_scene(store), settings=None, title="")
    )
    monkeypatch.setattr("engine.paths.pictures_dir", lambda: tmp_path / "pictures")
    command = ["weights", "calibrate", "nano", "--steps", "4", "--size", "32x16", "--frames", "5"]
    assert weights_command.run(parse(command)) == 0
    output = capsys.readouterr()
    assert output.out.strip() == f"Measured in 4 steps: {folder / MAGNITUDES_NAME}"
    assert "Painting, 8 of 8" in output.err
    found = wanted(4)
    assert len(found.cond) == len(found.uncond) == 4
    assert found.cond[0] == found.uncond[0] == 1
    assert found.cond != found.uncond
    # Guided, both are measured in one run; the pass with the prompt sees latents that were guided.
    request = RenderRequest(scene=tiny_scene(store), settings=tiny_request(store, num_inference_steps=4).settings)
    guided = dataclasses.replace(request, settings=dataclasses.replace(request.settings, guidance_scale=2.0))
    events = list(Engine().calibrate(guided, store, CancelToken()))
    assert [event.step for event in events if isinstance(event, Progress) and event.stage == "denoise"] == [1, 2, 3, 4]
    assert wanted(4).uncond == found.uncond
    assert wanted(4).cond != found.cond


def test_a_calibration_without_memory_says_what_to_do(
    folder: Path, store: PictureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fails_once(monkeypatch, in_pass=2)
    with pytest.raises(MachineError, match="smaller --size"):
        list(Engine().calibrate(tiny_request(store), store, CancelToken()))
    assert not (folder / MAGNITUDES_NAME).exists()


def test_the_built_in_model_comes_with_its_figures(store: PictureStore, tmp_path: Path) -> None:
    settings = resolve_settings(
        "nano", step_cache=0.06, step_cache_kind="magnitude", num_frames=5, num_inference_steps=10
    )
    found = magnitudes_for(settings)
    assert found is not None
    assert len(found.cond) == resolve_settings("nano").num_inference_steps
    request = RenderRequest(scene=load_source(first_preset(), store).scene, settings=settings)
    engine = Engine()
    model = engine._model_for((request,))
    worked: list[int] = []
    blocks: Any = model.pipeline().transformer.blocks
    blocks[-1].ffn.register_forward_hook(lambda *_: worked.append(1))
    list(engine.render(request, store, CancelToken(), tmp_path / "clip.mp4"))
    assert 4 < len(worked) < 20  # two passes in every step
    assert frames_of(tmp_path / "clip.mp4").std() > 10
