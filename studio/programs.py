"""The studio for programs: submit a scene, follow its render, fetch the clip. Functions with plain types and sentences.

`studio.shell` gives them names that `gradio_client` can call; docs/programs.md shows how.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from engine.engines import DEFAULT_ENGINE, resolve_settings
from engine.errors import InputError
from engine.pictures import PictureStore
from engine.request import RenderRequest, RenderSettings
from engine.shared_file import ENDING, MAX_BYTES
from engine.sources import Source, load_source
from engine.weights.loras import chosen_loras
from studio import view
from studio.backend import Backend
from studio.jobs import Job
from studio.library import Library
from studio.visitor_queue import RenderQueue

Json = dict[str, Any]

_WAIT_S = 5.0
_MAX_CODE_CHARS = MAX_BYTES * 4 // 3 + 100


class Programs:
    """What programs may ask, with the same queue and presets as the page; every method raises `UserError`s."""

    def __init__(self, *, queue: RenderQueue, library: Library, pictures: PictureStore, backend: Backend) -> None:
        self._queue = queue
        self._library = library
        self._pictures = pictures
        self._backend = backend

    @property
    def endpoints(self) -> dict[str, Callable[..., Any]]:
        """The functions by the names that programs call."""
        return {
            "submit": self.submit,
            "follow": self.follow,
            "fetch": self.fetch,
            "cancel": self.cancel,
            "presets": self.presets,
        }

    def submit(self, scene: str, settings: Json | None = None, title: str = "") -> Json:
        """Put a render into the queue; return the job's id and the settings it will have.

        scene: the name of a preset, or a .lumosx file (or a zip of a sample folder) in base64. settings: any of width,
        height, num_frames, num_inference_steps, guidance_scale, seed, engine …; what is left open comes from the scene,
        else from the engine. title: of the clip, "" takes the scene's.
        """
        source = self._source(scene)
        request = RenderRequest(scene=source.scene, settings=_settings(settings or {}, source.settings))
        missing = self._backend.missing_weights(request.settings.engine)
        if missing is not None:
            raise InputError(missing)
        chosen_loras(request.settings)
        job = self._queue.submit(request, " ".join(title.split())[:80] or source.title or "Clip")
        return {"job": job.id, "settings": view.settings_view(request.settings)}

    def follow(self, job: str) -> Iterator[Json]:
        """Yield the job's state whenever something about it has changed, for the last time when it has ended.

        state: waiting, running, done, failed or cancelled; with stage, step, num_steps, seconds_left, error.
        """
        told: Json | None = None
        while True:
            version = self._queue.version
            now = self._job(job)
            state = _state(now)
            if state != told:
                told = state
                yield state
            if now.final:
                return
            self._queue.wait(version, _WAIT_S)

    def fetch(self, job: str) -> Json:
        """Return where a finished job's clip can be had: `name`, and `url` below the server's address."""
        found = self._job(job)
        if found.clip is None or not found.clip.path.is_file():
            raise InputError("There is no clip of this render (yet); follow it until its state is done.")
        return {"name": found.clip.path.name, "url": view.clip_url(found.clip.path.name)}

    def cancel(self, job: str) -> bool:
        """Stop a render within one step, or take it out of the queue; False if it had ended already."""
        return self._queue.cancel(self._job(job).id)

    def presets(self) -> list[str]:
        """Return the names of all presets that can be submitted."""
        return [entry.name for entry in self._library.presets() if entry.error is None]

    def _job(self, job: str) -> Job:
        found = self._queue.job(job)
        if found is None:
            raise InputError("There is no such render in the queue; submit it again.")
        return found

    def _source(self, scene: str) -> Source:
        if scene in self.presets():
            return self._library.open_preset(scene)
        if len(scene) > _MAX_CODE_CHARS:
            raise InputError(f"A shared file may have {MAX_BYTES // 2**20} MB at most.")
        try:
            data = base64.b64decode(scene, validate=True)
        except (binascii.Error, ValueError) as error:
            shown = scene[:60].encode("utf-8", "backslashreplace").decode()  # half a letter cannot be sent back
            raise InputError(
                f"“{shown}” is neither the name of a preset nor a {ENDING} file in base64; see /presets."
            ) from error
        with tempfile.TemporaryDirectory(prefix="lumosx-program-") as temporary:
            path = Path(temporary) / f"scene{ENDING}"
            path.write_bytes(data)
            return load_source(str(path), self._pictures)


def _settings(chosen: Mapping[str, Any], given: RenderSettings | None) -> RenderSettings:
    engine = str(chosen.get("engine") or (given.engine if given else DEFAULT_ENGINE))
    kept: Json = {}
    if given is not None and given.engine == engine:
        kept = {field.name: getattr(given, field.name) for field in fields(RenderSettings)}
    values = {"seed": secrets.randbelow(2**31), **kept, **chosen}
    values.pop("engine", None)
    return resolve_settings(engine, **{str(name): value for name, value in values.items()})


def _state(job: Job) -> Json:
    progress = job.progress
    return {
        "state": job.state.value,
        "stage": progress.stage if progress else "",
        "step": progress.step if progress else 0,
        "num_steps": progress.num_steps if progress else 0,
        "seconds_left": progress.seconds_left if progress else None,
        "error": job.error,
    }
