"""The official sample folder: read it, write it, and with a `scene.json` beside it lose nothing.

    caption.txt                     id;caption
    subjects/<n>/face_<phrase>.png  the face, a rectangular crop
    subjects/<n>/<phrase>.png       an attribute, cut out on white
    objects/<phrase>.png            an object, cut out on white
    background/<phrase>.png         the place (the first file only)
    scene.json, pictures/           ours: the scene as it is, originals and masks of what was cut out

Where a `scene.json` lies in the folder it counts, and the official files beside it are for other programs.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import InputError, OutputError, PictureError
from engine.file_names import NameBook, face_among, is_text, label_of
from engine.files import hidden_beside, make_folder, put_in_place, remove_leftovers, sync, writing
from engine.picture_decoding import ENDINGS
from engine.pictures import PictureStore, encode_png, model_picture
from engine.request import RenderSettings
from engine.scene import Reference, Role, Scene, Subject
from engine.scene_file import SCHEMA_VERSION, SceneFile, encode_scene_file, parse_scene_file, read_scene_file

CAPTION_NAME = "caption.txt"
SCENE_NAME = "scene.json"
_MAX_CAPTION_BYTES = 1024 * 1024
_OTHER_PICTURES = frozenset({".heic", ".heif", ".avif", ".jxl", ".svg", ".psd", ".jp2"})


def is_sample_folder(folder: Path) -> bool:
    """Whether the folder says of itself that it holds a scene."""
    return (folder / SCENE_NAME).is_file() or (folder / CAPTION_NAME).is_file()


def read_sample_folder(folder: Path, store: PictureStore) -> Scene:
    """The scene in the folder, its pictures brought into the store.

    Subjects come in numeric order, in each the face first, then attributes by name; objects by name; the first
    background. Ids depend on the places only, so reading twice gives equal scenes. A subject without a face is kept as
    a draft that cannot render. Raises `InputError` for a missing, empty or unclear folder, `PictureError` for a picture
    that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder “{folder}”; check its name.")
    try:
        if (folder / SCENE_NAME).is_file():
            return read_scene_file(folder / SCENE_NAME, store).scene
        return _read_official(folder, store)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"The folder “{folder}” cannot be read ({reason}); check its permissions.") from error


def write_sample_folder(
    scene: Scene, store: PictureStore, folder: Path, *, settings: RenderSettings | None = None, title: str = ""
) -> None:
    """Write the scene as an official sample folder with a `scene.json`; all or nothing.

    Parent folders are made. An earlier export in the same place is replaced; a folder that holds anything else is
    refused. Raises `OutputError`, or `PictureError` if a picture is missing in the store.
    """
    target = folder.resolve()
    remove_leftovers(target.parent)
    _check_target(target)
    with writing(target):
        make_folder(target.parent)
        temporary = hidden_beside(target)
        temporary.mkdir()
        try:
            _fill(temporary, scene, store, settings, title or target.name)
            sync(temporary)
            put_in_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


# -- reading ----------------------------------------------------------------------------------------------------


def _read_official(folder: Path, store: PictureStore) -> Scene:
    if not any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise InputError(f"The folder “{folder}” is empty; give a sample folder with a caption.txt and pictures.")
    prompt = _read_caption(folder)
    subjects = tuple(
        _read_subject(entry, number, store) for number, entry in enumerate(_subject_folders(folder), start=1)
    )
    objects = tuple(
        _reference(f"object-{number}", Role.object, file, store)
        for number, file in enumerate(_picture_files(folder / "objects"), start=1)
    )
    backgrounds = _picture_files(folder / "background")[:1]
    background = _reference("background", Role.background, backgrounds[0], store) if backgrounds else None
    scene = Scene(prompt=prompt, subjects=subjects, objects=objects, background=background)
    if not scene.references():
        raise InputError(
            f"The folder “{folder}” holds no pictures; put faces into subjects/1/face_<phrase>.png and so on."
        )
    return scene


