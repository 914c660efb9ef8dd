"""When memory runs out in the middle of a render: it goes on from its last finished step, says so, and ends well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanDecoder3d
from PIL import Image

from engine.cancel import CancelToken
from engine.errors import MachineError
from engine.events import Event, Finished, Notice, Progress
from engine.memory import plan as memory_plan
from engine.memory.plan import Way
from engine.model.transformer import LumosXTransformer3DModel
from engine.models import out_of_memory
from engine.pictures import PictureStore
from engine.rendering import AGAIN, LEANER
from engine.runtime import Engine
from tests.unit.test_runtime import frames_of
from tests.unit.tiny_studio import tiny_request

STEPS = 5


pytestmark = pytest.mark.usefixtures("tiny_model")


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def failing(monkeypatch: pytest.MonkeyPatch, owner: type, calls: set[int], error: Callable[[], Exception]) -> list[int]:
    """The calls of `owner.forward` with these numbers find no memory."""
    forward: Any = owner.forward  # pyright: ignore[reportAttributeAccessIssue]
    seen: list[int] = []

    def scarce(*args: object, **options: object) -> object:
        seen.append(len(seen) + 1)
        if seen[-1] in calls:
            raise error()
        return forward(*args, **options)

    monkeypatch.setattr(owner, "forward", scarce)
    return seen


def events_of(store: PictureStore, out: Path, engine: Engine | None = None) -> list[Event]:
    request = tiny_request(store, num_inference_steps=STEPS)
    return list((engine or Engine()).render(request, store, CancelToken(), out))


def steps_of(events: list[Event]) -> list[int]:
    return [event.step for event in events if isinstance(event, Progress) and event.stage == "denoise"]


ERRORS: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError,
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_a_step_without_memory_is_taken_again_in_a_leaner_way_to_the_same_clip(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    # Chunks of 2,048 tokens would not make a tiny clip leaner, and its feed-forward is not what takes the memory.
    monkeypatch.setattr(memory_plan, "CHUNK_TOKENS", 7)
    monkeypatch.setattr(memory_plan, "network_pass_bytes", lambda _sizes, _work, chunk: 1000 if chunk else 2000)
    events_of(store, tmp_path / "whole.mp4")
    calls = failing(monkeypatch, LumosXTransformer3DModel, {8}, error)  # the second pass of the fourth step
    engine = Engine()
    events = events_of(store, tmp_path / "clip.mp4", engine)
    assert [event.text for event in events if isinstance(event, Notice)] == [LEANER]
    assert steps_of(events) == [0, 1, 2, 3, 3, 4, 5]
    assert len(calls) == 2 * STEPS + 2  # one step of two passes was taken twice, and no other
    assert isinstance(events[-1], Finished)
    assert engine._model is not None
    assert engine._model.way == Way(chunk_tokens=7)
    assert np.array_equal(frames_of(tmp_path / "clip.mp4"), frames_of(tmp_path / "whole.mp4"))


def test_where_nothing_leaner_is_left_the_same_is_tried_once_more_and_then_refused(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.rendering.leaner", lambda *_, **__: None)
    events_of(store, tmp_path / "whole.mp4")
    with monkeypatch.context() as once:
        failing(once, LumosXTransformer3DModel, {2}, MemoryError)
        events = events_of(store, tmp_path / "clip.mp4")
    assert [event.text for event in events if isinstance(event, Notice)] == [AGAIN]
    assert np.array_equal(frames_of(tmp_path / "clip.mp4"), frames_of(tmp_path / "whole.mp4"))
    failing(monkeypatch, LumosXTransformer3DModel, {2, 3}, MemoryError)
    with pytest.raises(MachineError, match="close other programs"):
        events_of(store, tmp_path / "never.mp4")
    assert not (tmp_path / "never.mp4").exists()
    assert not list(tmp_path.glob(".lumosx-*"))


def test_memory_that_runs_out_while_frames_are_developed_costs_no_step(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events_of(store, tmp_path / "whole.mp4")
    failing(monkeypatch, WanDecoder3d, {2}, MemoryError)
    events = events_of(store, tmp_path / "clip.mp4")
    assert len([event for event in events if isinstance(event, Notice)]) == 1
    assert steps_of(events) == list(range(STEPS + 1))
    assert np.array_equal(frames_of(tmp_path / "clip.mp4"), frames_of(tmp_path / "whole.mp4"))


def test_other_errors_are_not_taken_for_lack_of_memory(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, LumosXTransformer3DModel, {2}, lambda: RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        events_of(store, tmp_path / "clip.mp4")


def test_lack_of_memory_is_known_by_all_its_names() -> None:
    loading = MachineError("There is too little free memory for the video network: close other programs.")
    assert not out_of_memory(loading)
    loading.__cause__ = MemoryError()
    assert out_of_memory(loading)
    assert out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"))
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."))
    assert not out_of_memory(ValueError("out of memory"))
    assert not out_of_memory(None)


def test_several_seeds_at_once_are_those_seeds_alone(store: PictureStore, tmp_path: Path) -> None:
    request = tiny_request(store, num_inference_steps=STEPS)
    outs = {seed: tmp_path / f"{seed}" for seed in (3, 1, 8)}
    engine = Engine()
    events = list(engine.render_seeds(request, store, CancelToken(), outs))
    clips = [event.clip for event in events if isinstance(event, Finished)]
    assert [clip.request.settings.seed for clip in clips] == [3, 1, 8]
    assert [clip.path for clip in clips] == list(outs.values())
    assert steps_of(events) == list(range(STEPS + 1))
    for seed, out in outs.items():
        alone = tmp_path / f"alone-{seed}"
        list(engine.render(tiny_request(store, num_inference_steps=STEPS, seed=seed), store, CancelToken(), alone))
        expected, frames = pictures_in(alone), pictures_in(out)
        # Sums are taken in another order: a value at the edge of two whole numbers may fall to either side.
        assert np.abs(frames.astype(int) - expected.astype(int)).max() <= 1
    assert not np.array_equal(pictures_in(outs[3]), pictures_in(outs[1]))


def test_seeds_that_do_not_fit_together_are_painted_in_turn(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    plan = engine._plan
    monkeypatch.setattr(engine, "_plan", lambda requests: plan(requests) if len(requests) < 3 else _refuse())
    outs = {seed: tmp_path / f"{seed}.mp4" for seed in range(5)}
    events = list(engine.render_seeds(tiny_request(store), store, CancelToken(), outs))
    assert [event.clip.path for event in events if isinstance(event, Finished)] == list(outs.values())
    assert [event.step for event in events if isinstance(event, Progress) and event.stage == "load"] == [0, 0, 0]


def pictures_in(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def _refuse() -> None:
    raise MachineError("This clip needs more.")
