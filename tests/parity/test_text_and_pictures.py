"""Phrase masks and picture preparation against numbers recorded from the published code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from engine.picture_decoding import decode_picture
from engine.pictures import prepare_reference
from engine.scene import Reference, Role, Scene, Subject
from engine.spans import FastTokenizer, binding_masks, clean_prompt, phrase_positions, sequence_mask

REFERENCE = Path(__file__).resolve().parents[2].parent / "shared" / "reference"

pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the recorded cases are not on this machine")


def read_json(name: str) -> Any:
    return json.loads((REFERENCE / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer() -> FastTokenizer:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(REFERENCE / "tokenizer"))


def test_prompts_are_cleaned_and_tokenised_as_recorded(tokenizer: FastTokenizer) -> None:
    for caption in read_json("text/masks.json")["captions"]:
        cleaned = clean_prompt(caption["caption"])
        assert cleaned.text == caption["cleaned"]
        assert len(cleaned.origin) == len(cleaned.text)
        assert list(tokenizer(cleaned.text)["input_ids"]) == caption["ids"]


def test_phrases_mark_the_recorded_tokens(tokenizer: FastTokenizer) -> None:
    seen = 0
    for caption in read_json("text/masks.json")["captions"]:
        for phrase in caption["phrases"]:
            found = phrase_positions(tokenizer, caption["caption"], phrase["phrase"], caption["seq_len"])
            assert list(found) == phrase["positions"], phrase["phrase"]
            seen += 1
    assert seen >= 20


def test_raw_runs_give_the_recorded_masks() -> None:
    cases = read_json("text/sequence_mask.json")
    assert len(cases) >= 4
    for case in cases:
        assert [int(hit) for hit in sequence_mask(case["ids"], case["sub"])] == case["mask"]


def test_an_untouched_scene_has_the_recorded_masks(tokenizer: FastTokenizer) -> None:
    case = read_json("pipeline/case.json")
    recorded = load_file(REFERENCE / "pipeline" / "case.safetensors")["text_masks"].astype(bool)
    parts: dict[str, Reference] = {}
    for number, condition in enumerate(case["conditions"]):
        role = Role(condition["kind"])
        parts[condition["name"]] = Reference(id=str(number), role=role, label=condition["name"], image="0" * 64)
    scene = Scene(
        prompt=case["prompt"],
        background=parts["modern kitchen"],
        objects=(parts["white lamp"],),
        subjects=(
            Subject(id="s1", face=parts["man"], attributes=(parts["denim jacket"], parts["white shirt"])),
            Subject(id="s2", face=parts["woman"]),
        ),
    )
    masks = binding_masks(scene, tokenizer, recorded.shape[1])
    order = [int(reference.id) for reference in scene.references()]
    np.testing.assert_array_equal(masks, recorded[order])
    assert masks.any(axis=1).all()


def test_pictures_are_prepared_as_recorded() -> None:
    recorded = load_file(REFERENCE / "images" / "cases.safetensors")
    cases = read_json("images/cases.json")["cases"]
    assert cases
    for case in cases:
        path = REFERENCE / "images" / case["file"]
        height, width = case["size"]
        prepared = prepare_reference(decode_picture(path.read_bytes(), path.name), width, height)
        step, first = case["stride"], case["offset"]
        got = prepared.transpose(2, 0, 1)[:, first::step, first::step].astype(np.int16)
        expected = recorded[f"{case['key']}.strided_u8"].astype(np.int16)
        assert np.abs(got - expected).max() <= 1, case["key"]
        y0, x0, y1, x1 = case["nonwhite_bbox_yx"]
        assert (np.delete(prepared, slice(y0, y1 + 1), axis=0) == 255).all()
        assert (np.delete(prepared, slice(x0, x1 + 1), axis=1) == 255).all()
