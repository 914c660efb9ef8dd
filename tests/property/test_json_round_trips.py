"""Any value of the domain survives JSON; hostile JSON gives a user error or a legal value, never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codec import from_json, to_json
from engine.engines import engine_names
from engine.errors import UserError
from engine.events import Event, Finished, Preview, Progress
from engine.request import Clip, LoraChoice, RenderRequest, RenderSettings
from engine.scene import PromptSpan, Reference, Role, Scene, Subject

FEW = settings(max_examples=30, deadline=None)

# JSON can hold what no file can: halves of surrogate pairs are refused on reading and so are left out here.
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
hexes = st.sampled_from(["0" * 64, "9af3" * 16, ""])
finite = st.floats(0, 1e9)
counts = st.integers(0, 10_000)


def references(role: Role) -> st.SearchStrategy[Reference]:
    return st.builds(
        Reference, id=texts, role=st.just(role), label=texts, image=hexes, mask=st.one_of(st.none(), hexes)
    )


subjects = st.builds(
    Subject,
    id=texts,
    face=st.one_of(st.none(), references(Role.face)),
    attributes=st.lists(references(Role.attribute), max_size=2).map(tuple),
)
scenes = st.builds(
    Scene,
    prompt=texts,
    subjects=st.lists(subjects, max_size=3).map(tuple),
    objects=st.lists(references(Role.object), max_size=2).map(tuple),
    background=st.one_of(st.none(), references(Role.background)),
    spans=st.lists(st.builds(PromptSpan, start=st.integers(), end=st.integers(), target=texts), max_size=3).map(tuple),
    unbound=st.lists(texts, max_size=2).map(tuple),
)
loras = st.builds(
    LoraChoice,
    name=st.text("ab é", min_size=1, max_size=8),
    digest=st.text("0123456789abcdef", min_size=64, max_size=64),
    strength=st.floats(-4, 4),
)
render_settings = st.builds(
    RenderSettings,
    width=st.integers(1, 50).map(lambda n: 16 * n),
    height=st.integers(1, 50).map(lambda n: 16 * n),
    num_frames=st.integers(0, 30).map(lambda n: 4 * n + 1),
    fps=st.integers(1, 60),
    num_inference_steps=st.integers(1, 200),
    guidance_scale=st.floats(0, 30),
    shift=st.floats(0.1, 30),
    seed=st.integers(0, 2**63 - 1),
    negative_prompt=texts,
    engine=st.sampled_from(engine_names()),
    profile=texts.filter(bool),
    binding_strength=st.floats(0, 4),
    relation_guidance=st.floats(0, 10),
    relational_positions=st.booleans(),
    relational_self_attention=st.booleans(),
    relational_cross_attention=st.booleans(),
    unpooling=st.sampled_from(["published", "corrected"]),
    loras=st.lists(loras, max_size=2, unique_by=lambda one: one.digest).map(tuple),
)
complete_scenes = st.lists(st.text("abc ", min_size=1, max_size=8), max_size=3).map(
    lambda labels: Scene(
        prompt="x " + " ".join(labels),
        objects=tuple(
            Reference(id=f"o{number}", role=Role.object, label=f"{label}x", image="0" * 64)
            for number, label in enumerate(labels)
        ),
    )
)
requests = st.builds(RenderRequest, scene=complete_scenes, settings=render_settings, allow_unbound=st.just(True))
clips = st.builds(
    Clip,
    id=texts,
    path=st.text("abc/. ", min_size=1, max_size=8).map(Path),
    request=requests,
    engine_version=texts,
    weights_digest=texts,
    seconds=finite,
)
events = st.one_of(
    st.builds(Progress, stage=texts, step=counts, num_steps=counts, seconds_left=st.one_of(st.none(), finite)),
    st.builds(Preview, step=counts, width=counts, height=counts, webp=st.binary(max_size=20)),
    st.builds(Finished, clip=clips),
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)


def through_json(value: object) -> Any:
    return json.loads(json.dumps(to_json(value)))


@FEW
@given(scenes)
def test_scenes(scene: Scene) -> None:
    assert from_json(Scene, through_json(scene)) == scene


@FEW
@given(scenes)
def test_problems_of_any_draft_are_sentences_about_parts_of_it(scene: Scene) -> None:
    parts = {subject.id for subject in scene.subjects} | {reference.id for reference in scene.references()}
    for problem in scene.problems():
        assert problem.message.strip().endswith(".")
        assert problem.target is None or problem.target in parts
    assert scene.num_free + sum(scene.groups) == len(scene.references())


@FEW
@given(render_settings)
def test_render_settings(value: RenderSettings) -> None:
    assert from_json(RenderSettings, through_json(value)) == value


@FEW
@given(requests)
def test_requests(request: RenderRequest) -> None:
    assert from_json(RenderRequest, through_json(request)) == request


@FEW
@given(events)
def test_events(event: Event) -> None:
    again = from_json(Event, through_json(event))
    assert again == event
    assert type(again) is type(event)


@FEW
@given(scenes, st.data())
def test_any_one_field_replaced_by_anything_is_a_user_error_or_a_legal_scene(scene: Scene, data: st.DataObject) -> None:
    tree = through_json(scene)
    node: Any = tree
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
            node = node[key]
            continue
        node[key] = data.draw(json_values)
        break
    try:
        found = from_json(Scene, tree)
    except UserError:
        return
    assert from_json(Scene, through_json(found)) == found
    found.problems()
