"""Values that come as JSON: scene files, requests, settings, events, and the text of a recipe."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any

import pytest
from hypothesis import strategies as st

from engine.codec import from_json, to_json
from engine.engines import resolve_settings
from engine.errors import InputError
from engine.events import Event, Preview, Progress
from engine.pictures import PictureStore
from engine.recipe import recipe_from_json, recipe_to_json
from engine.request import RenderRequest, RenderSettings
from engine.scene import Reference, Role, Scene
from engine.scene_file import SceneFile, encode_scene_file, parse_scene_file
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Target
from tests.fuzz.mutation import SCRAPS
from tests.property.test_json_round_trips import render_settings, requests, scenes
from tests.unit.small_recipe import small_recipe

scraps = st.recursive(
    st.one_of(st.sampled_from(SCRAPS), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    """The JSON of a value, one place of it replaced by anything, removed, or given a new neighbour."""
    tree = json.loads(json.dumps(draw(values), default=to_json))
    node: Any = tree
    while isinstance(node, dict | list) and node:
        keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 3)):
            node = node[key]
            continue
        match draw(st.integers(0, 3)):
            case 0:
                del node[key]
            case 1 if isinstance(node, dict):
                node[draw(st.text(max_size=4))] = draw(scraps)
            case _:
                node[key] = draw(scraps)
        break
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def loaded(data: bytes) -> Any:
    """JSON as a web server reads it; what is no JSON never gets to a parser."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise InputError("This is no JSON.") from None


def value(cls: Any, data: bytes, _folder: Path) -> None:
    found: Any = from_json(cls, loaded(data))
    assert from_json(cls, json.loads(json.dumps(to_json(found)))) == found
    if isinstance(found, Scene):
        found.problems()


def scene_file(data: bytes, folder: Path) -> None:
    path = folder / "scene.json"
    path.write_bytes(data)
    found = parse_scene_file(path)
    path.write_bytes(encode_scene_file(found))
    assert parse_scene_file(path) == found


def recipe(data: bytes, _folder: Path) -> None:
    found = recipe_from_json(data.decode("utf-8", "replace"))
    assert recipe_from_json(recipe_to_json(found)) == found


REFERENCE = Reference(id="b", role=Role.background, label="x", image="i", mask="m")
FILE = SceneFile(
    schema_version=1,
    title="a title",
    scene=Scene(prompt="x", background=REFERENCE),
    settings=resolve_settings("nano"),
    pictures={"i": "a.png", "m": "b.png"},
)


def encoded(one: object) -> bytes:
    return json.dumps(to_json(one)).encode()


@pytest.mark.parametrize(
    ("name", "cls", "values"),
    [
        ("scene", Scene, scenes),
        ("settings", RenderSettings, render_settings),
        ("request", RenderRequest, requests),
        ("event", Event, st.sampled_from([Progress(stage="x", step=1, num_steps=2, seconds_left=1.0)])),
    ],
)
def test_values(
    name: str, cls: type[Any] | UnionType, values: st.SearchStrategy[Any], fuzz: Fuzz, tmp_path: Path
) -> None:
    whole = small_recipe(PictureStore(tmp_path / "pictures")).request
    seeds: dict[str, list[object]] = {
        "scene": [whole.scene, FILE.scene, Scene()],
        "settings": [whole.settings, resolve_settings("lumosx")],
        "request": [whole],
        "event": [
            Progress(stage="sample", step=1, num_steps=9, seconds_left=None),
            Preview(step=1, width=2, height=3, webp=b"x" * 9),
        ],
    }
    fuzz(Target(name, partial(value, cls), [encoded(one) for one in seeds[name]], "json"), damaged(values))


def test_scene_files(fuzz: Fuzz, tmp_path: Path) -> None:
    whole = small_recipe(PictureStore(tmp_path / "pictures")).request
    other = SceneFile(schema_version=1, title="", scene=whole.scene, settings=None, pictures={})
    seeds = [encode_scene_file(FILE), encode_scene_file(other)]
    fuzz(Target("scene file", scene_file, seeds, "json"), damaged(st.just(FILE)))


def test_recipes(fuzz: Fuzz, tmp_path: Path) -> None:
    text = recipe_to_json(small_recipe(PictureStore(tmp_path / "pictures"))).encode()
    fuzz(Target("recipe", recipe, [text], "json"), damaged(st.just(json.loads(text))))
