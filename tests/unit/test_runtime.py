"""The engine with a real, tiny model: events, determinism, caches, cancelling, profiles, damage."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from diffusers.models.autoencoders.autoencoder_kl_wan import WanDecoder3d

from engine.cancel import CancelToken
from engine.clip import ClipWriter
from engine.conditioning import TensorCache
from engine.errors import Cancelled, InputError, OutputError, SceneError, WeightsError
from engine.events import Event, Finished, Preview, Progress
from engine.model.pipeline import LumosXPipeline
from engine.models import EngineModel
from engine.pictures import PictureStore
from engine.recipe import read_recipe
from engine.request import RenderRequest
from engine.runtime import Engine
from engine.sources import load_source
from tests.unit.tiny_pipeline import FRAMES, STEPS
from tests.unit.tiny_studio import install_tiny_model, tiny_request, tiny_scene, tiny_settings, use_assets

pytestmark = pytest.mark.usefixtures("tiny_model")


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def render(request: RenderRequest, store: PictureStore, out: Path, engine: Engine | None = None) -> list[Event]:
    return list((engine or Engine()).render(request, store, CancelToken(), out))


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_render_reports_every_stage_and_ends_in_a_clip(store: PictureStore, tmp_path: Path) -> None:
    events = render(tiny_request(store), store, tmp_path / "clip.mp4")
    progress = [event for event in events if isinstance(event, Progress)]
    assert list(dict.fromkeys(event.stage for event in progress)) == [
        "load", "prompt", "references", "denoise", "decode", "write",
    ]  # fmt: skip
    steps = [event for event in progress if event.stage == "denoise"]
    assert [event.step for event in steps] == list(range(STEPS + 1))
    assert steps[-1].seconds_left == 0
    assert any(isinstance(event, Preview) and event.webp[8:12] == b"WEBP" for event in events)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.clip.request == tiny_request(store)
    assert frames_of(tmp_path / "clip.mp4").shape[0] == FRAMES


def test_same_request_same_frames_other_seed_garment_or_face_others(store: PictureStore, tmp_path: Path) -> None:
    engine = Engine()
    request = tiny_request(store)
    coat = dataclasses.replace(request, scene=tiny_scene(store, coat_seed=9))
    seed = tiny_request(store, seed=5)
    for name, value in {"a": request, "b": request, "coat": coat, "seed": seed}.items():
        render(value, store, tmp_path / f"{name}.mp4", engine)
    render(request, store, tmp_path / "again.mp4")
    first = frames_of(tmp_path / "a.mp4")
    assert np.array_equal(first, frames_of(tmp_path / "b.mp4"))
    assert np.array_equal(first, frames_of(tmp_path / "again.mp4"))
    assert not np.array_equal(first, frames_of(tmp_path / "seed.mp4"))
    assert not np.array_equal(first, frames_of(tmp_path / "coat.mp4"))


def test_a_clip_renders_itself_again_from_its_own_pictures(store: PictureStore, tmp_path: Path) -> None:
    request = tiny_request(store)
    render(request, store, tmp_path / "clip.mp4")
    elsewhere = PictureStore(tmp_path / "elsewhere")
    source = load_source(str(tmp_path / "clip.mp4"), elsewhere)
    assert source.settings == request.settings
    again = RenderRequest(scene=source.scene, settings=request.settings)
    render(again, elsewhere, tmp_path / "again.mp4")
    assert np.array_equal(frames_of(tmp_path / "clip.mp4"), frames_of(tmp_path / "again.mp4"))


def test_pictures_can_be_left_out_of_the_clip(store: PictureStore, tmp_path: Path) -> None:
    request = tiny_request(store)
    list(Engine().render(request, store, CancelToken(), tmp_path / "clip.mp4", include_pictures=False))
    recipe = read_recipe(tmp_path / "clip.mp4")
    assert recipe.pictures == {}
    assert recipe.request == request


def test_a_second_render_of_a_scene_reads_neither_prompt_nor_pictures(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render(tiny_request(store), store, tmp_path / "first.mp4")

    def never(*_: object) -> object:
        raise AssertionError("the result is on disk already")

    monkeypatch.setattr(EngineModel, "encode_prompts", never)
    monkeypatch.setattr(LumosXPipeline, "encode_references", never)
    render(tiny_request(store, seed=3), store, tmp_path / "second.mp4")
    assert (tmp_path / "second.mp4").is_file()


def test_a_damaged_cache_is_made_again(store: PictureStore, tmp_path: Path, home: Path) -> None:
    request = tiny_request(store)
    render(request, store, tmp_path / "first.mp4")
    files = list((home / "cache" / "conditioning").glob("*.safetensors"))
    assert len(files) == 5
    for file in files:
        file.write_bytes(b"damaged")
    render(request, store, tmp_path / "second.mp4")
    assert np.array_equal(frames_of(tmp_path / "first.mp4"), frames_of(tmp_path / "second.mp4"))


def test_the_cache_forgets_what_was_unused_for_longest(tmp_path: Path) -> None:
    import os

    import torch

    cache = TensorCache(tmp_path, limit_bytes=1100)
    for index, key in enumerate(("old", "used", "new")):
        cache.put(key, torch.full((100,), float(index)))
        if cache._path(key).exists():
            os.utime(cache._path(key), (index, index))
    assert cache.get("old") is None
    kept = cache.get("used")
    assert kept is not None
    assert kept[0] == 1


@pytest.mark.parametrize("stop_at", ["load", "references", "denoise", "write"])
def test_cancel_takes_effect_at_once_and_leaves_nothing(store: PictureStore, tmp_path: Path, stop_at: str) -> None:
    cancel = CancelToken()
    target = tmp_path / "out"
    target.mkdir()
    seen: list[Event] = []

    def run() -> Iterator[Event]:
        for event in Engine().render(tiny_request(store), store, cancel, target / "clip.mp4"):
            seen.append(event)
            if isinstance(event, Progress) and event.stage == stop_at:
                cancel.cancel()
            yield event

    with pytest.raises(Cancelled):
        list(run())
    assert sum(isinstance(event, Progress) and event.stage == stop_at for event in seen) == 1
    assert list(target.iterdir()) == []


def test_cancelling_while_frames_are_decoded_decodes_no_more_of_them(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    decode = WanDecoder3d.forward

    def counted(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        return decode(*args, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(WanDecoder3d, "forward", counted)
    cancel = CancelToken()

    def run() -> None:
        for event in Engine().render(tiny_request(store, num_frames=21), store, cancel, tmp_path / "clip.mp4"):
            if isinstance(event, Progress) and event.stage == "write" and event.step == 2:
                cancel.cancel()

    with pytest.raises(Cancelled):
        run()
    assert calls == 2  # of six latent frames
    assert not (tmp_path / "clip.mp4").exists()


def test_a_broken_off_render_leaves_the_engine_usable(store: PictureStore, tmp_path: Path) -> None:
    engine = Engine()
    events = engine.render(tiny_request(store), store, CancelToken(), tmp_path / "left.mp4")
    for event in events:
        if isinstance(event, Progress) and event.stage == "denoise" and event.step:
            break
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    render(tiny_request(store), store, tmp_path / "next.mp4", engine)
    render(tiny_request(store), store, tmp_path / "fresh.mp4")
    assert np.array_equal(frames_of(tmp_path / "next.mp4"), frames_of(tmp_path / "fresh.mp4"))


@pytest.mark.parametrize("profile", ["resident", "offload", "streamed"])
def test_a_profile_never_changes_the_clip(store: PictureStore, tmp_path: Path, profile: str) -> None:
    render(tiny_request(store), store, tmp_path / "auto.mp4")
    render(tiny_request(store, profile=profile), store, tmp_path / "other.mp4")
    assert np.array_equal(frames_of(tmp_path / "auto.mp4"), frames_of(tmp_path / "other.mp4"))


def test_an_unknown_profile_is_the_users_error(store: PictureStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose one of auto"):
        render(tiny_request(store, profile="huge"), store, tmp_path / "clip.mp4")


def test_words_behind_the_last_token_are_named(store: PictureStore, tmp_path: Path) -> None:
    scene = dataclasses.replace(tiny_scene(store), prompt="a " * 600 + "man in red coat and woman")
    with pytest.raises(SceneError, match="man") as caught:
        render(RenderRequest(scene=scene, settings=tiny_settings()), store, tmp_path / "clip.mp4")
    assert {problem.code for problem in caught.value.problems} == {"beyond_text"}


def test_a_damaged_model_is_refused_and_nothing_is_written(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install_tiny_model(tmp_path / "assets")
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    use_assets(monkeypatch, tmp_path / "assets")
    with pytest.raises(WeightsError, match="diffusion_pytorch_model"):
        render(tiny_request(store), store, tmp_path / "clip.mp4")
    assert not (tmp_path / "clip.mp4").exists()


def test_a_failing_disk_leaves_no_half_clip(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    monkeypatch.setattr(ClipWriter, "write", _full_disk)
    with pytest.raises(OutputError, match="disk is full"):
        render(tiny_request(store), store, target / "clip.mp4")
    assert list(target.iterdir()) == []


def _full_disk(*_: object) -> None:
    raise OutputError("The disk is full; free some space.")
