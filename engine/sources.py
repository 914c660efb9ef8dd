"""Where a scene can come from: a sample folder, a scene file, a shared file, a clip of ours, or a preset by path or
name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError
from engine.paths import builtin_presets_dir, presets_dir
from engine.pictures import PictureStore
from engine.prompt_text import shortened
from engine.request import RenderSettings
from engine.sample_folder import SCENE_NAME, is_sample_folder, read_sample_folder
from engine.scene import Scene
from engine.scene_file import read_scene_file, with_pictures
from engine.shared_file import SHARED_ENDINGS, unpacked

CLIP_ENDINGS = frozenset({".mp4", ".webm", ".gif"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A scene that was found. `settings` is None where the source holds none; `title` is for people and file names."""

    scene: Scene
    settings: RenderSettings | None
    title: str


def load_source(text: str, store: PictureStore) -> Source:
    """Read the scene that `text` means and bring its pictures into the store.

    A path that exists is taken at its word: a folder (sample folder, preset, PNG frames of a clip), a .json scene file,
    a .lumosx file or a zip of a sample folder, or a clip. Otherwise `text` is the name of a preset, the user's before
    the built-in ones. Raises `InputError` or `PictureError`.
    """
    try:
        path = Path(text).expanduser()
        is_folder, is_file = bool(text) and path.is_dir(), path.is_file()
    # A name too long, with a zero byte, or in the home of a user who is not there.
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"“{shortened(text)}” can be no file and no preset; check the name.") from error
    if is_folder and is_sample_folder(path):
        return _from_folder(path, store)
    if is_file:
        return _from_file(path, store)
    preset = preset_folders().get(text)
    if preset is not None:
        return _from_folder(preset, store)
    if is_folder:
        return _from_clip(path, store) if any(path.glob("*.png")) else _from_folder(path, store)
    raise _unknown(text)


def first_preset() -> str:
    """The first of the built-in presets, for whoever needs some scene; `InputError` if there is none."""
    root = builtin_presets_dir()
    presets = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not presets:
        raise InputError("This copy of the program has no presets; fetch a complete one.")
    return str(presets[0])


def preset_folders(own: Path | None = None) -> dict[str, Path]:
    """All presets by name, in the order of their names; one of the user's hides a built-in one of the same name.

    `own` is the folder of the user's, without it `presets_dir()`.
    """
    found: dict[str, Path] = {}
    for root in (own or presets_dir(), builtin_presets_dir()):
        if root.is_dir():
            for folder in root.iterdir():
                if not folder.name.startswith(".") and is_sample_folder(folder):
                    found.setdefault(folder.name, folder)
    return dict(sorted(found.items()))


def _from_folder(folder: Path, store: PictureStore) -> Source:
    title = folder.resolve().name
    if (folder / SCENE_NAME).is_file():
        content = read_scene_file(folder / SCENE_NAME, store)
        return Source(scene=content.scene, settings=content.settings, title=content.title or title)
    return Source(scene=read_sample_folder(folder, store), settings=None, title=title)


def _from_file(path: Path, store: PictureStore) -> Source:
    ending = path.suffix.lower()
    if ending == ".json":
        content = read_scene_file(path, store)
        return Source(scene=content.scene, settings=content.settings, title=content.title or path.stem)
    if ending in SHARED_ENDINGS:
        with unpacked(path) as folder:
            return _from_folder(folder, store)
    if ending in CLIP_ENDINGS:
        return _from_clip(path, store)
    raise InputError(
        f"“{path}” is no scene; give a sample folder or its zip, a preset, a shared file (.lumosx), a scene file "
        "(.json) or a clip made by this program."
    )


def _from_clip(path: Path, store: PictureStore) -> Source:
    from engine.clip import read_recipe  # brings the video libraries along

    recipe = read_recipe(path)
    scene = recipe.request.scene
    masks = {reference.mask for reference in scene.references() if reference.mask}
    images: dict[str, str] = {}
    stored_masks: dict[str, str] = {}
    for picture, data in recipe.pictures.items():
        if picture in masks:
            stored_masks[picture] = store.add_mask_bytes(data, path.name)
        else:
            images[picture] = store.add_bytes(data, path.name)
    return Source(
        scene=with_pictures(scene, images, stored_masks), settings=recipe.request.settings, title=path.resolve().stem
    )


def _unknown(text: str) -> InputError:
    shown = shortened(text)
    if "/" in text or "\\" in text or Path(text).suffix.lower() in {*CLIP_ENDINGS, *SHARED_ENDINGS, ".json"}:
        return InputError(f"There is no file or folder “{shown}”; check its name.")
    names = list(preset_folders())
    close = difflib.get_close_matches(text, names, n=3, cutoff=0.4) or names
    listed = ", ".join(close[:8]) or "none is installed"
    return InputError(f"There is no preset or folder “{shown}”; the closest presets are: {listed}.")
