"""What unit tests of rendering share: a model of the right form that is made in milliseconds, in place of nano."""

from __future__ import annotations

from pathlib import Path

import pytest

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
