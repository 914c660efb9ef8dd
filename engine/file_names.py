"""Labels as file names of the official sample folder, safe on every operating system.

The official readers take a reference's phrase from its file name: a subject's pictures up to the last dot, those of
objects and the background up to the first. So a name holds the label as far as a file name can, and never a second dot
where it would cut.
"""

from __future__ import annotations

import re
import unicodedata

from engine.errors import InputError
from engine.scene import Role

FACE_PREFIX = "face_"

_WORN_ON_FACES = frozenset({"mask", "shield", "paint", "covering", "veil", "cover"})
"""Garments that English calls "face …"; a face called so is not to be expected beside a real one."""

_ILLEGAL = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")
_MAX_NAME_BYTES = 180
"""Leaves room for a prefix, a number and the ending in the 255 bytes that file systems allow."""


class NameBook:
    """Gives out names within one folder so that no two are the same, even where case does not count."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def file_name(self, role: Role, label: str) -> str:
        """A fresh PNG file name for a reference of this role and label."""
        stem = (FACE_PREFIX if role is Role.face else "") + _safe_stem(role, label)
        name, number = stem, 1
        while same_name(name) in self._taken:
            number += 1
            name = f"{stem} {number}"
        self._taken.add(same_name(name))
        return f"{name}.png"


def face_among(file_names: list[str]) -> str | None:
    """Which picture of a subject is its face, None if none is.

    "face_man.png" is one, "face mask.png" never. Beside another face "face_mask.png" is the garment it sounds like;
    alone it is what the naming rule says, the face of a "mask". Two faces raise `InputError`: guessing would swap
    people silently.
    """
    faces = [name for name in file_names if is_face_name(name)]
    if len(faces) > 1:
        faces = [name for name in faces if label_of(Role.face, name).lower() not in _WORN_ON_FACES] or faces
    if len(faces) > 1:
        listed = " and ".join(f"“{name}”" for name in faces)
        raise InputError(
            f"A subject has one face, but {listed} lie in one folder; rename or remove all but one "
            "(a garment may be called “face mask.png”, with a blank)."
        )
    return faces[0] if faces else None


def label_of(role: Role, file_name: str) -> str:
    """The phrase that a file name of the official folder stands for."""
    if role in (Role.face, Role.attribute):
        stem = file_name.rpartition(".")[0] or file_name
    else:
        stem = file_name.partition(".")[0]
    if role is Role.face:
        stem = stem[len(FACE_PREFIX) :]
    elif role is Role.attribute and is_face_name(stem):
        stem = stem.replace("_", " ")
    # Some file systems take letters and accents apart; prompts are typed, and searched, composed.
    return unicodedata.normalize("NFC", stem).strip()


def is_text(file_name: str) -> bool:
    """Whether the name was readable; systems that keep names as bytes hand out half surrogate pairs for others."""
    return not any("\ud800" <= char <= "\udfff" for char in file_name)


def is_face_name(file_name: str) -> bool:
    """Whether the naming rule makes this file the face: "face_man.png" is one, "face mask.png" is a garment."""
    return file_name.lower().startswith(FACE_PREFIX)


def _safe_stem(role: Role, label: str) -> str:
    stem = _ILLEGAL.sub(" ", unicodedata.normalize("NFC", label))
    if role in (Role.object, Role.background):
        stem = stem.replace(".", " ")
    stem = re.sub(r"\s+", " ", stem).strip(" .")
    if role is Role.attribute and is_face_name(stem):
        stem = f"face {stem[len(FACE_PREFIX) :]}".strip()
    stem = stem.encode()[:_MAX_NAME_BYTES].decode(errors="ignore").strip(" .")
    if _RESERVED.fullmatch(stem) and role is not Role.face:
        stem = f"{stem}_" if "." not in stem else f"_{stem}"
    return stem or "unnamed"


def safe_stem(text: str) -> str:
    """A name without an ending that every file system takes and every screen can show, as near to `text` as can be."""
    stem = _ILLEGAL.sub(" ", unicodedata.normalize("NFC", text))
    stem = "".join(sign for sign in stem if sign.isprintable())
    stem = re.sub(r"\s+", " ", stem).strip(" .").encode()[:_MAX_NAME_BYTES].decode(errors="ignore").strip(" .")
    return f"_{stem}" if _RESERVED.fullmatch(stem) else stem or "unnamed"


def same_name(name: str) -> str:
    """What two names have in common if a file system may take them for one."""
    return unicodedata.normalize("NFC", name).casefold()
