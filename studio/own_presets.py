"""The user's own presets: a person, a cast or a scene saved as a sample folder with its pictures, and deleted again."""

from __future__ import annotations

import dataclasses
import os
import re
import unicodedata
from pathlib import Path

from engine.errors import InputError
from engine.files import remove_folder, writing
from engine.paths import presets_dir
from engine.pictures import PictureStore
from engine.sample_folder import is_sample_folder, write_sample_folder
from engine.scene import Scene
from studio.cast_edits import subject_of
from studio.languages import say

_MAX_NAME_CHARS = 80


def part_of(scene: Scene, what: str) -> Scene:
    """Return what is to be saved: "scene" (all of it), "cast" (all without words), or one subject by its id.

    A face or attribute keeps its label, so that words can be bound to it again wherever it is inserted.

    Raises:
        InputError: there is nothing to save.
    """
    if what == "scene":
        part = scene
    elif what == "cast":
        part = dataclasses.replace(scene, prompt="", spans=(), unbound=())
    else:
        part = Scene(subjects=(subject_of(scene, what),))
    if not part.references():
        raise InputError(say("preset_no_picture"))
    if any(not reference.image for reference in part.references()):
        raise InputError(say("preset_picture_missing"))
    return part


def save_preset(
    scene: Scene, pictures: PictureStore, title: str, *, replace: bool = False, presets: Path | None = None
) -> str | None:
    """Write a preset of this title and return its name; None if there is one already and it is not to be replaced.

    `presets` is the folder of the user's own, here and below; without it `presets_dir()`.

    Raises:
        InputError: the title can be no name.
        OutputError: the data home cannot be written.
        PictureError: a picture is gone.
    """
    title = " ".join(title.split())
    if not title or len(title) > _MAX_NAME_CHARS:
        raise InputError(say("preset_name", most=_MAX_NAME_CHARS))
    folder = (presets or presets_dir()) / folder_name(title)
    if folder.exists() and not replace:
        return None
    write_sample_folder(scene, pictures, folder, title=title)
    return folder.name


def delete_preset(name: str, presets: Path | None = None) -> None:
    """Delete one of the user's own presets with its pictures; the picture store and open scenes keep theirs.

    Raises:
        InputError: there is none of that name among the user's own.
        OutputError: it cannot be deleted.
    """
    presets = presets or presets_dir()
    folder = presets / name
    if folder.parent != presets or name.startswith(".") or not is_own_preset(folder, presets):
        raise InputError(say("preset_not_own"))
    with writing(folder):
        remove_folder(folder)


def is_own_preset(folder: Path, presets: Path | None = None) -> bool:
    """Whether a folder is a preset of the user's own, and no link to somewhere else."""
    # os.path answers for any name, pathlib falls over one that is too long for the file system
    own = folder.parent == (presets or presets_dir()) and not os.path.islink(folder)
    return own and os.path.isdir(folder) and is_sample_folder(folder)


def folder_name(title: str) -> str:
    """Return a folder's name for a title: letters and digits of any language, dashes between."""
    words = re.sub(r"[^\w]+|_", " ", unicodedata.normalize("NFC", title).casefold()).split()
    name = "-".join(words).encode()[:120].decode(errors="ignore").strip("-")
    return f"my-{name}" if name else "my-preset"
