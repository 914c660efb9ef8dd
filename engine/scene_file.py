"""`scene.json`: a scene with its settings, and the files of its pictures relative to the folder it lies in.

Reading distrusts everything: size, nesting, fields, versions, and paths that lead out of the folder. A picture that was
edited since is taken as it is now, under its new id.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from engine.codec import from_json, to_json
from engine.errors import InputError, PictureError, UserError
from engine.pictures import PictureStore, read_picture_file
from engine.request import RenderSettings
from engine.scene import Reference, Scene, Subject

SCHEMA_VERSION = 1
MAX_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFile:
    """The content of a `scene.json`. `pictures`: picture or mask id → file, with "/" between folders."""

    schema_version: int
    title: str
    scene: Scene
    settings: RenderSettings | None
    pictures: dict[str, str]


def encode_scene_file(content: SceneFile) -> bytes:
    """The file's bytes: readable JSON in UTF-8, the same for the same content."""
    return (json.dumps(to_json(content), ensure_ascii=False, indent=1) + "\n").encode()


def parse_scene_file(path: Path) -> SceneFile:
    """Read and check the file alone, without its pictures. Raises `InputError`."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"The scene file “{path}” is larger than any scene; choose another file.")
        data: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"The scene file “{path}” does not exist; check its name.") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"The scene file “{path}” cannot be read ({reason}); check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"“{path}” is not a scene file; choose a scene.json written by this program.") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(f"The scene file “{path}” was written by a newer version of this program; update to read it.")
    if version != SCHEMA_VERSION:
        raise InputError(f"“{path}” is not a scene file; choose a scene.json written by this program.")
    try:
        return from_json(SceneFile, {"title": "", "settings": None, **data})
    except UserError as error:
        raise InputError(f"The scene file “{path}” cannot be read: {error}") from error


def read_scene_file(path: Path, store: PictureStore) -> SceneFile:
    """Read the file and bring its pictures into the store. Raises `InputError` or `PictureError`."""
    content = parse_scene_file(path)
    folder = path.parent
    images = {reference.image for reference in content.scene.references() if reference.image}
    masks = {reference.mask for reference in content.scene.references() if reference.image and reference.mask}
    stored = {picture: store.add_file(_locate(folder, content.pictures, picture)) for picture in sorted(images)}
    stored_masks: dict[str, str] = {}
    for mask in sorted(masks):
        file = _locate(folder, content.pictures, mask)
        stored_masks[mask] = store.add_mask_bytes(read_picture_file(file), file.name)
    scene = with_pictures(content.scene, stored, stored_masks)
    for reference in scene.references():
        if reference.image and reference.mask:
            _check_mask(reference, store)
    pictures = {(stored | stored_masks).get(picture, picture): file for picture, file in content.pictures.items()}
    return replace(content, scene=scene, pictures=pictures)


def with_references(scene: Scene, change: Callable[[Reference], Reference]) -> Scene:
    """The scene with every reference replaced by what `change` makes of it."""

    def subject(value: Subject) -> Subject:
        attributes = tuple(change(item) for item in value.attributes)
        return replace(value, face=value.face and change(value.face), attributes=attributes)

    return replace(
        scene,
        background=scene.background and change(scene.background),
        objects=tuple(change(item) for item in scene.objects),
        subjects=tuple(subject(item) for item in scene.subjects),
    )


def with_pictures(scene: Scene, images: dict[str, str], masks: dict[str, str]) -> Scene:
    """The scene with picture and mask ids replaced as the two tables say; ids that are in neither stay."""

    def change(reference: Reference) -> Reference:
        mask = reference.mask and masks.get(reference.mask, reference.mask)
        return replace(reference, image=images.get(reference.image, reference.image), mask=mask)

    return with_references(scene, change)


def _locate(folder: Path, files: dict[str, str], picture: str) -> Path:
    """The file of a picture, certain to lie inside `folder`, links included."""
    if picture not in files:
        raise InputError(f"The scene in “{folder}” lacks one of its pictures; export it again.")
    name = files[picture]
    pure = PurePosixPath(name)
    outside = InputError(f"The scene in “{folder}” names a picture outside its folder (“{name[:80]}”); it is not read.")
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or "\0" in name:
        raise outside
    path = folder / pure
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # links that lead in a circle
        raise outside from error
    if not inside:
        raise outside
    return path


def _check_mask(reference: Reference, store: PictureStore) -> None:
    assert reference.mask is not None
    if store.load_mask(reference.mask).shape != store.load(reference.image).shape[:2]:
        raise PictureError(f"The mask of “{reference.label}” has another size than its picture; cut it out again.")
