"""Drafts: what they skip, that they are called so, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.cancel import CancelToken
from engine.codec import from_json, to_json
from engine.engines import draft_of, engine_info, resolve_settings
from engine.errors import InputError
from engine.events import Event, Finished, Progress
from engine.memory.profiles import work_of
from engine.model.transformer import LumosXTransformer3DModel
from engine.paths import pace_file
from engine.pictures import PictureStore
from engine.request import RenderSettings
from engine.runtime import Engine
from tests.unit.test_runtime import frames_of
from tests.unit.tiny_studio import tiny_request

STEPS = 4


@pytest.fixture
def counted(
    tiny_model: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[np.ndarray, int, int]]:
    """Renders with settings; frames, passes of the network, and passes through its last block."""
    store, engine = PictureStore(tmp_path / "pictures"), Engine()

    def run(profile: str = "auto", **settings: Any) -> tuple[np.ndarray, int, int]:
        calls = {"passes": 0, "blocks": 0}
        forward: Any = LumosXTransformer3DModel.forward

        def counting(model: LumosXTransformer3DModel, *args: object, **options: object) -> object:
            calls["passes"] += 1
            handle = model.blocks[-1].ffn.register_forward_hook(  # pyright: ignore[reportAttributeAccessIssue]
                lambda *_: calls.update(blocks=calls["blocks"] + 1)
            )
            try:
                return forward(model, *args, **options)
            finally:
                handle.remove()

        settings = {"guidance_scale": 3.0, "relation_guidance": 0.0, **settings}
        request = tiny_request(store, num_inference_steps=STEPS, profile=profile, **settings)
        with monkeypatch.context() as patched:
            patched.setattr(LumosXTransformer3DModel, "forward", counting)
            list(engine.render(request, store, CancelToken(), tmp_path / "clip.mp4"))
        return frames_of(tmp_path / "clip.mp4"), calls["passes"], calls["blocks"]

    return run


def test_a_step_cache_skips_blocks_and_leaves_the_next_render_alone(
    counted: Callable[..., tuple[np.ndarray, int, int]],
) -> None:
    whole, passes, blocks = counted()
    assert passes == blocks == 2 * STEPS
    draft, passes, blocks = counted(step_cache=1.0)
    assert passes == 2 * STEPS
    assert blocks < 2 * STEPS
    assert not np.array_equal(draft, whole)
    careful, _, blocks = counted(step_cache=1e-9)
    assert blocks == 2 * STEPS
    assert np.array_equal(careful, whole)
    streamed, _, _ = counted(profile="streamed", step_cache=1.0)
    assert np.array_equal(streamed, draft)
    again, _, blocks = counted()
    assert blocks == 2 * STEPS
    assert np.array_equal(again, whole)


def test_guidance_in_part_of_the_steps_takes_so_many_passes_less(
    counted: Callable[..., tuple[np.ndarray, int, int]],
) -> None:
    whole, _, _ = counted()
    half, passes, _ = counted(guided_share=0.5)
    assert passes == STEPS + STEPS // 2
    assert not np.array_equal(half, whole)
    assert counted(guided_share=0.0)[1] == STEPS
    assert counted(guidance_scale=1.0, relation_guidance=2.0, guided_share=0.5)[1] == STEPS + STEPS // 2
    assert counted(relation_guidance=2.0)[1] == 3 * STEPS


def test_a_draft_with_a_cache_begins_anew_and_its_seeds_are_painted_one_by_one(
    tiny_model: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path / "home"))
    store, engine = PictureStore(tmp_path / "pictures"), Engine()
    request = tiny_request(store, num_inference_steps=STEPS, step_cache=0.5)
    saved = tmp_path / "saved.safetensors"
    list(engine.render(request, store, CancelToken(), tmp_path / "clip.mp4", resume=saved))
    outs = {seed: tmp_path / f"{seed}.mp4" for seed in (1, 2)}
    events: list[Event] = list(engine.render_seeds(request, store, CancelToken(), outs))
    assert sum(isinstance(event, Finished) for event in events) == 2
    assert sum(isinstance(event, Progress) and event.stage == "load" for event in events) == 2
    assert not saved.exists()
    # Steps that were not worked out whole say nothing of the next render's time.
    assert not pace_file().exists()
    list(engine.render(tiny_request(store, num_inference_steps=STEPS), store, CancelToken(), tmp_path / "full.mp4"))
    assert pace_file().exists()


def test_a_draft_is_called_a_draft() -> None:
    full = engine_info("lumosx").defaults
    assert draft_of(full) == ()
    assert draft_of(resolve_settings("lumosx", num_inference_steps=60)) == ()
    quick = resolve_settings("lumosx", num_inference_steps=20, step_cache=0.1, guided_share=0.5)
    assert len(draft_of(quick)) == 3
    assert len(draft_of(resolve_settings("nano", guided_share=0.5))) == 1
    assert draft_of(resolve_settings("nano", guided_share=0.5, relation_guidance=0.0)) == ()  # it is not guided anyway
    assert work_of(quick, 0).passes == 1.5


def test_settings_from_before_drafts_can_be_read_and_wrong_ones_not() -> None:
    data: Any = to_json(engine_info("nano").defaults)
    assert data["step_cache"] == 0.0
    del data["step_cache"], data["guided_share"], data["relation_guidance"]
    # Clips from before relation guidance were made without it.
    assert from_json(RenderSettings, data) == resolve_settings("nano", relation_guidance=0.0)
    del data["seed"]
    with pytest.raises(InputError, match="lacks the field “seed”"):
        from_json(RenderSettings, data)
    for wrong in ({"step_cache": 1.5}, {"guided_share": -0.1}, {"step_cache": float("nan")}):
        with pytest.raises(InputError, match="choose from"):
            resolve_settings("nano", **wrong)
