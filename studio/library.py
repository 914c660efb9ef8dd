"""What can be chosen: presets, built-in and the user's own.

Reads folders, remembers what it read as long as the files stay the same, and survives a broken one among good ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import InputError, UserError
from engine.files import remove_leftovers
from engine.paths import builtin_presets_dir, presets_dir
from engine.pictures import PictureStore
from engine.scene import Reference, Scene
from engine.sources import Source, load_source, preset_folders
from studio.languages import heard, language_now, say, say_count, sentences
from studio.own_presets import is_own_preset

_MOSAIC = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetEntry:
    """A preset in the list. `name` is its key, `pictures` up to four references; `error` says why it cannot be read.

    `kind` is person, cast or scene; `words` is what a search looks through, `own` whether the user may delete it.
    """

    name: str
    title: str
    about: str
    pictures: tuple[Reference, ...] = ()
    error: str | None = None
    kind: str = "scene"
    words: str = ""
    own: bool = False


@dataclass(frozen=True, slots=True)
class _Stamp:
    time_ns: int
    size_bytes: int
    language: str


class Library:
    """Presets. Safe to ask from several threads: what it remembers is replaced whole, never changed.

    `own` is the folder of the user's own presets.
    """

    def __init__(self, pictures: PictureStore, own: Callable[[], Path] = presets_dir) -> None:
        self._pictures = pictures
        self._own = own
        self._presets: dict[Path, tuple[_Stamp, PresetEntry]] = {}

    @property
    def own(self) -> Path:
        """The folder of the user's own presets; it need not exist."""
        return self._own()

    def presets(self) -> list[PresetEntry]:
        """Return all presets by name, built-in and the user's own."""
        remove_leftovers(self.own)  # of a save that was killed: the preset it was to replace comes back
        known: dict[Path, tuple[_Stamp, PresetEntry]] = {}
        for name, path in preset_folders(self.own).items():
            stamp = _newest(path)
            old = self._presets.get(path)
            known[path] = old if old and old[0] == stamp else (stamp, self._read_preset(name, path))
        self._presets = known
        return [entry for _, entry in known.values()]

    def open_preset(self, name: str) -> Source:
        """Return a preset by its name.

        Raises:
            InputError: there is none of that name, or it cannot be read.
        """
        path = preset_folders(self.own).get(name)
        if path is None:
            raise InputError(say("preset_gone"))
        source = load_source(str(path), self._pictures)
        title = _builtin_title(path)
        return replace(source, title=title) if title else source

    def _read_preset(self, name: str, path: Path) -> PresetEntry:
        try:
            source = load_source(str(path), self._pictures)
        except UserError as error:
            return PresetEntry(
                name=name,
                title=_builtin_title(path) or spoken(path.name),
                about=say("preset_unreadable"),
                error=heard(str(error)),
                own=is_own_preset(path, self.own),
            )
        scene = source.scene
        labels = [reference.label for reference in scene.references()]
        return PresetEntry(
            name=name,
            title=_builtin_title(path) or preset_title(source),
            about=about(scene),
            pictures=_mosaic(scene),
            kind=kind_of(scene),
            words=" ".join([source.title, _builtin_title(path), scene.prompt[:2000], *labels]),
            own=is_own_preset(path, self.own),
        )


def kind_of(scene: Scene) -> str:
    """Return "scene" for one with words, "person" for a lone subject without, "cast" for anything else."""
    if scene.prompt.strip():
        return "scene"
    return "person" if len(scene.subjects) == 1 and scene.num_free == 0 else "cast"


def preset_title(source: Source) -> str:
    """Return a preset's title: the one it carries as it is, a folder's name made readable."""
    plain = re.fullmatch(r"[a-z0-9_-]+", source.title)
    return spoken(source.title) if plain else source.title


def title_key(folder_name: str) -> str:
    """Return the key under which the title of a preset that comes with the program is kept."""
    return "preset_named_" + re.sub(r"^\d+-", "", folder_name).replace("-", "_")


def _builtin_title(folder: Path) -> str:
    """The title of a preset that comes with the program, in the language that is spoken; "" for any other."""
    known = sentences(language_now()) if folder.parent == builtin_presets_dir() else {}
    return known.get(title_key(folder.name), "")


def spoken(folder_name: str) -> str:
    """Return a folder's name as a title: no leading number, no dashes, a capital first."""
    words = re.sub(r"^\d+[-_. ]+(?=\D)", "", folder_name).replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:] if words else folder_name


def about(scene: Scene) -> str:
    """Return what is in a scene in a few words."""
    attributes = sum(len(subject.attributes) for subject in scene.subjects)
    counts = {
        "about_subjects": len(scene.subjects),
        "about_attributes": attributes,
        "about_objects": len(scene.objects),
    }
    parts = [say_count(key, count) for key, count in counts.items() if count]
    if scene.background:
        parts.append(say("about_background"))
    return say("list_comma").join(parts) or say("about_words")


def _mosaic(scene: Scene) -> tuple[Reference, ...]:
    """Up to four pictures that tell presets apart: faces, then one attribute each, then what is left."""
    faces = [subject.face for subject in scene.subjects if subject.face]
    firsts = [subject.attributes[0] for subject in scene.subjects if subject.attributes]
    chosen = list(dict.fromkeys([*faces[:2], *firsts[:2], *scene.references()]))[:_MOSAIC]
    return tuple(chosen if len(chosen) in (1, 2, 4) else chosen[:2])


def _newest(folder: Path) -> _Stamp:
    """Return a stamp that changes with any file of a folder."""
    times = [0]
    size = 0
    for path in (folder, *folder.rglob("*")):
        try:
            status = path.stat()
        except OSError:  # removed while we look: the next look sees it gone
            continue
        times.append(status.st_mtime_ns)
        size += status.st_size
    return _Stamp(max(times), size, language_now())
