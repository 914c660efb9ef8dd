"""What is done in processes that are made to be killed; each tells its steps through `told`."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path

from huggingface_hub import constants

from engine.pictures import PictureStore
from engine.weights import install
from engine.weights.convert import convert_bundle
from engine.weights.hub import HuggingFaceHub
from studio.own_presets import delete_preset, save_preset
from tests.unit.tiny_studio import tiny_scene

PRESET = "Two of them"


def convert(source: Path, out: Path, told: Connection) -> None:
    """Convert a bundle; tells each stage and byte count, at last `("done",)`."""
    convert_bundle(source, out, lambda progress: told.send((progress.stage, progress.step)), shard_bytes=20_000)
    told.send(("done",))


def install_published(home: Path, address: str, told: Connection) -> None:
    """Install LumosX into this data home from a hub at this address; tells each stage and byte count, at last
    `("done",)`."""
    os.environ["LUMOSX_HOME"] = str(home)  # the server that forks has begun with another one
    constants.HF_HUB_OFFLINE = False
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    install.__dict__.update(hub_of=lambda _: HuggingFaceHub(address))  # pyright: ignore[reportUnknownLambdaType]
    install.install("lumosx", on_progress=lambda progress: told.send((progress.stage, progress.step)))
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
