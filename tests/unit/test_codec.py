"""Values to JSON and strictly back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from engine.codec import from_json, to_json
from engine.engines import engine_info
from engine.errors import InputError, SceneError
from engine.events import Event, Finished, Preview, Progress
from engine.request import Clip, RenderRequest, RenderSettings
from engine.scene import Role, Scene

SETTINGS = engine_info("nano").defaults


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    name: str
    count: int
    ratio: float
    flag: bool
    role: Role
    word: Literal["a", "b"]
    data: bytes
    path: Path
    pair: tuple[int, str]
    many: tuple[int, ...]
    table: dict[str, int]
    maybe: int | None


SAMPLE = Sample(
    name="ü",
    count=3,
    ratio=0.5,
    flag=True,
    role=Role.face,
    word="a",
    data=b"\x00\xff",
    path=Path("a") / "b",
    pair=(1, "x"),
    many=(1, 2),
    table={"k": 1},
    maybe=None,
)


def test_every_kind_of_field_comes_back() -> None:
    data = to_json(SAMPLE)
    assert from_json(Sample, json.loads(json.dumps(data))) == SAMPLE
    assert data["role"] == "face"
    assert data["data"] == "AP8="


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 1),
        ("name", "\ud800"),
        ("count", 1.0),
        ("count", True),
        ("count", "1"),
        ("ratio", True),
        ("ratio", float("nan")),
        ("ratio", float("inf")),
        ("ratio", 10**400),
        ("flag", 1),
        ("role", "hat"),
        ("role", ["face"]),
        ("word", "c"),
        ("word", {}),
        ("data", "?"),
        ("data", "ä"),
        ("path", "\0"),
        ("pair", [1]),
        ("pair", [1, 2]),
        ("many", "12"),
        ("many", [1, None]),
        ("table", []),
        ("table", {"k": "v"}),
        ("maybe", "x"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^The field “{field}"):
        from_json(Sample, {**to_json(SAMPLE), field: value})


def test_missing_and_unknown_fields_are_refused_by_name() -> None:
    data = to_json(SAMPLE)
    with pytest.raises(InputError, match="“extra”"):
        from_json(Sample, {**data, "extra": 1})
    del data["count"]
    with pytest.raises(InputError, match="“count”"):
        from_json(Sample, data)
    with pytest.raises(InputError, match="should be an object"):
        from_json(Sample, [])


def test_a_whole_number_will_do_for_a_fraction() -> None:
    value = from_json(Sample, {**to_json(SAMPLE), "ratio": 2})
    assert isinstance(value.ratio, float)


def test_the_place_of_a_fault_deep_inside_is_named() -> None:
    data = to_json(Scene(prompt="x"))
    data["subjects"] = [{"id": "s", "face": None, "attributes": [{"id": 5}]}]
    with pytest.raises(InputError, match=r"“subjects\[0\]\.attributes\[0\]” lacks the field “role”"):
        from_json(Scene, data)


def test_of_an_optional_the_fault_of_the_value_is_told() -> None:
    with pytest.raises(InputError, match="“background” lacks"):
        from_json(Scene, {**to_json(Scene(prompt="x")), "background": {"id": "b"}})


def test_events_are_told_apart_by_their_fields() -> None:
    clip = Clip(
        id="c",
        path=Path("clip.mp4"),
        request=RenderRequest(scene=Scene(prompt="A dog."), settings=SETTINGS),
        engine_version="1",
        weights_digest="d",
        seconds=1.5,
    )
    for event in (
        Progress(stage="sample", step=1, num_steps=20, seconds_left=None),
        Preview(step=1, width=2, height=2, webp=b"RIFF"),
        Finished(clip=clip),
    ):
        assert from_json(Event, json.loads(json.dumps(to_json(event)))) == event
    with pytest.raises(InputError, match="none of the forms"):
        from_json(Event, {"what": 1})


def test_reading_passes_the_same_gates_as_making() -> None:
    with pytest.raises(InputError, match="nearest"):
        from_json(RenderSettings, {**to_json(SETTINGS), "width": 97})
    request = to_json(RenderRequest(scene=Scene(prompt="A dog."), settings=SETTINGS))
    request["scene"]["prompt"] = ""
    with pytest.raises(SceneError):
        from_json(RenderRequest, request)


def test_what_the_codec_does_not_know_is_a_fault_of_the_program() -> None:
    with pytest.raises(TypeError):
        to_json({1, 2})
    with pytest.raises(TypeError):
        to_json(float("nan"))
    with pytest.raises(TypeError):
        from_json(complex, 1)
