"""A render broken off after any step goes on from it to the identical frames; what it cannot use it passes over."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.cancel import CancelToken
from engine.checkpoint import Checkpoint
from engine.errors import Cancelled, OutputError
from engine.events import Progress
from engine.model.pipeline import SamplerState
from engine.pictures import PictureStore
from engine.request import RenderRequest
from engine.runtime import Engine
from tests.unit.test_runtime import frames_of
from tests.unit.tiny_studio import tiny_request

STEPS = 17
"""More than 15: from there on the solver takes its last steps differently."""


@pytest.fixture(autouse=True)
def every_step_is_saved(tiny_model: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoint.__init__, "__defaults__", (1e9,))  # every step is saved


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def steps_of(request: RenderRequest, store: PictureStore, out: Path, resume: Path | None) -> list[int]:
    """Render to the end; the steps of the network that were reported."""
    events = Engine().render(request, store, CancelToken(), out, resume=resume)
    return [event.step for event in events if isinstance(event, Progress) and event.stage == "denoise"]


def break_off(request: RenderRequest, store: PictureStore, out: Path, resume: Path, step: int) -> None:
    """Cancel a render as soon as step `step` is reported."""
    cancel = CancelToken()

    def run() -> None:
        for event in Engine().render(request, store, cancel, out, resume=resume):
            if isinstance(event, Progress) and (event.stage, event.step) == ("denoise", step):
                cancel.cancel()

    with pytest.raises(Cancelled):
        run()
    assert not out.exists()


@pytest.mark.parametrize("num_steps", [3, STEPS])
def test_broken_off_after_any_step_the_frames_are_identical(
    store: PictureStore, tmp_path: Path, num_steps: int
) -> None:
    request = tiny_request(store, num_inference_steps=num_steps)
    assert steps_of(request, store, tmp_path / "whole.mp4", None) == list(range(num_steps + 1))
    expected = frames_of(tmp_path / "whole.mp4")
    saved = tmp_path / "saved" / "one.safetensors"
    for step in {1, num_steps - 2, num_steps}:
        out = tmp_path / f"{step}.mp4"
        break_off(request, store, out, saved, step)
        # the step that was under way when the cancel came is finished and saved
        begin = min(step + 1, num_steps)
        assert steps_of(request, store, out, saved) == list(range(begin, num_steps + 1))
        assert np.array_equal(frames_of(out), expected)
        assert not saved.exists()


def test_broken_off_many_times_the_frames_are_identical(store: PictureStore, tmp_path: Path) -> None:
    request = tiny_request(store, num_inference_steps=STEPS, seed=3)
    steps_of(request, store, tmp_path / "whole.mp4", None)
    saved, out = tmp_path / "one.safetensors", tmp_path / "out.mp4"
    for step in range(1, STEPS, 4):
        break_off(request, store, out, saved, step)
    assert steps_of(request, store, out, saved)[0] > 1
    assert np.array_equal(frames_of(out), frames_of(tmp_path / "whole.mp4"))


def test_a_step_of_another_request_or_of_other_weights_is_passed_over(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = tiny_request(store, num_inference_steps=STEPS)
    saved = tmp_path / "one.safetensors"
    break_off(request, store, tmp_path / "out.mp4", saved, 5)
    kept = saved.read_bytes()
    other = dataclasses.replace(request, settings=dataclasses.replace(request.settings, seed=99))
    assert steps_of(other, store, tmp_path / "other.mp4", saved)[0] == 0
    saved.write_bytes(kept)
    monkeypatch.setattr("engine.models.weights_digest", lambda _: "other weights")
    assert steps_of(request, store, tmp_path / "weights.mp4", saved)[0] == 0


@pytest.mark.parametrize("damage", ["empty", "short", "noise", "flipped"])
def test_a_damaged_step_is_deleted_and_the_render_begins_anew(
    store: PictureStore, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = tiny_request(store, num_inference_steps=STEPS)
    saved = tmp_path / "one.safetensors"
    break_off(request, store, tmp_path / "out.mp4", saved, 5)
    whole = saved.read_bytes()
    saved.write_bytes(
        {"empty": b"", "short": whole[:-9], "noise": b"x" * 500, "flipped": whole[:-4] + b"\0\0\xc0\x7f"}[damage]
    )
    key = _key_in(whole)
    assert Checkpoint(saved, key).read(_shape_in(whole), STEPS) is None
    assert not saved.exists()
    assert "deleted" in caplog.text
    assert steps_of(request, store, tmp_path / "out.mp4", saved)[0] == 0


def test_a_step_beyond_the_run_or_of_another_shape_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    latents = torch.zeros(1, 4, 2, 2, 2)
    for shape, steps in ((latents.shape, 3), ((1, 4, 2, 2, 3), 9)):
        Checkpoint(path, "key").keep(SamplerState(5, latents, latents))
        assert Checkpoint(path, "key").read(latents.shape, 9) is not None
        assert Checkpoint(path, "key").read(shape, steps) is None
        assert not path.exists()


def test_saving_takes_a_small_part_of_the_time_and_the_last_step_is_always_saved(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "one.safetensors", "key", share=1e-9)
    latents = torch.zeros(1, 4, 2, 2, 2)

    def saved() -> int:
        state = Checkpoint(tmp_path / "one.safetensors", "key").read(latents.shape, 9)
        return 0 if state is None else state.steps_done

    checkpoint.keep(SamplerState(1, latents, latents))
    checkpoint.keep(SamplerState(2, latents, latents))
    assert saved() == 1
    checkpoint.keep(SamplerState(9, latents, latents), now=True)
    assert saved() == 9


def test_a_render_whose_steps_cannot_be_saved_goes_on(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Path] = []

    def full(path: Path, _data: bytes) -> None:
        calls.append(path)
        raise OutputError("The disk is full.")

    monkeypatch.setattr("engine.checkpoint.write_atomically", full)
    request = tiny_request(store, num_inference_steps=STEPS)
    assert steps_of(request, store, tmp_path / "out.mp4", tmp_path / "one.safetensors")[-1] == STEPS
    assert len(calls) == 1
    assert "The disk is full." in caplog.text


def _key_in(data: bytes) -> str:
    return _metadata(data)["key"]


def _metadata(data: bytes) -> dict[str, str]:
    import json

    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]


def _shape_in(data: bytes) -> tuple[int, ...]:
    from safetensors.torch import load

    return tuple(load(data)["state"].shape[1:])
