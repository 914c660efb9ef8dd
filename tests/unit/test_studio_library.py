"""What the library remembers of the clips it lists."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from engine.clip import ClipWriter
from engine.engines import resolve_settings
from engine.pictures import PictureStore
from engine.portable import make_recipe
from engine.request import RenderRequest
from engine.scene import Reference, Role, Scene
from studio.library import Library


def test_a_listed_clip_leaves_its_pictures_in_the_file(home: Path) -> None:
    store = PictureStore(home / "pictures")
    noise = np.random.default_rng(1).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    lamp = Reference(id="lamp", role=Role.object, label="lamp", image=store.add_array(noise), mask=None)
    request = RenderRequest(scene=Scene(prompt="a lamp", objects=(lamp,)), settings=resolve_settings("nano"))
    recipe = make_recipe(request, store, "test")
    assert sum(map(len, recipe.pictures.values())) > 200_000
    (home / "clips").mkdir()
    with ClipWriter(home / "clips" / "lamp.mp4", width=32, height=16, fps=8, recipe=recipe) as writer:
        for _ in range(5):
            writer.write(np.zeros((16, 32, 3), np.uint8))
    library = Library(store)
    entries, total = library.clips(10)
    assert total == 1
    assert entries[0].request == recipe.request
    assert len(pickle.dumps(entries)) < 10_000
