"""Whole renders with LoRAs: the frames of the merged weights in every way of placing them, and none of it kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.cancel import CancelToken
from engine.checkpoint import Checkpoint
from engine.cli.main import main
from engine.errors import Cancelled, WeightsError
from engine.events import Event, Progress
from engine.memory.plan import Way
from engine.models import EngineModel
from engine.pictures import PictureStore
from engine.recipe import read_recipe
from engine.request import LoraChoice, RenderRequest
from engine.runtime import Engine
from engine.weights.loras import StoredLora, add_lora, remove_lora
from tests.unit.test_render_command import SMALL, refused
from tests.unit.test_runtime import frames_of, render
from tests.unit.tiny_lora import TARGETS, explicitly, products, write_lora
from tests.unit.tiny_studio import install_tiny_model, tiny_request, use_assets

STRONG = products(size=0.4)


@pytest.fixture(autouse=True)
def at_home(tiny_model: None, home: Path) -> None:
    """Every test has the tiny model and LoRAs of its own."""


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


@pytest.fixture
def lora(at_home: None, tmp_path: Path) -> StoredLora:
    return add_lora(write_lora(tmp_path / "style.safetensors", STRONG, "original"))


def chosen(one: StoredLora, strength: float = 1.0) -> tuple[LoraChoice, ...]:
    return (LoraChoice(name=one.name, digest=one.digest, strength=strength),)


@pytest.fixture
def made(store: PictureStore, tmp_path: Path) -> Callable[..., np.ndarray]:
    """Frames of a render with these settings, by `engine` or a fresh one."""

    def make(engine: Engine | None = None, **settings: Any) -> np.ndarray:
        out = tmp_path / "made.mp4"
        render(tiny_request(store, **settings), store, out, engine)
        return frames_of(out)

    return make


def test_the_frames_are_those_of_a_network_with_the_merged_weights(
    made: Callable[..., np.ndarray], lora: StoredLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = made()
    ours = made(loras=chosen(lora, 0.75))
    folder = install_tiny_model(tmp_path / "merged")
    (file,) = (folder / "transformer").glob("*.safetensors")
    save_file(explicitly(load_file(file), STRONG, 0.75), file)
    card = json.loads((folder / "card.json").read_text())
    del card["files"][f"transformer/{file.name}"]
    (folder / "card.json").write_text(json.dumps(card))
    use_assets(monkeypatch, tmp_path / "merged")
    expected = made()
    assert np.abs(ours.astype(int) - expected).max() <= 1  # sums are taken in another order
    assert np.abs(ours.astype(int) - without).mean() > 3


def weights_of(engine: Engine) -> dict[str, torch.Tensor]:
    """A copy of the network that an engine has loaded."""
    model = engine._model
    assert model is not None
    return {name: value.clone() for name, value in model.pipeline().transformer.state_dict().items()}


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], value) for name, value in other.items())


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """How far frames are apart on average: a network read once more may round otherwise, its memory lies elsewhere."""
    return float(np.abs(one.astype(int) - other).mean())


def test_strength_zero_and_none_at_all_are_the_plain_network_bit_for_bit(
    made: Callable[..., np.ndarray], lora: StoredLora
) -> None:
    engine = Engine()
    found: list[tuple[np.ndarray, dict[str, torch.Tensor]]] = []
    for loras in ((), chosen(lora), chosen(lora, 0.0), chosen(lora, 0.3), chosen(lora), ()):
        frames = made(engine, loras=loras)
        found.append((frames, weights_of(engine)))
    plain, full, zero, weak, again, without = found
    assert same_weights(zero[1], plain[1])
    assert same_weights(without[1], plain[1])
    assert same_weights(again[1], full[1])
    assert not same_weights(weak[1], full[1])
    assert max(difference(zero[0], plain[0]), difference(without[0], plain[0]), difference(again[0], full[0])) < 0.1
    assert min(difference(full[0], plain[0]), difference(weak[0], full[0])) > 1


def test_one_after_another_in_one_engine_is_each_alone(
    made: Callable[..., np.ndarray], lora: StoredLora, tmp_path: Path
) -> None:
    other = add_lora(write_lora(tmp_path / "other.safetensors", products(TARGETS[:3], seed=5, size=0.4)))
    engine, alone = Engine(), Engine()
    found: list[dict[str, torch.Tensor]] = []
    for loras in (chosen(lora), chosen(other), (*chosen(lora), *chosen(other))):
        made(engine, loras=loras)
        found.append(weights_of(engine))
    made(alone, loras=chosen(other))
    assert same_weights(weights_of(alone), found[1])
    assert not same_weights(found[0], found[1])
    assert not same_weights(found[2], found[0])


def test_streamed_and_offloaded_are_the_same(made: Callable[..., np.ndarray], lora: StoredLora) -> None:
    plain = made(loras=chosen(lora))
    for profile in ("streamed", "offload", "resident"):
        assert np.array_equal(made(loras=chosen(lora), profile=profile), plain), profile


def test_in_eight_bits_it_is_near(
    made: Callable[..., np.ndarray], lora: StoredLora, monkeypatch: pytest.MonkeyPatch
) -> None:
    without, exact = made(), made(loras=chosen(lora))
    engine = Engine()
    plan = engine._plan
    monkeypatch.setattr(engine, "_plan", lambda requests: dataclasses.replace(plan(requests), way=Way(eight_bit=True)))
    lean = made(engine, loras=chosen(lora)).astype(int)
    assert 0 < np.abs(lean - exact).mean() < 3 < np.abs(lean - without).mean()


def test_a_leaner_way_keeps_it(lora: StoredLora) -> None:
    model = EngineModel("nano", Way(), torch.device("cpu"), ((lora, 0.5),))
    before = {name: value.clone() for name, value in model.pipeline().transformer.state_dict().items()}
    model.change_way(Way(chunk_tokens=8))
    after = model.pipeline().transformer.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    plain = EngineModel("nano", Way(), torch.device("cpu")).pipeline().transformer.state_dict()
    assert {name.removesuffix(".weight") for name, value in plain.items() if not torch.equal(after[name], value)} == {
        *TARGETS
    }


def test_it_takes_no_memory_beyond_the_networks(lora: StoredLora) -> None:
    def taken(model: EngineModel) -> int:
        return sum(value.nbytes for value in model.pipeline().transformer.state_dict().values())

    device = torch.device("cpu")
    assert taken(EngineModel("nano", Way(), device, ((lora, 0.5),))) == taken(EngineModel("nano", Way(), device))


def test_prompts_and_references_are_not_read_anew_for_it(
    made: Callable[..., np.ndarray], lora: StoredLora, monkeypatch: pytest.MonkeyPatch
) -> None:
    made()

    def again(*_: Any) -> Any:
        raise AssertionError("this depends on no LoRA")

    monkeypatch.setattr(EngineModel, "encode_prompts", again)
    monkeypatch.setattr("engine.model.pipeline.LumosXPipeline.encode_references", again)
    made(loras=chosen(lora))


# -- going on and making again -----------------------------------------------------------------------------------------


def broken_off(request: RenderRequest, store: PictureStore, out: Path, resume: Path) -> None:
    cancel = CancelToken()

    def run() -> None:
        for event in Engine().render(request, store, cancel, out, resume=resume):
            if isinstance(event, Progress) and (event.stage, event.step) == ("denoise", 1):
                cancel.cancel()

    with pytest.raises(Cancelled):
        run()


def test_broken_off_it_goes_on_to_the_identical_frames_and_only_with_the_same_loras(
    store: PictureStore, lora: StoredLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoint.__init__, "__defaults__", (1e9,))  # every step is saved
    saved, out = tmp_path / "saved.safetensors", tmp_path / "out.mp4"
    request = tiny_request(store, loras=chosen(lora, 0.8))
    render(request, store, tmp_path / "whole.mp4")

    def begun(wish: RenderRequest) -> int:
        events: list[Event] = list(Engine().render(wish, store, CancelToken(), out, resume=saved))
        return next(event.step for event in events if isinstance(event, Progress) and event.stage == "denoise")

    for loras in (chosen(lora, 0.7), ()):
        broken_off(request, store, out, saved)
        assert begun(tiny_request(store, loras=loras)) == 0
    broken_off(request, store, out, saved)
    assert begun(request) > 0
    assert np.array_equal(frames_of(out), frames_of(tmp_path / "whole.mp4"))


def test_a_clip_names_its_loras_and_is_made_again_only_where_they_are(
    store: PictureStore, lora: StoredLora, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, again = tmp_path / "clip.mp4", tmp_path / "again.mp4"
    render(tiny_request(store, loras=chosen(lora, 0.5)), store, clip)
    recipe = read_recipe(clip)
    assert recipe.request.settings.loras == chosen(lora, 0.5)
    assert str(tmp_path).encode() not in clip.read_bytes()
    assert main(["render", str(clip), "--out", str(again)]) == 0
    assert np.array_equal(frames_of(again), frames_of(clip))
    again.unlink()
    remove_lora(lora)
    capsys.readouterr()
    for more in ((), ("--dry-run",)):
        said = refused(capsys, "render", str(clip), "--out", str(again), *more)
        assert said.startswith("The LoRA “style” is not on this machine: add its file under Models")
    assert not again.exists()
    assert main(["render", str(clip), "--out", str(again), "--no-lora"]) == 0
    assert not np.array_equal(frames_of(again), frames_of(clip))


def test_what_no_longer_fits_is_told_before_anything_is_rendered(
    store: PictureStore, lora: StoredLora, tmp_path: Path
) -> None:
    # whoever can write the folder of LoRAs can say what they like of a file; it still has to fit
    request = tiny_request(store, loras=chosen(lora))
    lora.path.write_bytes(lora.path.read_bytes()[:-1] + b"\0")
    events: list[Event] = []
    with pytest.raises(WeightsError, match="is damaged"):
        events.extend(Engine().render(request, store, CancelToken(), tmp_path / "out.mp4"))
    assert not (tmp_path / "out.mp4").exists()


# -- the command line --------------------------------------------------------------------------------------------------


def test_commands_add_list_use_and_remove(
    store: PictureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "clip.mp4"
    render(tiny_request(store), store, clip)
    assert main(["weights", "loras"]) == 0
    assert "There are no LoRAs yet" in capsys.readouterr().out
    file = write_lora(tmp_path / "my style.safetensors", STRONG, "kohya")
    assert main(["weights", "add-lora", str(file)]) == 0
    assert capsys.readouterr().out.startswith("Ready: my style, for Nano")
    assert main(["weights", "list"]) == 0
    assert "\nLoRA my style: for Nano" in capsys.readouterr().out
    assert main(["weights", "loras", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["name"], told["engines"]) == ("my style", ["nano"])
    assert main(["render", str(clip), "--dry-run", "--lora", "my style:0.5"]) == 0
    assert "LoRA        my style, strength 0.5" in capsys.readouterr().out
    assert main(["render", str(clip), "--dry-run", "--json", "--lora", "MY STYLE", "--shift", "2", *SMALL]) == 0
    assert json.loads(capsys.readouterr().out)["loras"] == [
        {"name": "my style", "digest": told["digest"], "strength": 1.0}
    ]
    assert main(["render", str(clip), "--out", str(tmp_path / "b.mp4"), "--lora", "my style:0.5"]) == 0
    assert not np.array_equal(frames_of(tmp_path / "b.mp4"), frames_of(clip))
    capsys.readouterr()
    for words, argv in {
        "choose one of my style": ("render", str(clip), "--dry-run", "--lora", "other"),
        "There is no LoRA “other”": ("weights", "remove-lora", "other"),
        "has to be a .safetensors file": ("weights", "add-lora", str(clip)),
    }.items():
        said = refused(capsys, *argv)
        assert words in said
    assert main(["weights", "verify"]) == 0
    assert "LoRA my style: its file is whole" in capsys.readouterr().out
    assert main(["weights", "remove-lora", "my style", "--yes"]) == 0
    assert capsys.readouterr().out.startswith("Removed the LoRA my style")
