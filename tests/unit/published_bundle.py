"""A published bundle in small with the proportions of the real one, on a hub of its own, and the catalogue's sizes for
it: a checkpoint much larger than the network in it, a text encoder that is the largest part."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from engine.weights import catalogue, components
from engine.weights import hub as hub_module
from tests.unit.loopback_hub import LoopbackHub, serving
from tests.unit.tiny_bundle import (
    NETWORK_CONFIG,
    TEXT_CONFIG,
    network_state,
    text_state,
    write_bundle,
    write_distributed,
)

TEXT_FILE = "models_t5_umt5-xxl-enc-bf16.pth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The hub, the bundle as a folder, and what of it is downloads and converted model in the data home."""

    hub: LoopbackHub
    bundle: Path
    home: Path

    @property
    def downloads(self) -> Path:
        return self.home / "models" / "downloads" / "lumosx"

    @property
    def model(self) -> Path:
        return self.home / "models" / "lumosx"

    def asked(self) -> set[str]:
        """The published files that the hub was asked for."""
        return {name for name, _ in self.hub.requests}


def write_proportioned(folder: Path) -> Path:
    """The bundle with a text encoder that is larger than the network, and with what training left in the checkpoint."""
    write_bundle(folder)
    shutil.rmtree(folder / "LumosX_models")
    state = {f"ema.{name}": value for name, value in network_state().items()}
    write_distributed(folder / "LumosX_models" / "all", state | {"optimizer.state": torch.ones(250_000)})
    torch.save(text_state(config={**TEXT_CONFIG, "vocab_size": 80_000}), folder / TEXT_FILE)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its path in it."""
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


@contextmanager
def published(bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Published]:
    """That bundle on a hub, with a catalogue that knows its sizes."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    content = contents(bundle)
    small = tuple(_with_sizes(one, content) if one.name == "lumosx" else one for one in catalogue.entries())
    monkeypatch.setattr(catalogue, "_ENTRIES", small)
    network = sum(value.nbytes for value in network_state(config=NETWORK_CONFIG).values())
    monkeypatch.setattr(components, "_CONVERTED_NETWORK_BYTES", network)
    with serving(LoopbackHub("Alibaba-DAMO-Academy/LumosX", content)) as hub:
        monkeypatch.setattr("engine.weights.install.hub_of", lambda _: hub_module.HuggingFaceHub(hub.address))
        yield Published(hub=hub, bundle=bundle, home=home)


def _with_sizes(entry: catalogue.CatalogueEntry, content: dict[str, bytes]) -> catalogue.CatalogueEntry:
    def size(file: catalogue.CatalogueFile) -> int:
        return sum(len(body) for path, body in content.items() if file.covers(path))

    return replace(entry, files=tuple(replace(file, approximate_bytes=size(file)) for file in entry.files))
