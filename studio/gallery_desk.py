"""The gallery's part of the desk: the list of clips, and everything that is done with a finished one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from engine.errors import InputError, OutputError
from engine.files import writing
from engine.paths import cache_dir
from engine.pictures import PictureStore
from engine.request import RenderRequest
from engine.scene import Scene
from engine.sources import Source, load_source
from studio import view
from studio.cast_edits import swap
from studio.clip_edits import ClipFacts, num_frames, parse_edit
from studio.clip_making import make_clip
from studio.clip_notes import MAX_TITLE_CHARS, ClipNotes
from studio.clip_shelf import ClipEntry, ClipShelf
from studio.formats import FORMATS, save_as
from studio.gallery_view import download_name, dressed, gallery_view, swap_choice, title_of
from studio.job_files import file_words
from studio.languages import say
from studio.put_aside import PutAside
from studio.visitor_queue import RenderQueue
from studio.workshop import Report, Workshop

Json = dict[str, Any]

_NEWS_S = 0.4


class GalleryDesk:
    """Answers messages about finished clips. `answers` are for the desk, by the name in the message's `do`.

    `open_source` makes the page's answer of a scene that was found, `exports` is where copies to be saved lie;
    `marked` says whether they are to be marked visibly.
    """

    def __init__(
        self,
        *,
        clips: Callable[[], Path],
        exports: Callable[[], Path],
        notes: ClipNotes,
        workshop: Workshop,
        pictures: PictureStore,
        queue: RenderQueue,
        missing_weights: Callable[[str], str | None],
        open_source: Callable[[Source, str], Json],
        marked: Callable[[], bool],
    ) -> None:
        self._clips_dir = clips
        self._exports = exports
        self._notes = notes
        self._shelf = ClipShelf(clips, notes)
        self._aside = PutAside(clips, notes.forget)
        self._workshop = workshop
        self._pictures = pictures
        self._queue = queue
        self._missing_weights = missing_weights
        self._open_source = open_source
        self._marked = marked
        self.answers: dict[str, Callable[[Json], Json]] = {
            "clips": self._clips,
            "clip_rename": self._rename,
            "clip_poster": self._poster,
            "clip_remove": self._remove,
            "clip_restore": self._restore,
            "clip_length": self._length,
            "clip_edit": self._edit,
            "clip_swap": self._swap,
            "open_clip": self._open,
            "save": self._save,
            "task": self._task,
            "task_cancel": self._task_cancel,
        }

    def version(self) -> str:
        """Return a word that changes whenever the list does."""
        self._aside.waiting()  # drops what had its time
        return self._shelf.version()

    def read_clip(self, path: Path, name: str) -> Json:
        """Answer with the scene of a clip that was sent under `name`; raises `UserError` if it holds none."""
        try:
            source = load_source(str(path), self._pictures)
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error
        return self._open_source(source, view.clip_title(name))

    # -- the list ------------------------------------------------------------------------------------------------------

    def _clips(self, message: Json) -> Json:
        since = message.get("since", 0)
        if type(since) is not int:
            raise InputError(say("old_page"))
        version = self._shelf.version()
        entries = self._shelf.entries()
        newest = self._shelf.newest
        if since > newest:  # of an earlier run of the studio
            since = 0
        return {
            "clips": [gallery_view(entry) for entry in entries if entry.number > since],
            "names": [entry.name for entry in entries],
            "number": newest,
            "version": version,
            "removed": [
                {
                    "token": one.token,
                    "title": self._notes.of(one.name).title or view.clip_title(one.name),
                    "left_s": round(one.left_s, 1),
                }
                for one in self._aside.waiting()
            ],
        }

    def _rename(self, message: Json) -> Json:
        entry = self._entry(message)
        self._notes.rename(entry.name, _text(message, "title"))
        return {"title": title_of(self._shelf.entry(entry.name))}

    def _poster(self, message: Json) -> Json:
        frame = message.get("frame")
        if type(frame) is not int:
            raise InputError(say("old_page"))
        entry = self._entry(message)
        self._notes.choose_poster(entry.name, frame)
        return {"poster": gallery_view(self._shelf.entry(entry.name))["poster"]}

    def _remove(self, message: Json) -> Json:
        return {"token": self._aside.remove(self._entry(message).path)}

    def _restore(self, message: Json) -> Json:
        return {"clip": self._aside.restore(_text(message, "token"))}

    # -- going on from a clip ------------------------------------------------------------------------------------------

    def _open(self, message: Json) -> Json:
        entry = self._entry(message)
        source = load_source(str(entry.path), self._pictures)
        if message.get("words") is not False:
            return self._open_source(source, title_of(entry))
        cast_only = dataclasses.replace(source.scene, prompt="", spans=(), unbound=())
        answer = self._open_source(dataclasses.replace(source, scene=cast_only), title_of(entry))
        if isinstance(answer.get("settings"), dict):
            answer["settings"]["seed"] = None  # another clip: nothing is gained by the same noise
        return answer

    def _swap(self, message: Json) -> Json:
        entry = self._entry(message)
        source = load_source(str(entry.path), self._pictures)
        if entry.request is None or source.settings is None:
            raise InputError(say("swap_no_recipe"))
        people = dressed(source.scene)
        if len(people) < 2:
            raise InputError(say("swap_two_people"))
        first, second = message.get("first"), message.get("second")
        if not isinstance(first, str) or not isinstance(second, str):
            if len(people) > 2 or message.get("choose") is True:
                return {"choice": swap_choice(source.scene)}
            first, second = (person.attributes[0].id for person in people)
        missing = self._missing_weights(source.settings.engine)
        if missing is not None:
            raise InputError(missing)
        request = RenderRequest(
            scene=_exchanged(source.scene, first, second),
            settings=source.settings,
            allow_unbound=entry.request.allow_unbound,
        )
        return {"job": self._queue.submit(request, say("swap_title", title=title_of(entry))).id}

    # -- work that takes a while ---------------------------------------------------------------------------------------

    def _length(self, message: Json) -> Json:
        """Answer with how long the clip of an edit would be, before anything is made."""
        edit = parse_edit(message.get("edit"))
        facts = [facts_of(self._shelf.entry(name)) for name in edit.clips]
        frames = num_frames(edit, facts)
        return {"num_frames": frames, "seconds": frames / facts[0].fps}

    def _edit(self, message: Json) -> Json:
        edit = parse_edit(message.get("edit"))
        entries = [self._shelf.entry(name) for name in edit.clips]
        first = entries[0]
        for entry in entries:
            facts_of(entry)  # a sentence now rather than after a while
        seed = first.request.settings.seed if first.request else 0

        def work(report: Report) -> Json:
            target = self._new_file(title_of(first), seed)
            make_clip(edit, [entry.path for entry in entries], target, cache_dir() / "editing", report)
            if first.note.title:
                self._notes.rename(target.name, f"{first.note.title[: MAX_TITLE_CHARS - 9]} (edited)")
            return {"clip": target.name}

        return {"task": self._workshop.begin(work).id}

    def _save(self, message: Json) -> Json:
        entry, name = self._entry(message), _text(message, "format")
        pictures = message.get("pictures") is not False
        if name not in dict(FORMATS):
            raise InputError(say("format_none"))

        total = facts_of(entry).num_frames if entry.request else 0

        def work(report: Report) -> Json:
            report(0, total)
            path = save_as(
                entry.path, name, self._exports(), pictures=pictures, mark=self._marked(),
                on_frame=lambda number: report(number, total),
            )  # fmt: skip
            url = view.clip_url(path.name) if path == entry.path else view.export_url(path.name)
            return {"url": url, "name": download_name(entry, path.name)}

        return {"task": self._workshop.begin(work).id}

    def _task(self, message: Json) -> Json:
        seen = message.get("seen")
        task = self._workshop.look(_text(message, "task"), _NEWS_S, seen if type(seen) is int else None)
        return {
            "state": task.state.value,
            "num_done": task.num_done,
            "num_all": task.num_all,
            "result": task.result,
            "fault": task.error,
        }

    def _task_cancel(self, message: Json) -> Json:
        self._workshop.cancel(_text(message, "task"))
        return {}

    def _entry(self, message: Json) -> ClipEntry:
        return self._shelf.entry(_text(message, "clip"))

    def _new_file(self, title: str, seed: int) -> Path:
        folder = self._clips_dir()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        words = file_words(title).removesuffix("-edited")
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{words}-edited-seed{seed}"
        for number in range(1, 1000):
            path = folder / f"{stem}{'' if number == 1 else f'-{number}'}.mp4"
            if not path.exists():
                return path
        raise OutputError(say("clips_same_name"))


def facts_of(entry: ClipEntry) -> ClipFacts:
    """Return what a clip's recipe says about its frames; `InputError` for a clip without one."""
    if entry.request is None:
        raise InputError(say("clip_no_recipe", title=title_of(entry)))
    one = entry.edited or entry.request.settings
    return ClipFacts(width=one.width, height=one.height, fps=one.fps, num_frames=one.num_frames)


def _exchanged(scene: Scene, first: str, second: str) -> Scene:
    owners = {one.id: subject.id for subject in scene.subjects for one in subject.attributes}
    if first not in owners or second not in owners or owners[first] == owners[second]:
        raise InputError(say("swap_choose"))
    return swap(scene, first, second)


def _text(message: Json, name: str) -> str:
    value = cast(object, message.get(name))
    if not isinstance(value, str):
        raise InputError(say("old_page"))
    return value
