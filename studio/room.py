"""Everything one person has of the studio: their pictures, presets, drafts and clips, and the desk that answers them.

A personal studio has one room, a shared one a room for each visitor. Nothing in a room knows of another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from engine.errors import InputError, UserError
from engine.pictures import PictureStore
from studio.backend import Backend
from studio.clip_notes import ClipNotes
from studio.costs import cost_answer
from studio.cutting import Cutting
from studio.desk import Desk
from studio.drafts import DraftBook
from studio.face_finding import FaceFinding
from studio.forecast import answer_forecast
from studio.forgetting import Forgetting
from studio.home import Home
from studio.languages import say
from studio.library import Library
from studio.limits import Allowance
from studio.models_desk import ModelsDesk
from studio.notices import Notices
from studio.preferences import PreferenceBook
from studio.programs import Programs
from studio.reports import Reports
from studio.scene_desk import SceneDesk
from studio.sharing import Sharing
from studio.visitor_queue import RenderQueue
from studio.workshop import Workshop

Json = dict[str, Any]

_GROWING = frozenset({"keep", "save_preset", "clip_edit", "save", "share", "share_preset", "cut_keep"})
"""Messages that write more than a note; what else writes is small, or limited by the queue."""


class Room:
    """One person's part of the studio.

    `home` is asked anew each time, so that a folder which moved is found. `allowance`: None for the owner of a personal
    studio, who is not limited, may type paths and manages the models.
    """

    def __init__(
        self,
        *,
        home: Callable[[], Home],
        queue: RenderQueue,
        backend: Backend,
        models: ModelsDesk,
        allowance: Allowance | None,
    ) -> None:
        owner = allowance is None
        self._home = home
        self._allowance = allowance
        self.sending = asyncio.Lock()
        """Held while something is sent by a visitor: one thing after another, so that nobody fills the disk at once."""
        self.pictures = PictureStore(home().pictures)
        self._workshop = Workshop()
        self._cutting = Cutting(backend.cutters, self.pictures)
        self._finding = FaceFinding(backend.face_finder, self.pictures)
        library = Library(self.pictures, lambda: home().presets)
        drafts = DraftBook(home().drafts)
        scenes = SceneDesk(pictures=self.pictures, library=library, drafts=drafts)
        self._sharing = Sharing(pictures=self.pictures, library=library, show=scenes.show, exports=self.exports)
        forgetting = Forgetting(
            pictures=self.pictures, library=library, queue=queue, show=scenes.show, home=home, alone=owner
        )
        preferences = PreferenceBook(home().preferences)
        self._desk = Desk(
            queue=queue,
            library=library,
            pictures=self.pictures,
            drafts=drafts,
            local=owner and models.local,
            missing_weights=backend.missing_weights,
            lent=backend.lent,
            clips=self.clips,
            exports=self.exports,
            notes=ClipNotes(home().notes),
            workshop=self._workshop,
            marked=lambda: preferences.read().mark,
            language=lambda: preferences.read().language,
            more={
                **self._cutting.answers,
                **self._sharing.answers,
                **forgetting.answers,
                **(Reports(queue=queue, exports=self.exports).answers if owner else {"report": _no_report}),
                **preferences.answers,
                **self._finding.answers,
                **models.answers,
                **Notices(home().notices).answers,
                "cost": partial(cost_answer, lent=backend.lent),
                "forecast": partial(answer_forecast, lent=backend.lent),
            },
        )
        self.programs = Programs(queue=queue, library=library, pictures=self.pictures, backend=backend)

    @property
    def busy(self) -> bool:
        """Whether something is being done here that closing would break off."""
        return self._workshop.busy

    def close(self) -> None:
        """End what works for this room; what is kept stays, and opening it again goes on with that."""
        self._workshop.close()
        self._cutting.close()
        self._finding.close()

    def clips(self) -> Path:
        """Where the clips lie."""
        return self._home().clips

    def exports(self) -> Path:
        """Where clips in other formats and files to share lie."""
        return self._home().exports

    def ask(self, message: Any) -> Json:
        """Answer one message of a page, see `Desk.ask`."""
        if isinstance(message, dict) and str(cast(Json, message).get("do")) in _GROWING:
            try:
                self._check_room()
            except UserError as error:
                return {"error": str(error)}
        return self._desk.ask(message)

    def read_folder(self, folder: Path, title: str) -> Json:
        """As `Desk.read_folder`, for a folder that was sent."""
        self._check_room()
        return self._desk.read_folder(folder, title)

    def receive_picture(self, data: bytes, name: str) -> Json:
        """As `Desk.receive_picture`."""
        try:
            self._check_room()
        except UserError as error:
            return {"error": str(error)}
        return self._desk.receive_picture(data, name)

    def receive_clip(self, path: Path, name: str) -> Json:
        """As `Desk.receive_clip`."""
        self._check_room()
        return self._desk.receive_clip(path, name)

    def receive_shared(self, path: Path, name: str, keep: bool) -> Json:
        """As `Sharing.receive`."""
        self._check_room()
        return self._sharing.receive(path, name, keep)

    def _check_room(self) -> None:
        if self._allowance is not None:
            self._allowance.check_room()


def _no_report(_message: Json) -> Json:
    raise InputError(say("visitor_report"))
