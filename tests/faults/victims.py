"""What is done in processes that are made to be killed; each tells its steps through `told`."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

from engine.pictures import PictureStore
from engine.weights.convert import convert_bundle
from studio.own_presets import delete_preset, save_preset
from tests.unit.tiny_studio import tiny_scene

PRESET = "Two of them"


def convert(source: Path, out: Path, told: Connection) -> None:
    """Convert a bundle; tells each stage and byte count, at last `("done",)`."""
    convert_bundle(source, out, lambda progress: told.send((progress.stage, progress.step)), shard_bytes=20_000)
    told.send(("done",))


def edit_presets(home: Path, told: Connection) -> None:
    """Save a preset again and again, each time with another coat, and now and then delete it; tells `("saved", n)` or
    `("deleted", n)` when that is done."""
    pictures, presets = PictureStore(home / "pictures"), home / "presets"
    for number in range(1, 1000):
        if number % 5 == 0:
            delete_preset("my-two-of-them", presets)
            told.send(("deleted", number))
        else:
            save_preset(tiny_scene(pictures, 10 + number), pictures, PRESET, replace=True, presets=presets)
            told.send(("saved", number))