def _read_caption(folder: Path) -> str:
    path = folder / CAPTION_NAME
    if not path.is_file():
        raise InputError(f"The folder “{folder}” has no caption.txt; write one that reads id;caption.")
    if path.stat().st_size > _MAX_CAPTION_BYTES:
        raise InputError(f"“{path}” is too long for a caption; shorten it.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"“{path}” is not UTF-8 text; save it again as UTF-8.") from error
    # "id;caption": only the first semicolon divides. Without one, the whole text can only be the caption.
    before, divider, after = text.partition(";")
    caption = (after if divider else before).strip()
    if not caption:
        raise InputError(f"“{path}” holds no caption; write one line that reads id;caption.")
    return caption


def _subject_folders(folder: Path) -> list[Path]:
    root = folder / "subjects"
    if not root.is_dir():
        return []
    entries = [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]

    def order(entry: Path) -> tuple[bool, int, str]:
        numeric = entry.name.isdecimal()
        return not numeric, int(entry.name) if numeric else 0, entry.name

    return sorted(entries, key=order)


def _read_subject(folder: Path, number: int, store: PictureStore) -> Subject:
    files = _picture_files(folder)
    face_name = face_among([file.name for file in files])
    subject = f"subject-{number}"
    face = _reference(f"{subject}-face", Role.face, folder / face_name, store) if face_name else None
    attributes = tuple(
        _reference(f"{subject}-attribute-{place}", Role.attribute, file, store)
        for place, file in enumerate((file for file in files if file.name != face_name), start=1)
    )
    return Subject(id=subject, face=face, attributes=attributes)


def _picture_files(folder: Path) -> list[Path]:
    """Pictures of a folder by name. Hidden files and what is no picture (notes, Thumbs.db) are passed over."""
    if not folder.is_dir():
        return []
    files = sorted((file for file in folder.iterdir() if not file.name.startswith(".")), key=lambda file: file.name)
    for file in files:
        if file.suffix.lower() in _OTHER_PICTURES:
            raise PictureError(f"“{file}” has a format that cannot be read; save it as PNG or JPEG.")
        if not is_text(file.name):
            raise InputError(f"“{folder}” holds a file whose name is no text; rename that file.")
    return [file for file in files if file.suffix.lower() in ENDINGS and not file.is_dir()]


def _reference(identifier: str, role: Role, file: Path, store: PictureStore) -> Reference:
    return Reference(id=identifier, role=role, label=label_of(role, file.name), image=store.add_file(file))


# -- writing ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Plan:
    """Which reference becomes which file; the same for the same scene, so that an earlier export can be recognised."""

    official: dict[str, Reference] = field(default_factory=dict[str, Reference])
    originals: dict[str, str] = field(default_factory=dict[str, str])
    masks: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def files(self) -> set[str]:
        """All files of the folder, relative, with "/"."""
        return {CAPTION_NAME, SCENE_NAME, *self.official, *self.originals.values(), *self.masks.values()}


def _plan(scene: Scene) -> _Plan:
    plan = _Plan()
    places = [("background", (scene.background,) if scene.background else ()), ("objects", scene.objects)]
    places += [(f"subjects/{number}", subject.references) for number, subject in enumerate(scene.subjects, start=1)]
    for place, references in places:
        names = NameBook()
        for reference in references:
            name = names.file_name(reference.role, reference.label)
            if reference.image:
                plan.official[f"{place}/{name}"] = reference
    for file, reference in plan.official.items():
        if reference.mask is None:
            plan.originals.setdefault(reference.image, file)
    for reference in plan.official.values():
        if reference.mask is not None:
            plan.originals.setdefault(reference.image, f"pictures/{reference.image}.png")
            plan.masks.setdefault(reference.mask, f"pictures/{reference.mask}.png")
    return plan


def _fill(folder: Path, scene: Scene, store: PictureStore, settings: RenderSettings | None, title: str) -> None:
    plan = _plan(scene)
    for file, reference in plan.official.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if reference.mask is None:
            _copy(store, reference.image, path)
        else:
            path.write_bytes(encode_png(model_picture(reference, store)))
    for picture, file in (plan.originals | plan.masks).items():
        if file.startswith("pictures/"):
            (folder / "pictures").mkdir(exist_ok=True)
            _copy(store, picture, folder / file)
    # Official readers take one line; the prompt as it was typed stands in scene.json.
    identifier = " ".join(title.replace(";", " ").split()) or "scene"
    caption = " ".join(scene.prompt.splitlines())
    (folder / CAPTION_NAME).write_bytes(f"{identifier};{caption}\n".encode())
    content = SceneFile(
        schema_version=SCHEMA_VERSION, title=title, scene=scene, settings=settings, pictures=plan.originals | plan.masks
    )
    (folder / SCENE_NAME).write_bytes(encode_scene_file(content))


def _copy(store: PictureStore, picture: str, path: Path) -> None:
    if picture not in store:
        raise PictureError("A picture of the scene is missing on this machine; add it again.")
    shutil.copyfile(store.path(picture), path)


def _check_target(target: Path) -> None:
    """Refuse a target that holds anything an earlier export did not write."""
    with writing(target):
        if not os.path.lexists(target):
            return
        if not target.is_dir():
            raise OutputError(f"“{target}” is a file; give the name of a new folder.")
        files = {path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir()}
    if not files and not any(target.iterdir()):
        return
    foreign = OutputError(f"The folder “{target}” holds other files; give the name of a new or empty folder.")
    try:
        expected = _plan(parse_scene_file(target / SCENE_NAME).scene).files
    except InputError as error:
        raise foreign from error
    if not files <= expected:
        raise foreign
