"""A recipe with three pictures, made without any network, for tests of clips."""

from __future__ import annotations

import numpy as np

from engine.engines import resolve_settings
from engine.pictures import PictureStore
from engine.portable import make_recipe
from engine.recipe import Recipe
from engine.request import RenderRequest
from engine.scene import Reference, Role, Scene, Subject


def small_recipe(store: PictureStore, *, prompt: str = "a man in red coat and a woman", **settings: int) -> Recipe:
    """Two subjects, the first with a coat, and their pictures; `settings` go before the built-in engine's."""

    def reference(label: str, role: Role, seed: int) -> Reference:
        pixels = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)
        return Reference(id=label, role=role, label=label, image=store.add_array(pixels), mask=None)

    coat = reference("red coat", Role.attribute, 2)
    scene = Scene(
        prompt=prompt,
        subjects=(
            Subject(id="one", face=reference("man", Role.face, 1), attributes=(coat,)),
            Subject(id="two", face=reference("woman", Role.face, 3), attributes=()),
        ),
    )
    request = RenderRequest(scene=scene, settings=resolve_settings("nano", **settings))
    return make_recipe(request, store, "d" * 64)
