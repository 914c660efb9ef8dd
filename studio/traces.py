"""Where pictures are kept on this computer: drafts with their undo history, the user's presets, the queue, clips.

A picture goes by several names: as it was dropped, and as the cut-out or crop of it that travels in clips. Who looks
for one finds them all.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from engine.clip import read_recipe
from engine.errors import UserError
from engine.pictures import PictureStore, model_picture, picture_id
from engine.portable import ids_in_recipes
from engine.recipe import Recipe
from engine.request import RenderSettings
from engine.scene import Reference, Scene
from engine.sources import load_source
from studio.cast_edits import remove
from studio.draft import parse_scene
from studio.home import Home, personal_home
from studio.jobs import Job
from studio.own_presets import is_own_preset

_CLIP_ENDINGS = frozenset({".mp4", ".webm", ".gif"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What is kept of some pictures. `pictures`: their ids and those of their cut-outs; `masks`: used by nothing else;
    `drafts` with the scenes in them that show one; `presets`, own ones with their scenes and titles; `clips` by file.
    """

    pictures: frozenset[str]
    masks: frozenset[str]
    drafts: tuple[Path, ...]
    presets: tuple[tuple[Path, Scene, str], ...]
    jobs: tuple[Job, ...]
    clips: tuple[Path, ...]


def shows(scene: Scene, pictures: Iterable[str]) -> bool:
    """Whether one of the pictures is in the scene."""
    return not set(pictures).isdisjoint(reference.image for reference in scene.references())


def without(scene: Scene, pictures: frozenset[str]) -> Scene:
    """The scene without these pictures, and without subjects of whom nothing is left. The prompt stays."""
    for reference in scene.references():
        if reference.image in pictures:
            scene = remove(scene, reference.id)
    for subject in scene.subjects:
        if subject.face is None and not subject.attributes:
            scene = remove(scene, subject.id)
    return scene


def find_traces(
    scene: Scene, images: frozenset[str], jobs: tuple[Job, ...], store: PictureStore, home: Home | None = None
) -> Traces:
    """Look through everything that is kept in `home` for the pictures `images` of `scene`, the scene on the page.

    Changes nothing. What cannot be read holds no picture that could be shown, and is passed over.
    """
    home = home or personal_home()
    drafts = {path: list(draft_scenes(path)) for path in sorted(home.drafts.glob("*.json"))}
    presets = list(_own_presets(home.presets))
    recipes = {path: recipe for path in _clips(home.clips) if (recipe := _recipe(path)) is not None}
    scenes = [scene, *(one for kept in drafts.values() for one in kept), *(kept for _, kept, _ in presets)]
    scenes += [job.request.scene for job in jobs] + [recipe.request.scene for recipe in recipes.values()]
    settings = {(one.width, one.height): one for one in (recipe.request.settings for recipe in recipes.values())}
    runs = [(job.request.scene, job.request.settings) for job in jobs] + [(scene, one) for one in settings.values()]
    pictures = _all_names(images, scenes, runs, store)
    references = [reference for one in scenes for reference in one.references()]
    masks = {one.mask for one in references if one.mask and one.image in pictures}
    masks -= {one.mask for one in references if one.mask and one.image not in pictures}
    return Traces(
        pictures=pictures,
        masks=frozenset(mask for mask in masks if mask),
        drafts=tuple(path for path, kept in drafts.items() if any(shows(one, pictures) for one in kept)),
        presets=tuple(preset for preset in presets if shows(preset[1], pictures)),
        jobs=tuple(job for job in jobs if shows(job.request.scene, pictures)),
        clips=tuple(path for path, recipe in recipes.items() if shows(recipe.request.scene, pictures)),
    )


def _all_names(
    images: frozenset[str],
    scenes: Iterable[Scene],
    runs: Iterable[tuple[Scene, RenderSettings]],
    store: PictureStore,
) -> frozenset[str]:
    """The ids of the pictures, of what was cut out of them, and of what those were cut out of."""
    cut: dict[tuple[str, str | None, str], Reference] = {}
    for scene in scenes:
        cut |= {(one.image, one.mask, one.role.value): one for one in scene.references() if one.mask}
    pairs: set[tuple[str, str]] = set()
    for reference in cut.values():
        if reference.image in store and (reference.mask or "") in store:
            pairs.add((reference.image, picture_id(model_picture(reference, store))))
    for scene, settings in runs:
        pairs |= {(own, other) for own, others in ids_in_recipes(scene, settings, store).items() for other in others}
    names = set(images)
    while more := {name for pair in pairs if not names.isdisjoint(pair) for name in pair} - names:
        names |= more
    return frozenset(names)


def draft_scenes(path: Path) -> Iterator[Scene]:
    """The scenes of a draft's history, those that can be read."""
    try:
        data: Any = json.loads(path.read_bytes())
        entries = cast("dict[str, Any]", data["entries"])
        values = list(entries.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    for value in values:
        try:
            yield parse_scene(value["scene"])
        except (UserError, KeyError, TypeError):
            continue


def _own_presets(presets: Path) -> Iterator[tuple[Path, Scene, str]]:
    if not presets.is_dir():
        return
    for folder in sorted(presets.iterdir()):
        if not is_own_preset(folder, presets):
            continue
        with tempfile.TemporaryDirectory(prefix="lumosx-look-") as temporary:  # looking must not bring pictures back
            try:
                source = load_source(str(folder), PictureStore(Path(temporary)))
            except UserError:
                continue
        yield folder, source.scene, source.title


def _clips(folder: Path) -> list[Path]:
    # Those that were just deleted, too: for a moment they lie in a folder of their own.
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _CLIP_ENDINGS)


def _recipe(path: Path) -> Recipe | None:
    try:
        return read_recipe(path)
    except UserError:
        return None
