"""The answers about models: what is installed, what is missing for what, and errands that change it.

Nothing is fetched without a message that asks for it; only a page on this machine may ask.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.paths import models_dir
from engine.weights import Installed, status
from engine.weights.catalogue import CatalogueEntry, entries, entry
from engine.weights.files import readable_size
from engine.weights.install import Needs, leftover, needs, refuse_unaccepted, source_of
from engine.weights.installed import broken_names
from studio.errands import Errand, errand_view
from studio.languages import heard, say
from studio.loras_desk import LORAS, LorasDesk

Json = dict[str, Any]

UPLOAD_BYTES = 500 * 2**20
"""Of one file; larger ones are named by their path."""

_SENT = "-sent-"
_KINDS = frozenset({"install", "repair", "check", "remove", "remove_leftover"})


class ModelsDesk:
    """Holds the errands under way, one for each entry of the catalogue. `local`: the page runs on this machine."""

    def __init__(self, *, local: bool, module: str = "engine.weights.errand") -> None:
        self._local = local
        self._module = module
        self._guard = threading.Lock()
        self._errands: dict[str, Errand] = {}
        self._loras = LorasDesk(module)
        for stale in (models_dir() / "downloads").glob(f"*{_SENT}*"):  # of a studio that was killed
            shutil.rmtree(stale, ignore_errors=True)
        self.answers: dict[str, Callable[[Json], Json]] = {
            "models": lambda _: self._show(),
            "models_do": self._do,
            "models_stop": self._stop,
            "lora_add": self._add_lora,
            "lora_remove": self._remove_lora,
        }

    @property
    def local(self) -> bool:
        """Whether the page runs on this machine, for its owner alone."""
        return self._local

    def close(self) -> None:
        """Stop everything under way; what has arrived stays."""
        with self._guard:
            errands = list(self._errands.values())
        for errand in errands:
            errand.close()
        self._loras.close()

    def upload_place(self, name: str, file: str) -> Path:
        """Where a file that a page sends for the entry `name` is to be written: a name of ours below our own folder.

        Raises:
            InputError: the page is elsewhere, there is no such entry, or it takes no such file.
        """
        self._refuse_elsewhere()
        if name == LORAS:
            return self._loras.upload_place(models_dir() / "downloads" / f"{LORAS}{_SENT}{secrets.token_hex(4)}", file)
        wanted = entry(name)
        if not wanted.address:
            raise InputError(say("models_files_large", title=heard(wanted.title)))
        folder = models_dir() / "downloads" / f"{wanted.name}{_SENT}{secrets.token_hex(4)}"
        return folder / f"sent{Path(file).suffix.lower()[:5]}"

    def take_upload(self, name: str, path: Path, *, accepted: bool) -> Json:
        """Install the entry `name` from a file at `upload_place`, which is deleted afterwards."""

        def clear() -> None:
            shutil.rmtree(path.parent, ignore_errors=True)

        if name == LORAS:
            self._loras.add(path, clear)
            return self._show()
        try:
            # the name of a pickled network is part of what makes it the published file
            known = next((file.name for file in entry(name).files if file.name.endswith(path.suffix)), path.name)
            source = path.with_name(known)
            path.replace(source)
            return self._begin(name, {"do": "install", "source": str(source), "accepted": accepted}, clear)
        except BaseException:
            clear()
            raise

    def _show(self) -> Json:
        folder = models_dir()
        return {
            "models": [self._model(one) for one in entries()],
            "folder": str(folder) if self._local else "",
            "free": readable_size(_free_bytes(folder)),
            "local": self._local,
            "upload_bytes": UPLOAD_BYTES,
            "loras": self._loras.show(),
        }

    def _model(self, wanted: CatalogueEntry) -> Json:
        now, errand = status(wanted.name), self._errands.get(wanted.name)
        spare = leftover(wanted.name) if not now.problem and not wanted.builtin else None
        return {
            "name": wanted.name,
            "title": heard(wanted.title),
            "purpose": heard(wanted.purpose),
            "licence": heard(wanted.licence),
            "licence_note": heard(wanted.licence_note),
            "licence_link": wanted.licence_link,
            "non_commercial": wanted.non_commercial,
            "builtin": wanted.builtin,
            "state": _state(now),
            "problem": _problem(wanted, now),
            "size": readable_size(now.size_bytes) if now.size_bytes and now.begun else "",
            "source": source_of(wanted) if not wanted.builtin else "",
            "files": [say("named", what=file.name, name=heard(file.purpose)) for file in wanted.files],
            "sendable": bool(wanted.address),
            "leftover": readable_size(_size(spare)) if spare else "",
            **_needs_view(wanted, now),
            **errand_view(errand, damaged=_state(now) == "damaged"),
        }

    def _do(self, message: Json) -> Json:
        self._refuse_elsewhere()
        kind, name, path = message.get("kind"), message.get("name"), message.get("path")
        if not isinstance(kind, str) or kind not in _KINDS or not isinstance(name, str):
            raise InputError(say("old_page"))
        errand: Json = {"do": kind, "accepted": message.get("accepted") is True}
        if isinstance(path, str):
            errand["source"] = str(_typed(path))
        return self._begin(name, errand, lambda: None)

    def _add_lora(self, message: Json) -> Json:
        self._refuse_elsewhere()
        path = message.get("path")
        if not isinstance(path, str):
            raise InputError(say("old_page"))
        self._loras.add(_typed(path), lambda: None)
        return self._show()

    def _remove_lora(self, message: Json) -> Json:
        self._refuse_elsewhere()
        self._loras.remove(message.get("digest"))
        return self._show()

    def _begin(self, name: str, errand: Json, ended: Callable[[], None]) -> Json:
        wanted = entry(name)
        if errand["do"] == "install":
            refuse_unaccepted(wanted, accepted=errand["accepted"])
        with self._guard:
            before = self._errands.get(name)
            if before is not None and before.running:
                raise InputError(say("models_under_way"))
            self._errands[name] = Errand(self._module, {**errand, "name": name}, ended)
        return self._show()

    def _stop(self, message: Json) -> Json:
        self._refuse_elsewhere()
        name = str(message.get("name"))
        errand = self._loras.errand if name == LORAS else self._errands.get(name)
        if errand is not None and errand.running:
            errand.stop()
        return self._show()

    def _refuse_elsewhere(self) -> None:
        if not self._local:
            raise InputError(say("models_only_there"))


def _typed(path: str) -> Path:
    """The file or folder whose path somebody typed. Raises `InputError` if there is none."""
    typed = path.strip().strip("\"'")
    if not typed:
        raise InputError(say("models_path_first"))
    # These two of os.path take any text; their namesakes of pathlib fall over too long a name or an unknown "~name".
    source = Path(os.path.expanduser(typed))
    if not os.path.exists(source):
        raise InputError(say("models_no_file", path=source))
    return source.absolute()


def _state(now: Installed) -> str:
    if not now.problem:
        return "installed"
    return "damaged" if now.begun else "missing"


def _problem(wanted: CatalogueEntry, now: Installed) -> str:
    """Say what is wrong with something that was whole once, and what helps on this page."""
    if _state(now) != "damaged":
        return ""
    names = broken_names(wanted.name)
    if wanted.builtin or not names:
        return heard(now.problem)
    more = len(names) - 1
    return say("models_broken_more", file=names[0], count=more) if more else say("models_broken", file=names[0])


def _needs_view(wanted: CatalogueEntry, now: Installed) -> Json:
    if wanted.builtin or not now.problem:
        return {"download": "", "arrived": "", "disk": "", "enough": True}
    found: Needs = needs(wanted.name)
    return {
        "download": readable_size(found.download_bytes),
        "arrived": readable_size(found.arrived_bytes) if found.arrived_bytes else "",
        "disk": readable_size(found.disk_bytes),
        "enough": _free_bytes(models_dir()) >= found.disk_bytes,
    }


def _free_bytes(folder: Path) -> int:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):  # removed while we look
            total += file.stat().st_size if file.is_file() else 0
    return total
