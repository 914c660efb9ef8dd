"""One file to share, in and out: what is on the page or in a preset becomes a `.lumosx` file, and such a file becomes a
scene on the page or a preset."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.files import writing
from engine.pictures import PictureStore
from engine.scene import Scene
from engine.shared_file import ENDING, write_shared
from engine.sources import load_source
from studio import view
from studio.cast_edits import insert_cast
from studio.draft import parse_scene, settings_from
from studio.languages import say
from studio.library import Library, kind_of, preset_title
from studio.own_presets import folder_name, part_of, save_preset
from studio.scene_desk import text_of

Json = dict[str, Any]

_MOST_NAMES = 100


class Sharing:
    """Answers the messages about shared files. `show` makes the page's answer of a scene and its title; `exports` is
    the folder that the page may download from."""

    def __init__(
        self,
        *,
        pictures: PictureStore,
        library: Library,
        show: Callable[[Scene, str], Json],
        exports: Callable[[], Path],
    ) -> None:
        self._pictures = pictures
        self._library = library
        self._show = show
        self._exports = exports
        self._keeping = threading.Lock()  # two files dropped at once never take the same name
        self.answers: dict[str, Callable[[Json], Json]] = {
            "share": self._share,
            "share_preset": self._share_preset,
            "insert_shared": self._insert,
        }

    def receive(self, path: Path, name: str, keep: bool) -> Json:
        """Answer with what a file that was sent holds: the scene for the page, or with `keep` the preset it became.

        Raises:
            UserError: the file holds no scene, or the preset cannot be written.
        """
        source = load_source(str(path), self._pictures)
        title = preset_title(source) if source.title.casefold() != path.stem.casefold() else Path(name).stem
        title = " ".join(title.split())[:80] or "Shared"
        if keep:
            preset = self._keep(source.scene, title)
            return {"preset": preset, "title": title, "presets": view.preset_views(self._library.presets())}
        answer = self._show(source.scene, title) | {"kind": kind_of(source.scene)}
        if source.settings is not None:
            answer["settings"] = view.settings_view(source.settings)
        return answer

    def _keep(self, scene: Scene, title: str) -> str:
        with self._keeping:
            for number in range(1, _MOST_NAMES):
                name = title if number == 1 else f"{title[:74]} {number}"
                preset = save_preset(scene, self._pictures, name, presets=self._library.own)
                if preset is not None:
                    return preset
        raise InputError(say("presets_same_name"))

    def _share(self, message: Json) -> Json:
        scene = part_of(parse_scene(message.get("scene")), text_of(message, "what"))
        chosen = message.get("settings")
        settings = settings_from(chosen) if isinstance(chosen, dict) and scene.prompt.strip() else None
        return self._written(scene, text_of(message, "name"), message, settings)

    def _share_preset(self, message: Json) -> Json:
        source = self._library.open_preset(text_of(message, "preset"))
        return self._written(source.scene, text_of(message, "name") or preset_title(source), message, source.settings)

    def _written(self, scene: Scene, title: str, message: Json, settings: Any) -> Json:
        title = " ".join(title.split())[:80] or "Scene"
        ending = ".zip" if message.get("zip") is True else ENDING
        name = re.sub(r"^my-", "", folder_name(title)) or "scene"
        folder = self._exports()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        out = folder / f"{name}-{secrets.token_hex(4)}{ending}"
        whole = message.get("whole") is True
        write_shared(scene, self._pictures, out, title=title, settings=settings, whole_pictures=whole)
        return {"url": view.export_url(out.name), "name": f"{name}{ending}", "bytes": out.stat().st_size}

    def _insert(self, message: Json) -> Json:
        scene = insert_cast(parse_scene(message.get("scene")), parse_scene(message.get("shared")))
        return self._show(scene, text_of(message, "title"))
