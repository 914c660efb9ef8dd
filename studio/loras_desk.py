"""The user's LoRAs on the page of models: which there are, one more from a file, one less.

A file is looked into by a process of its own, for that takes torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from engine.engines import engine_info
from engine.errors import InputError
from engine.file_names import safe_stem
from engine.weights.checked import marked_damaged
from engine.weights.files import readable_size
from engine.weights.loras import ENDING, StoredLora, loras, remove_lora
from studio.errands import Errand, errand_view
from studio.languages import heard, say

Json = dict[str, Any]

LORAS = "loras"
"""What files and stops are called that are meant for this desk."""


class LorasDesk:
    """Holds the one errand under way; `module` is the process that does it."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._guard = threading.Lock()
        self.errand: Errand | None = None

    def close(self) -> None:
        """Stop what is under way."""
        with self._guard:
            errand = self.errand
        if errand is not None:
            errand.close()

    def show(self) -> Json:
        """Return the LoRAs as the page shows them, and how far the errand is."""
        return {"list": [_view(one) for one in loras()], **errand_view(self.errand, damaged=False)}

    def upload_place(self, folder: Path, file: str) -> Path:
        """Return where a file that a page sends is to be written: its own name, as far as it is one, in `folder`.

        Raises:
            InputError: it is no file of a kind that is read.
        """
        if Path(file).suffix.lower() != ENDING:
            raise InputError(say("lora_wrong_kind"))
        name = PurePosixPath(file.replace("\\", "/")).stem
        return folder / f"{safe_stem(name)}{ENDING}"

    def add(self, source: Path, ended: Callable[[], None]) -> None:
        """Begin to add a file; `ended` is called once, when that is over or could not begin."""
        try:
            with self._guard:
                if self.errand is not None and self.errand.running:
                    raise InputError(say("models_under_way"))
                errand = {"do": "add_lora", "name": LORAS, "source": str(source)}
                self.errand = Errand(self._module, errand, ended)
        except BaseException:
            ended()
            raise

    def remove(self, digest: object) -> None:
        """Delete the LoRA with this digest. Raises `InputError` if there is none."""
        one = next((one for one in loras() if one.digest == digest), None)
        if one is None:
            raise InputError(say("lora_gone"))
        remove_lora(one)
        with self._guard:
            if self.errand is not None and not self.errand.running:
                self.errand = None  # what it said was about something else


def lora_choices(engine: str) -> list[Json]:
    """Return the LoRAs that fit an engine, as a page chooses among them."""
    return [{"name": one.name, "digest": one.digest} for one in loras() if engine in one.engines]


def _view(one: StoredLora) -> Json:
    return {
        "name": one.name,
        "digest": one.digest,
        "size": readable_size(one.size_bytes),
        "engines": say("list_comma").join(heard(engine_info(name).title) for name in one.engines),
        "problem": say("lora_damaged") if marked_damaged([one.path]) else "",
    }
