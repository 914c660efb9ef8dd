"""Deleting a person: every copy of their pictures on this computer, and everything that was worked out from them.

First the user hears what is kept where; only then, and with a word on the clips, it goes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine.codec import to_json
from engine.errors import InputError, UserError
from engine.files import hidden_beside, put_in_place, remove_folder, remove_leftovers, write_atomically, writing
from engine.masks.kept import forget as forget_cut
from engine.paths import cache_dir, jobs_file
from engine.pictures import PictureStore, checked_id
from engine.recipe import read_recipe, replace_in_mp4
from engine.sample_folder import write_sample_folder
from engine.scene import Scene
from engine.sources import load_source
from studio import view
from studio.cast_edits import subject_of
from studio.draft import parse_scene
from studio.home import Home, personal_home
from studio.jobs import JobState
from studio.languages import say, say_count
from studio.library import Library
from studio.scene_desk import text_of
from studio.traces import Traces, find_traces, shows, without
from studio.visitor_queue import RenderQueue

Json = dict[str, Any]

_NAMELESS = ("conditioning", "stills")
"""Caches whose files do not tell whose they are: they go whole, for they can be made again."""
_EDITING = "editing"
"""As these, but other visitors of a shared studio may be at work there."""


class Forgetting:
    """Answers `forget_look` (what is kept of a person of the scene) and `forget` (delete it), in one `home`.

    `alone`: nobody else uses this studio, so that no cache has to be spared.
    """

    def __init__(
        self,
        *,
        pictures: PictureStore,
        library: Library,
        queue: RenderQueue,
        show: Callable[[Scene, str], Json],
        home: Callable[[], Home] = personal_home,
        alone: bool = True,
    ) -> None:
        self._home = home
        self._alone = alone
        self._pictures = pictures
        self._library = library
        self._queue = queue
        self._show = show
        self.answers: dict[str, Callable[[Json], Json]] = {
            "forget_look": self._look,
            "forget": self._forget,
            "forget_pictures": self._drop,
        }

    def _look(self, message: Json) -> Json:
        scene, images = _person(message)
        traces = self._find(scene, images)
        return {"kept": list(_in_words(scene, text_of(message, "subject"), traces)), "clips": len(traces.clips)}

    def _forget(self, message: Json) -> Json:
        scene, images = _person(message)
        # What was killed before the studio began has gone at its start; what was since may hold these pictures, too.
        remove_leftovers(self._home().root, below=True)
        traces = self._find(scene, images)
        if any(job.state is JobState.running for job in traces.jobs):
            raise InputError(say("forget_running"))
        kept = self._do(traces, clips=message.get("clips") is True)
        left = without(scene, traces.pictures)
        return self._show(left, text_of(message, "title")) | {
            "gone": sorted(traces.pictures | traces.masks),
            "presets": view.preset_views(self._library.presets()),
            "kept": kept,
        }

    def _find(self, scene: Scene, images: frozenset[str]) -> Traces:
        home = self._home()
        traces = find_traces(scene, images, self._queue.jobs(), self._pictures, home)
        for picture in traces.pictures | traces.masks:  # files are sought by these names, so they have to be names
            checked_id(picture)
        return traces

    def _drop(self, message: Json) -> Json:
        """Another page's scene without pictures that were deleted here."""
        gone = message.get("gone")
        if not isinstance(gone, list):
            raise InputError(say("old_page"))
        scene = without(parse_scene(message.get("scene")), frozenset(str(one) for one in gone))
        return self._show(scene, text_of(message, "title"))

    def _do(self, traces: Traces, *, clips: bool) -> str:
        """Delete it all; return what the user has to know of what stays."""
        for path, _, _ in traces.presets:
            self._change_preset(path, traces.pictures)
        for path in traces.drafts:
            _change_draft(path, traces.pictures)
        kept = 0
        for path in traces.clips:
            with writing(path):
                if clips:
                    path.unlink(missing_ok=True)
                else:
                    kept += not _strip(path, traces.pictures)
        if traces.jobs:
            self._queue.forget(*(job.id for job in traces.jobs), scrub=True)
        # An earlier file of the queue that was damaged and put aside: nobody can say what is in it.
        damaged = jobs_file().parent.glob(f"{jobs_file().name}.damaged-*") if self._alone else ()
        for path in damaged:
            with writing(path):
                path.unlink(missing_ok=True)
        ids = traces.pictures | traces.masks
        _clear_caches(ids, [self._home().exports, *([cache_dir() / _EDITING] if self._alone else [])])
        for picture in ids:
            self._pictures.remove(picture)
        return say("forget_kept", count=kept) if kept else ""

    def _change_preset(self, folder: Path, pictures: frozenset[str]) -> None:
        source = load_source(str(folder), self._pictures)  # its other pictures: the store may not have them
        scene = without(source.scene, pictures)
        if not scene.references():
            with writing(folder):
                remove_folder(folder)
            return
        new = hidden_beside(folder)
        write_sample_folder(scene, self._pictures, new, settings=source.settings, title=source.title)
        with writing(folder):
            put_in_place(new, folder, thoroughly=True)


