"""The preview decoder as a user has it: got or brought, read, refused where it is damaged or another file, and at work
in a render, which it never fails."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine import live_picture, weights
from engine.cancel import CancelToken
from engine.engines import resolve_settings
from engine.errors import InputError, WeightsError
from engine.events import Event, Finished, Notice, Preview
from engine.memory.looks import WEIGHTS, room_for_decoder
from engine.memory.plan import Budget, Way
from engine.memory.profiles import plan_for
from engine.model.small_decoder import SmallDecoder
from engine.models import EngineModel
from engine.pictures import PictureStore
from engine.request import RenderRequest
from engine.runtime import Engine
from engine.weights import catalogue
from engine.weights.convert import convert_bundle
from engine.weights.install import check, install, needs, repair
from engine.weights.preview_decoder import NAME, installed_decoder, read_decoder
from studio.languages import heard, speaking
from tests.unit.loopback_hub import LoopbackHub, serving
from tests.unit.seeded_decoder import seeded_decoder, seeded_state, write_published
from tests.unit.test_runtime import frames_of
from tests.unit.tiny_bundle import write_bundle
from tests.unit.tiny_studio import tiny_scene

SAFETENSORS, PICKLE = "taew2_1.safetensors", "taew2_1.pth"
CPU = torch.device("cpu")
LATENTS = torch.randn(1, 16, 2, 2, 4, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both published files, of seeded weights."""
    folder = tmp_path_factory.mktemp("published")
    for name in (SAFETENSORS, PICKLE):
        write_published(folder / name, seeded_state())
    return folder


@pytest.fixture
def known(published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The catalogue knows these files; the folder they are in."""
    entry = catalogue.entry(NAME)
    files = tuple(
        dataclasses.replace(
            file,
            approximate_bytes=(published / file.name).stat().st_size,
            sha256=hashlib.sha256((published / file.name).read_bytes()).hexdigest(),
        )
        for file in entry.files
    )
    others = tuple(one for one in catalogue.entries() if one.name != NAME)
    monkeypatch.setattr(catalogue, "_ENTRIES", (*others, dataclasses.replace(entry, files=files)))
    return published


def shown(decoder: SmallDecoder) -> np.ndarray:
    return np.stack(list(decoder.pictures(LATENTS)))


def near(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether pictures differ by no more than the published files' half precision."""
    return int(np.abs(one.astype(int) - other).max()) <= 1


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [SAFETENSORS, PICKLE])
@pytest.mark.parametrize("form", ["file", "another name", "folder"])
def test_either_file_that_a_user_has_is_taken_and_shows_the_same(
    known: Path, home: Path, tmp_path: Path, name: str, form: str
) -> None:
    assert installed_decoder(CPU) is None
    own = tmp_path / ("mine.bin" if form == "another name" else name)
    own.write_bytes((known / name).read_bytes())
    install(NAME, tmp_path if form == "folder" else own)
    assert [path.name for path in (home / "models" / NAME).iterdir()] == [name]
    assert check(NAME) == 1
    decoder = installed_decoder(CPU)
    assert decoder is not None
    assert near(shown(decoder), shown(seeded_decoder()))
    weights.remove(NAME)
    assert installed_decoder(CPU) is None


