"""What the documentation says of the data folder is what the program keeps there."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import paths
from studio.instance import state_file

ROOT = Path(__file__).resolve().parents[2]
KEEPING = (ROOT / "docs" / "keeping.md").read_text(encoding="utf-8")
OWN = {"assets_dir", "builtin_presets_dir", "data_home"}


PLACES = [one for name, one in inspect.getmembers(paths, inspect.isfunction) if name[0] != "_" and name not in OWN]


@pytest.mark.parametrize("where", [*PLACES, state_file])
def test_every_place_in_the_data_folder_is_described(
    where: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path))
    part = where().relative_to(tmp_path).parts[0]
    assert f"`{part}/`" in KEEPING or f"`{part}`" in KEEPING


def test_it_says_how_to_find_and_to_remove_it() -> None:
    assert "launcher.py doctor" in KEEPING
    assert "LUMOSX_HOME" in KEEPING
    assert "**stays**" in KEEPING
