"""Between jobs memory goes back to the machine: what a job needed beside the model, and the model of another way."""

from __future__ import annotations

import platform
import sys
import weakref
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import torch

from engine.cancel import CancelToken
from engine.errors import Cancelled, MachineError
from engine.events import Event, Progress
from engine.memory import giving_back
from engine.memory.giving_back import give_back
from engine.memory.plan import MemoryPlan, Way, Work, predict
from engine.memory.sizes import ModelSizes
from engine.model.transformer import LumosXTransformer3DModel
from engine.models import EngineModel
from engine.pictures import PictureStore
from engine.runtime import Engine
from tests.unit.tiny_studio import tiny_request

CPU = torch.device("cpu")
KEPT_BYTES = 32 * 2**20


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[torch.nn.Module]]:
    """Every network that is loaded from now on; nobody is kept alive by it."""
    found: list[weakref.ref[torch.nn.Module]] = []
    read = EngineModel._read_network  # pyright: ignore[reportPrivateUsage]

    def noted(self: EngineModel, folder: Path) -> LumosXTransformer3DModel:
        network = read(self, folder)
        found.append(weakref.ref(network))
        return network

    monkeypatch.setattr(EngineModel, "_read_network", noted)
    return found


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no pools that keep so much")
def test_free_parts_of_the_pools_go_back_to_the_machine() -> None:
    give_back(CPU)
    pieces = [bytearray(16 * 1024) for _ in range(4096)]
    full = psutil.Process().memory_info().rss
    del pieces[:-1]  # the last one keeps the pool from shrinking by itself
    give_back(CPU)
    assert psutil.Process().memory_info().rss < full - KEPT_BYTES


def test_of_a_card_both_caches_are_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append("card"))
    monkeypatch.setattr(torch.accelerator.memory, "empty_host_cache", lambda: emptied.append("pinned"))
    give_back(torch.device("cuda"))
    assert emptied == ["card", "pinned"]
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append("mps"))
    give_back(torch.device("mps"))
    give_back(CPU)
    assert emptied == ["card", "pinned", "mps"]


def test_a_c_library_without_that_call_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    giving_back._malloc_trim.cache_clear()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(sys, "platform", "darwin")
    give_back(CPU, networks=True)
    giving_back._malloc_trim.cache_clear()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.usefixtures("tiny_model")
def test_another_way_lets_everything_of_the_one_before_go(
    store: PictureStore, tmp_path: Path, networks: list[weakref.ref[torch.nn.Module]]
) -> None:
    engine = Engine()
    for profile in ("resident", "streamed", "offload", "resident"):
        list(engine.render(tiny_request(store, profile=profile), store, CancelToken(), tmp_path / "clip.mp4"))
    assert [each() is None for each in networks] == [True, True, True, False]
    list(engine.render(tiny_request(store, seed=2), store, CancelToken(), tmp_path / "again.mp4"))
    assert len(networks) == 4  # the same way goes on with what is loaded
    engine.release()
    assert networks[-1]() is None


@pytest.mark.usefixtures("tiny_model")
def test_a_way_that_lets_the_network_go_has_none_while_it_decodes(
    store: PictureStore,
    tmp_path: Path,
    networks: list[weakref.ref[torch.nn.Module]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.memory.profiles.make_plan", _let_go)
    seen: list[bool] = []
    for event in Engine().render(tiny_request(store), store, CancelToken(), tmp_path / "clip.mp4"):
        if isinstance(event, Progress) and event.stage == "write":
            seen.append(networks[0]() is None)
    assert seen
    assert all(seen)


def _let_go(sizes: ModelSizes, work: Work, *_: object) -> MemoryPlan:
    return predict(sizes, work, Way(let_go=True), card=False)


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.parametrize("end", ["finished", "cancelled", "left", "refused"])
def test_it_is_given_back_however_a_job_ends(
    end: str, store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[torch.device] = []
    monkeypatch.setattr("engine.runtime.give_back", given.append)
    if end == "refused":
        monkeypatch.setattr("engine.runtime.paint", _too_much)
    cancel, engine = CancelToken(), Engine()
    events: list[Event] = []
    try:
        with closing(engine.render(tiny_request(store), store, cancel, tmp_path / "clip.mp4")) as running:  # pyright: ignore[reportArgumentType]
            for event in running:
                events.append(event)
                painting = isinstance(event, Progress) and event.stage == "denoise"
                if painting and end == "left":
                    break
                if painting and end == "cancelled":
                    cancel.cancel()
    except (Cancelled, MachineError):
        assert end in ("cancelled", "refused")
    assert given == ([] if end == "refused" else [CPU])  # a model that was let go has given everything back already


def _too_much(*_: object) -> object:
    raise MachineError("There is not enough memory.")