def test_what_is_fetched_is_the_first_file_alone(known: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    install(NAME, known / PICKLE)
    folder = home / "models" / NAME
    (folder / PICKLE).unlink()
    (folder / PICKLE).write_bytes(b"damaged")
    hub = LoopbackHub(f"mirror/{NAME}", {SAFETENSORS: (known / SAFETENSORS).read_bytes()})
    with serving(hub):
        monkeypatch.setenv("LUMOSX_WEIGHTS_MIRROR", f"{hub.address}/{hub.repository}/resolve/main")
        hub.content = {f"{NAME}/{SAFETENSORS}": hub.content[SAFETENSORS]}
        repair(NAME)
        assert hub.requests == [(f"{NAME}/{SAFETENSORS}", 0)]
    assert sorted(path.name for path in folder.iterdir()) == ["download.json", SAFETENSORS]
    assert installed_decoder(CPU) is not None


def test_a_file_of_the_same_form_with_other_weights_is_not_taken(known: Path, home: Path, tmp_path: Path) -> None:
    write_published(tmp_path / SAFETENSORS, seeded_state(6))
    with pytest.raises(InputError, match=r"neither is nor holds taew2_1\.safetensors or taew2_1\.pth"):
        install(NAME, tmp_path / SAFETENSORS)
    assert not (home / "models" / NAME / SAFETENSORS).exists()


def test_the_catalogue_knows_both_files_beforehand() -> None:
    entry = catalogue.entry(NAME)
    assert [file.name for file in entry.files] == [SAFETENSORS, PICKLE]
    assert all(len(file.sha256 or "") == 64 for file in entry.files)
    assert not entry.non_commercial
    # Only one of them is fetched: 11,315,539 numbers of two bytes and a head.
    assert entry.approximate_bytes == needs(NAME).download_bytes == 2 * 11_315_539 + 11_824


def test_a_file_that_rots_is_refused_by_name(known: Path, home: Path) -> None:
    install(NAME, known / SAFETENSORS)
    path = home / "models" / NAME / SAFETENSORS
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.unlink()  # perhaps one with the file it was taken from
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"taew2_1\.safetensors is damaged: press Repair"):
        installed_decoder(CPU)


# -- what is read ------------------------------------------------------------------------------------------------------


