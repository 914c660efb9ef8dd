"""The built-in model as it comes with the program: whole, small, and it dresses people in their own clothes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.cancel import CancelToken
from engine.engines import engine_info, resolve_settings
from engine.events import Finished
from engine.model.step_cache import MagnitudeCache
from engine.nano.evaluation import (
    Sampling,
    bound_share,
    evaluation_scene,
    load_pipeline,
    make_clips,
    measure_binding,
    score_clip,
    score_scenes,
)
from engine.nano.presets import PRESETS, PresetScene, write_presets
from engine.nano.recognition import face_template, garment_template
from engine.paths import builtin_presets_dir
from engine.pictures import PictureStore
from engine.request import RenderRequest
from engine.runtime import Engine
from engine.scene import Scene
from engine.sources import load_source
from engine.weights.installed import locate

PRESET_FOLDERS = sorted(path for path in builtin_presets_dir().iterdir() if path.name != "README.md")


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def frames_of(scene: Scene, store: PictureStore, out: Path, **settings: int) -> np.ndarray:
    """The frames `[F, H, W, 3]` that the built-in model makes of a scene, by way of lossless pictures."""
    request = RenderRequest(scene=scene, settings=resolve_settings("nano", **settings), allow_unbound=False)
    events = list(Engine().render(request, store, CancelToken(), out))
    assert isinstance(events[-1], Finished)
    return np.stack([np.asarray(Image.open(path)) for path in sorted(out.glob("*.png"))])


def bound(frames: np.ndarray, preset: PresetScene, garments_of: tuple[int, ...]) -> float:
    """Share of the preset's people who wear the garment of the person named in `garments_of`."""
    faces = [face_template(subject.face[1], None) for subject in preset.subjects]
    garments = [garment_template(preset.subjects[index].garment[1]) for index in garments_of]
    return bound_share(frames, faces, garments)


def swapped(scene: Scene) -> Scene:
    """The scene with the attributes of its two subjects exchanged."""
    one, two = scene.subjects
    return replace(scene, subjects=(replace(one, attributes=two.attributes), replace(two, attributes=one.attributes)))


def test_its_files_are_whole_and_small() -> None:
    folder = locate("nano")
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 40 * 2**20


def test_its_card_recommends_what_the_program_uses() -> None:
    card = json.loads((locate("nano") / "card.json").read_text(encoding="utf-8"))
    defaults = engine_info("nano").defaults
    assert {name: getattr(defaults, name) for name in card["defaults"]} == card["defaults"]


def test_its_card_says_how_far_it_got() -> None:
    card = json.loads((locate("nano") / "card.json").read_text(encoding="utf-8"))
    assert card["results"]["by_subjects"]["2"]["binding_accuracy"] >= 0.8


@pytest.mark.parametrize("folder", PRESET_FOLDERS, ids=lambda path: path.name)
def test_every_preset_becomes_a_clip(folder: Path, store: PictureStore, tmp_path: Path) -> None:
    scene = load_source(str(folder), store).scene
    frames = frames_of(scene, store, tmp_path / "frames", num_frames=5, num_inference_steps=3)
    assert frames.shape == (5, 96, 128, 3)
    assert frames.std() > 10


def test_presets_are_drawn_by_the_project(tmp_path: Path) -> None:
    drawn = {path.relative_to(tmp_path): path for path in write_presets(tmp_path) for path in path.rglob("*.png")}
    assert {path.relative_to(builtin_presets_dir()) for path in builtin_presets_dir().rglob("*.png")} == set(drawn)
    for relative, path in drawn.items():
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(builtin_presets_dir() / relative))), (
            relative
        )


def test_friends_wear_their_own_clothes_and_swap_them_when_told(store: PictureStore, tmp_path: Path) -> None:
    preset = PRESETS[0]
    scene = load_source(preset.name, store).scene
    settings = {"num_frames": 13, "num_inference_steps": 12}
    assert bound(frames_of(scene, store, tmp_path / "own", **settings), preset, (0, 1)) == 1
    assert bound(frames_of(swapped(scene), store, tmp_path / "swapped", **settings), preset, (1, 0)) == 1


@pytest.mark.parametrize("guidance_scale", [1, 2])
def test_a_long_description_is_read_to_its_end(guidance_scale: int, store: PictureStore, tmp_path: Path) -> None:
    scene = load_source(PRESETS[0].name, store).scene
    said_last = replace(scene, prompt="The photograph is bright and everybody smiles. " * 6 + scene.prompt, spans=())
    settings = {"num_frames": 5, "num_inference_steps": 2, "guidance_scale": guidance_scale}
    clips = [
        frames_of(replace(said_last, prompt=said_last.prompt + more), store, tmp_path / more.strip(" ."), **settings)
        for more in (" It rains.", " It snows.")
    ]
    assert clips[0].shape == (5, 96, 128, 3)
    assert not np.array_equal(clips[0], clips[1])


def test_drafts_are_judged_as_clips_of_its_own_size() -> None:
    pipeline = load_pipeline(locate("nano"))
    scene = evaluation_scene(1, 0, 2)
    full = Sampling(num_frames=5, num_inference_steps=4)
    always = MagnitudeCache(threshold=1.0, cond=[1.0], uncond=[1.0], unrelated=[1.0])
    worked: list[int] = []
    blocks: Any = pipeline.transformer.blocks
    blocks[-1].ffn.register_forward_hook(lambda *_: worked.append(1))
    clips = [
        make_clips(pipeline, scene, sampling, (3,))[0]
        for sampling in (full, replace(full, width=64, height=48), replace(full, step_cache=always))
    ]
    assert len(worked) == 4 + 4 + 1
    assert {clip.shape for clip in clips} == {(5, 96, 128, 3)}
    assert not np.array_equal(clips[0], clips[2])
    for sampling in (full, replace(full, width=64, height=48)):
        row = measure_binding(pipeline, 1, 1, sampling, 2)
        assert 0 <= row["binding_accuracy"] <= 1
    assert score_scenes(pipeline, 1, 1, full, 2) == [score_clip(make_clips(pipeline, scene, full, (0,))[0], scene)]