def _person(message: Json) -> tuple[Scene, frozenset[str]]:
    scene = parse_scene(message.get("scene"))
    subject = subject_of(scene, text_of(message, "subject"))
    images = frozenset(reference.image for reference in subject.references if reference.image)
    if not images:
        raise InputError(say("forget_no_picture"))
    return scene, images


def _in_words(scene: Scene, subject: str, traces: Traces) -> Iterator[str]:
    own = subject_of(scene, subject)
    count = len({reference.image for reference in own.references})
    yield say_count("forget_pictures", count)
    others = [one for one in scene.subjects if one.id != subject and shows(Scene(subjects=(one,)), traces.pictures)]
    if others:
        yield say("forget_others", count=len(others))
    if traces.drafts:
        yield say("forget_drafts", count=len(traces.drafts))
    for _, kept, title in traces.presets:
        left = without(kept, traces.pictures).references()
        yield say("forget_preset_part" if left else "forget_preset", title=title)
    if traces.jobs:
        yield say("forget_jobs", count=len(traces.jobs))
    yield say("forget_caches")


def _change_draft(path: Path, pictures: frozenset[str]) -> None:
    """Take the pictures out of a page's history: its present scene loses them, steps that show them are dropped."""
    try:
        draft: Any = json.loads(path.read_bytes())
        text = json.dumps(_cleaned(draft, pictures), ensure_ascii=False)
    except (ValueError, KeyError, TypeError, AttributeError, UserError):
        with writing(path):  # a page could not open it either
            path.unlink()
        return
    write_atomically(path, text.encode())


def _cleaned(draft: Json, pictures: frozenset[str]) -> Json:
    kept: Json = {}
    for name, entry in draft["entries"].items():
        scene = parse_scene(entry["scene"])
        if name == draft["present"]:
            kept[name] = {**entry, "scene": to_json(without(scene, pictures))}
        elif not shows(scene, pictures):
            kept[name] = entry
    steps = {part: [name for name in draft[part] if name in kept] for part in ("past", "future")}
    return {**draft, **steps, "entries": kept}


def _strip(path: Path, pictures: frozenset[str]) -> bool:
    """Take the pictures out of the recipe inside a clip; False where its format does not let us."""
    recipe = read_recipe(path)
    if pictures.isdisjoint(recipe.pictures):
        return True
    if path.suffix.lower() != ".mp4":
        return False
    left = {picture: data for picture, data in recipe.pictures.items() if picture not in pictures}
    write_atomically(path, replace_in_mp4(path, dataclasses.replace(recipe, pictures=left)))
    return True


def _clear_caches(ids: frozenset[str], folders: list[Path]) -> None:
    """Delete what caches hold of pictures: files that bear their names, and all (as in `folders`) where names tell
    nothing."""
    cache = cache_dir()
    for picture in ids:
        forget_cut(picture)
    with writing(cache):
        for folder in [*(cache / name for name in _NAMELESS), *folders]:
            if folder.is_dir():
                shutil.rmtree(folder)
        if cache.is_dir():
            for path in cache.rglob("*"):
                if path.is_file() and any(picture in path.name for picture in ids):
                    with contextlib.suppress(FileNotFoundError):
                        path.unlink()