def without(name: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda state: {key: value for key, value in state.items() if key != name}


WRONG: dict[str, Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]] = {
    "a weight is missing": without("decoder.13.conv.weight"),
    "for 48 channels": lambda state: {**state, "decoder.1.weight": torch.zeros(256, 48, 3, 3)},
    "other pictures": lambda state: {**state, "decoder.22.bias": torch.zeros(12)},
    "no numbers": lambda state: {**state, "decoder.22.bias": torch.tensor([0.0, float("nan"), 0.0])},
    "another model": lambda _: {"decoder.conv_in.weight": torch.zeros(384, 16, 3, 3, 3)},
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_another_file_is_refused_in_a_sentence(
    tmp_path: Path, suffix: str, wrong: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    path = tmp_path / f"taew2_1{suffix}"
    write_published(path, wrong(seeded_state()))
    with pytest.raises(WeightsError, match=r"does not hold the small decoder for Wan 2\.1: remove it under Models"):
        read_decoder(path)


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps(print)], ids=["empty", "text", "a program"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_is_no_checkpoint_is_refused_and_never_run(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"taew2_1{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="does not hold the small decoder"):
        read_decoder(path)


def test_it_is_read_whole_and_untrained_on(published: Path) -> None:
    decoder = read_decoder(published / SAFETENSORS)
    assert not any(value.requires_grad or value.is_meta for value in decoder.parameters())
    assert sum(value.numel() for value in decoder.parameters()) == WEIGHTS
    assert {value.dtype for value in decoder.parameters()} == {torch.float32}


# -- room --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", [True, False])
@pytest.mark.parametrize("frames", [1, 81])
def test_it_is_loaded_only_where_it_fits_beside_the_plan(card: bool, frames: int) -> None:
    settings = resolve_settings("lumosx", num_frames=frames)
    free = Budget(ram_bytes=64 * 10**9, card_bytes=24 * 10**9 if card else None)
    plan = plan_for(settings, 0, free)
    assert room_for_decoder(settings, 0, free, plan.way)
    painting = next(peak for peak in plan.peaks if peak.stage == "denoise")
    held, at_once = (painting.card_bytes, 2) if card else (painting.ram_bytes, 4)
    # A pass through the network for a long clip needs more than the decoder does between two of them.
    passing = 0 if frames == 81 else settings.width * settings.height * 500 * at_once

    def room(spare: int) -> bool:
        less = Budget(ram_bytes=free.ram_bytes, card_bytes=held + spare) if card else Budget(ram_bytes=held + spare)
        return room_for_decoder(settings, 0, less, plan.way)

    assert not room(0)
    assert not room(WEIGHTS * at_once - 1)
    assert room(WEIGHTS * at_once + passing)
    assert room(WEIGHTS * at_once) == (frames == 81)


def test_a_profile_leaves_it_as_little_room_as_the_model() -> None:
    settings = resolve_settings("lumosx", profile="4gb")
    free = Budget(ram_bytes=64 * 10**9, card_bytes=24 * 10**9)
    assert room_for_decoder(settings, 3, free, plan_for(settings, 3, free).way)
    assert not room_for_decoder(settings, 3, free, Way(network="resident"))


# -- in a render -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lumosx(tmp_path: Path) -> RenderRequest:
    """A tiny model in the published form, installed, and a request for it."""
    convert_bundle(write_bundle(tmp_path / "bundle"), weights.model_folder("lumosx"))
    settings = resolve_settings(
        "lumosx", width=64, height=32, num_frames=5, num_inference_steps=6, profile="cpu", guidance_scale=1.0
    )
    scene = dataclasses.replace(tiny_scene(PictureStore(tmp_path / "pictures")), prompt="a man in red coat and a woman")
    return RenderRequest(scene=scene, settings=settings, allow_unbound=True)


def render(request: RenderRequest, tmp_path: Path, name: str = "clip.mp4") -> list[Event]:
    pictures = PictureStore(tmp_path / "pictures")
    return list(Engine(CPU, tmp_path / "cache").render(request, pictures, CancelToken(), tmp_path / name))


def looks_of(events: list[Event]) -> list[tuple[int, int]]:
    return [(event.width, event.height) for event in events if isinstance(event, Preview)]


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks may take as long as they like."""
    monkeypatch.setattr(live_picture.LivePicture.__init__, "__defaults__", (None, 1e9))


@pytest.mark.usefixtures("unhurried")
def test_looks_become_sharp_and_the_clip_stays_the_same(known: Path, lumosx: RenderRequest, tmp_path: Path) -> None:
    coarse = render(lumosx, tmp_path, "coarse.mp4")
    assert set(looks_of(coarse)) == {(8, 4)}
    install(NAME, known / SAFETENSORS)
    sharp = render(lumosx, tmp_path, "sharp.mp4")
    assert looks_of(sharp) == [(8, 4), *[(32, 16)] * 4]
    assert [event for event in sharp if isinstance(event, Notice)] == []
    last = [event for event in sharp if isinstance(event, Preview)][-1]
    with Image.open(io.BytesIO(last.webp)) as picture:
        assert getattr(picture, "n_frames", 1) == 2
    assert np.array_equal(frames_of(tmp_path / "coarse.mp4"), frames_of(tmp_path / "sharp.mp4"))


@pytest.mark.usefixtures("unhurried")
def test_a_damaged_file_is_told_once_and_the_render_goes_on_coarsely(
    known: Path, lumosx: RenderRequest, tmp_path: Path, home: Path
) -> None:
    install(NAME, known / SAFETENSORS)
    path = home / "models" / NAME / SAFETENSORS
    path.unlink()
    path.write_bytes(b"x" * 1000)
    events = render(lumosx, tmp_path)
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert "stays coarse" in notice.text
    assert "is damaged: press Repair" in notice.text
    with speaking("zh"):
        assert "已损坏：请在页面的“模型”中点“修复”" in heard(notice.text)
    assert set(looks_of(events)) == {(8, 4)}
    assert isinstance(events[-1], Finished)


@pytest.mark.usefixtures("unhurried")
def test_a_decoder_that_finds_no_memory_is_let_go_and_told_of_once(
    known: Path, lumosx: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(NAME, known / SAFETENSORS)

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(SmallDecoder, "decode", full)
    events = render(lumosx, tmp_path)
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert notice.text == live_picture.FAILED
    # In place of one look; nothing else is given up for it.
    assert looks_of(events) == [(8, 4)] * 4
    assert isinstance(events[-1], Finished)


@pytest.mark.usefixtures("unhurried")
def test_without_room_there_is_none(
    known: Path, lumosx: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(NAME, known / SAFETENSORS)
    monkeypatch.setattr("engine.runtime.room_for_decoder", lambda *_, **__: False)
    assert set(looks_of(render(lumosx, tmp_path))) == {(8, 4)}


@pytest.mark.usefixtures("tiny_model")
def test_the_built_in_model_has_no_use_for_it(known: Path) -> None:
    install(NAME, known / SAFETENSORS)
    model = EngineModel("nano", Way(), CPU)
    assert model.small_decoder() is None
