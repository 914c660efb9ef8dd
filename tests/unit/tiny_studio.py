"""A built-in model of tiny, random, real parts in a folder of its own, and a scene to render with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from engine.engines import resolve_settings
from engine.pictures import PictureStore
from engine.request import RenderRequest, RenderSettings
from engine.scene import Reference, Role, Scene, Subject
from tests.unit.tiny_pipeline import FRAMES, HEIGHT, STEPS, WIDTH, tiny_pipeline

PROMPT = "a man in red coat and a woman"


def install_tiny_model(assets: Path) -> Path:
    """Write the model to `assets/nano` with its card, as the project ships it."""
    folder = assets / "nano"
    tiny_pipeline().save_pretrained(folder)
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / "card.json").write_text(json.dumps({"files": files}))
    return folder


def use_assets(monkeypatch: pytest.MonkeyPatch, assets: Path) -> None:
    """Let the engine find its built-in model under `assets`."""
    monkeypatch.setattr("engine.weights.installed.assets_dir", lambda: assets)


def add_picture(store: PictureStore, seed: int) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    return store.add_array(pixels)


def tiny_scene(store: PictureStore, coat_seed: int = 2) -> Scene:
    """A man with a red coat, cut out by a mask, and a woman."""
    mask = np.zeros((40, 30), dtype=np.uint8)
    mask[5:30, 4:20] = 255
    face = Reference(id="man", role=Role.face, label="man", image=add_picture(store, 1), mask=None)
    coat = Reference(
        id="coat",
        role=Role.attribute,
        label="red coat",
        image=add_picture(store, coat_seed),
        mask=store.add_mask(mask),
    )
    woman = Reference(id="woman", role=Role.face, label="woman", image=add_picture(store, 3), mask=None)
    return Scene(
        prompt=PROMPT,
        subjects=(Subject(id="one", face=face, attributes=(coat,)), Subject(id="two", face=woman, attributes=())),
    )


def tiny_settings(**overrides: object) -> RenderSettings:
    values = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES, "num_inference_steps": STEPS, **overrides}
    return resolve_settings("nano", **values)


def tiny_request(store: PictureStore, **overrides: object) -> RenderRequest:
    return RenderRequest(scene=tiny_scene(store), settings=tiny_settings(**overrides))
