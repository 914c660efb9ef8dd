"""The page's questions and the studio's answers: one message in, one JSON answer out.

Every answer is a value of `studio.view`; a user's mistake comes back as `{"error": sentence}`, with `field` where a
control is at fault. Keeps no state of any page: a page sends its scene along; queue and library are the same for all.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from engine.engines import engine_info, engine_names
from engine.errors import InputError, PictureError, UserError, WeightsError
from engine.memory.lent import Lent
from engine.pictures import PictureStore
from engine.prompt_text import shortened
from engine.request import RenderRequest
from engine.sample_folder import is_sample_folder
from engine.sources import Source, load_source
from engine.weights.loras import chosen_loras
from engine.weights.magnitudes import magnitudes_for
from studio import view
from studio.clip_notes import ClipNotes
from studio.draft import FieldError, edit_prompt, parse_scene, settings_from
from studio.drafts import DraftBook
from studio.forecast import usual_settings
from studio.formats import FORMATS
from studio.gallery_desk import GalleryDesk
from studio.jobs import JobState
from studio.languages import heard, language_now, language_of, say, speaking
from studio.library import Library, preset_title, spoken
from studio.queue_desk import QueueDesk
from studio.scene_desk import SceneDesk
from studio.visitor_queue import RenderQueue
from studio.workshop import Workshop

Json = dict[str, Any]

_log = logging.getLogger(__name__)
_NEWS_S = 0.4


class Desk:
    """Answers the page. `local`: the page runs on this machine's loopback, so paths of this machine may be typed.

    `language` is what the user has chosen, "" if nothing. `more` answers what other parts of the studio are asked, by
    the name of the message. `lent`: see `Backend`.
    """

    def __init__(
        self,
        *,
        queue: RenderQueue,
        library: Library,
        pictures: PictureStore,
        drafts: DraftBook,
        local: bool,
        missing_weights: Callable[[str], str | None],
        clips: Callable[[], Path],
        exports: Callable[[], Path],
        notes: ClipNotes,
        workshop: Workshop,
        marked: Callable[[], bool] = lambda: False,
        language: Callable[[], str] = lambda: "",
        lent: Lent | None = None,
        more: Mapping[str, Callable[[Json], Json]] | None = None,
    ) -> None:
        self._queue = queue
        self._jobs = QueueDesk(queue)
        self._library = library
        self._pictures = pictures
        self._local = local
        self._missing_weights = missing_weights
        self._language = language
        self._lent = lent
        self._boot = secrets.token_hex(8)
        self._scenes = SceneDesk(pictures=pictures, library=library, drafts=drafts)
        self._gallery = GalleryDesk(
            clips=clips,
            exports=exports,
            notes=notes,
            workshop=workshop,
            pictures=pictures,
            queue=queue,
            missing_weights=missing_weights,
            open_source=self._answer_source,
            marked=marked,
        )
        self._answers: dict[str, Callable[[Json], Json]] = {
            "begin": self._begin,
            "choose": self._choose,
            "open": self._open,
            "render": self._render,
            "look": self._look,
            **self._jobs.answers,
            **self._scenes.answers,
            **self._gallery.answers,
            **(more or {}),
        }

    def ask(self, message: Any) -> Json:
        """Answer one message of a page, `{"do": name, …}`, in its `language`. Never raises: an error would reach the
        page as nothing."""
        wish = cast(Json, message).get("language") if isinstance(message, dict) else None
        with speaking(language_now() if wish is None else language_of(wish)):
            return self._answer(message)

    def _answer(self, message: Any) -> Json:
        try:
            if not isinstance(message, dict):
                raise InputError(say("no_message"))
            fields = _whole_letters(cast(Json, message))
            answer = self._answers.get(str(fields.get("do")))
            if answer is None:
                raise InputError(say("older_page"))
            return answer(fields)
        except FieldError as error:
            return {"error": heard(str(error)), "field": error.field}
        except UserError as error:
            return {"error": heard(str(error))}
        except Exception:
            _log.exception("answering the page failed")
            return {"error": say("fault")}

    def read_folder(self, folder: Path, title: str) -> Json:
        """Answer with the scene of a folder that was sent or named; raises `UserError` if it holds none."""
        try:
            source = load_source(str(folder), self._pictures)
        except InputError as error:
            # pictures without any word on who they are; the engine takes them for the frames of a clip
            if is_sample_folder(folder) or not any(folder.glob("*.png")):
                raise
            raise InputError(say("folder_no_scene", name=title)) from error
        own = source.title != folder.resolve().name  # a scene file can carry a title of its own
        return self._answer_source(source, source.title if own else spoken(title))

    def receive_clip(self, path: Path, name: str) -> Json:
        """Answer with the scene of a clip that was sent as `name`; raises `UserError` if it holds none."""
        return self._gallery.read_clip(path, name)

    def receive_picture(self, data: bytes, name: str) -> Json:
        """Answer with what became of a picture file that was sent, see `SceneDesk.receive_picture`."""
        return self._scenes.receive_picture(data, name)

    # -- the scene -----------------------------------------------------------------------------------------------------

    def _begin(self, _message: Json) -> Json:
        with speaking(
            self._language() or language_now()
        ):  # what the user has chosen counts more than what the browser has
            engines = [self._engine(name) for name in engine_names()]
            return {
                "language": language_now(),
                "presets": view.preset_views(self._library.presets()),
                "engines": engines,
                "formats": [{"value": value, "title": say(title)} for value, title in FORMATS],
                "local": self._local,
                "boot": self._boot,
            }

    def _engine(self, name: str) -> Json:
        info = engine_info(name)
        return view.engine_view(info, self._missing_weights(name), usual_settings(info.defaults, self._lent))

    def _choose(self, message: Json) -> Json:
        name = _text(message, "preset")
        source = self._library.open_preset(name)
        return self._answer_source(source, preset_title(source))

    def _open(self, message: Json) -> Json:
        if not self._local:
            raise InputError(say("paths_elsewhere"))
        text = _text(message, "path").strip().strip("\"'")
        if not text:
            raise InputError(say("path_first"))
        try:
            folder = Path(text).expanduser()
            found = folder.is_dir()
        # too long for a name, or in the home of a user who is not there
        except (OSError, RuntimeError) as error:
            raise InputError(say("path_impossible", path=shortened(text))) from error
        if not found:
            shown = str(folder).encode("utf-8", "backslashreplace").decode()  # half a letter cannot be sent back
            raise InputError(say("path_no_folder", path=shown))
        return self.read_folder(folder, folder.resolve().name)

    def _answer_source(self, source: Source, title: str) -> Json:
        answer = self._scenes.show(source.scene, title)
        if source.settings is not None:
            answer["settings"] = view.settings_view(source.settings)
        return answer

    # -- rendering -----------------------------------------------------------------------------------------------------

    def _render(self, message: Json) -> Json:
        scene = edit_prompt(parse_scene(message.get("scene")), _text(message, "prompt"))
        chosen = message.get("settings")
        if not isinstance(chosen, dict):
            raise InputError(say("no_settings"))
        settings = settings_from(cast(Json, chosen))
        missing = self._missing_weights(settings.engine)
        if missing is not None:
            raise FieldError(missing, "engine")
        try:
            magnitudes_for(settings)
        except WeightsError as error:
            raise FieldError(heard(str(error)), "step_cache_kind") from error
        try:
            chosen_loras(settings)
        except WeightsError as error:
            raise FieldError(heard(str(error)), "loras") from error
        request = RenderRequest(scene=scene, settings=settings, allow_unbound=message.get("allow_unbound") is True)
        for reference in scene.references():
            if reference.image not in self._pictures:  # a page left open while the pictures were cleared away
                raise PictureError(say("render_picture_gone", name=reference.label))
        job = self._jobs.place(request, _text(message, "title") or say("clip_default_title"), message)
        return {"job": job.id, "seed": str(settings.seed)}

    def _look(self, message: Json) -> Json:
        seen = message.get("version")
        busy = any(not job.final for job in self._queue.jobs())
        # while something runs the answer waits for news, so that a step shows the moment it is done
        version = self._queue.wait(seen, _NEWS_S) if busy and isinstance(seen, int) else self._queue.version
        jobs = self._queue.jobs()
        answer: Json = {
            "boot": self._boot,
            "version": version,
            "busy": any(not job.final for job in jobs),
            "clips_version": self._gallery.version(),
        }
        if seen == version:
            return answer
        answer |= self._jobs.show()
        running = next((job for job in jobs if job.state is JobState.running and job.preview), None)
        if running is not None and running.preview is not None:
            key = f"{running.id}/{running.preview.step}"
            if message.get("preview") != key:
                answer["preview"] = {"key": key, "data": view.preview_url(running.preview)}
        return answer


def _whole_letters(message: Json) -> Json:
    """The message with question marks for half letters, which no file, no database and no answer can hold."""
    text = json.dumps(message, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return cast(Json, json.loads(text.encode(errors="replace")))
    return message


def _text(message: Json, name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise InputError(say("old_page"))
    return value
