"""What unit tests share: models of the right form that are made, or trained, in milliseconds, in place of nano."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.nano import dataset, relations_training, vae_training
from tests.unit.tiny_studio import install_tiny_model, use_assets


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of built-in models with a tiny one in it; nobody changes it."""
    folder = tmp_path_factory.mktemp("assets")
    install_tiny_model(folder)
    return folder


@pytest.fixture
def tiny_model(assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model is the built-in one."""
    use_assets(monkeypatch, assets)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training has networks of the same classes that train in milliseconds."""
    monkeypatch.setitem(vae_training.VAE_CONFIG, "base_dim", 8)
    monkeypatch.setitem(vae_training.VAE_CONFIG, "decoder_base_dim", 8)
    monkeypatch.setitem(vae_training.VAE_CONFIG, "dim_mult", [1, 1, 1])
    monkeypatch.setitem(relations_training.TRANSFORMER_CONFIG, "num_attention_heads", 1)
    monkeypatch.setitem(relations_training.TRANSFORMER_CONFIG, "ffn_dim", 32)
    monkeypatch.setitem(relations_training.TRANSFORMER_CONFIG, "num_layers", 1)
    monkeypatch.setattr(relations_training, "FIRST_LOCALISED", 0)
    monkeypatch.setattr(dataset, "SHARD_SCENES", 4)
