"""Engine defaults and resolving what the user left open; where things lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine import paths
from engine.engines import engine_info, engine_names, resolve_settings
from engine.errors import InputError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def test_defaults_belong_to_their_engine() -> None:
    assert engine_names()[0] == "nano"
    for name in engine_names():
        info = engine_info(name)
        assert (info.name, info.defaults.engine) == (name, name)
        assert info.defaults.width % info.size_multiple == 0
        assert info.defaults.height % info.size_multiple == 0
        assert info.licence
        assert info.note.endswith(".")


def test_published_defaults() -> None:
    info = engine_info("lumosx")
    settings = info.defaults
    assert (settings.width, settings.height, settings.num_frames, settings.fps) == (832, 480, 81, 16)
    assert (settings.num_inference_steps, settings.guidance_scale, settings.shift) == (50, 6.0, 8.0)
    assert (settings.binding_strength, settings.unpooling, info.text_tokens) == (0.5, "published", 512)
    assert settings.relational_positions
    assert settings.relational_self_attention
    assert settings.relational_cross_attention


def test_the_negative_prompt_is_wans_own() -> None:
    case = SHARED / "reference" / "pipeline" / "case.json"
    if not case.is_file():
        pytest.skip("the recorded cases are not on this machine")
    recorded = json.loads(case.read_text(encoding="utf-8"))["negative_prompt"]
    assert engine_info("lumosx").defaults.negative_prompt == recorded


def test_the_built_in_engine_is_small() -> None:
    info = engine_info("nano")
    settings = info.defaults
    assert info.builtin
    assert (settings.width, settings.height, settings.num_frames, settings.fps) == (128, 96, 25, 12)
    assert (settings.num_inference_steps, settings.guidance_scale, settings.shift) == (20, 1.0, 3.0)
    assert (info.text_tokens, info.padded_tokens) == (512, 192)


def test_what_is_left_open_is_filled_in() -> None:
    settings = resolve_settings("lumosx", width=480, height=None, seed=7, guidance_scale=4)
    assert (settings.width, settings.height, settings.seed, settings.guidance_scale) == (480, 480, 7, 4.0)
    assert isinstance(settings.guidance_scale, float)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"widht": 96}, "did you mean width"),
        ({"width": 100}, "nearest is 96"),
        ({"width": "96"}, "whole number"),
        ({"width": True}, "whole number"),
        ({"width": 96.0}, "whole number"),
        ({"relational_positions": 1}, "true or false"),
    ],
)
def test_wrong_overrides_are_refused_in_words(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        resolve_settings("nano", **overrides)


def test_an_unknown_engine_lists_those_there_are() -> None:
    with pytest.raises(InputError, match="nano, lumosx"):
        resolve_settings("wan9000")


def test_one_variable_relocates_all_user_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path / "home"))
    folders = [paths.models_dir(), paths.clips_dir(), paths.cache_dir(), paths.pictures_dir(), paths.presets_dir()]
    assert all(folder.is_relative_to(tmp_path / "home") for folder in folders)
    assert len(set(folders)) == len(folders)
    assert not (tmp_path / "home").exists()
    monkeypatch.setenv("LUMOSX_HOME", " ")
    assert not paths.data_home().is_relative_to(tmp_path)
    assert paths.data_home().is_absolute()


def test_what_comes_with_the_program_lies_beside_it() -> None:
    root = Path(__file__).resolve().parents[2]
    assert paths.builtin_presets_dir() == root / "presets"
    assert paths.assets_dir() == root / "assets"
