"""The engine behind a card that ZeroGPU lends to whoever asks, for some seconds at a time.

The platform's package `spaces` wraps one generator: its arguments and what it yields are pickled, its body runs in a
forked process that has the card, and the seconds are taken from the visitor whose request stands in the context. Errors
do not come back as they are, so they are yielded, too; nor does a token, so a file says that the render is to stop.
"""

from __future__ import annotations

import importlib
import tempfile
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gradio.context import LocalContext
from gradio.exceptions import Error

from engine.cancel import CancelToken
from engine.errors import Cancelled, LumosError, MachineError
from engine.events import Event, Progress
from engine.memory.lent import Lent
from engine.pictures import PictureStore
from engine.request import RenderRequest
from studio.forecast import card_seconds
from studio.running import RenderEngine

_LOOK_S = 0.1
_NOBODY = (
    "A card is lent to whoever asks for a render, and it is not known any more who asked for this one: try it again."
)
_BACK = (
    "The card was taken back before the render was done: try it again, it goes on from its last finished step, or "
    "choose a shorter or smaller clip."
)
_WORKER = "ZeroGPU worker error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A render as it goes to the process with the card. `stop`: a file that is there once the render is to stop."""

    request: RenderRequest
    pictures: Path
    out: Path
    resume: Path
    stop: Path
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """How a render ended there, if not well: an error meant for the user, or a fault of the program in words."""

    error: LumosError | None = None
    fault: str = ""


class StopFile(CancelToken):
    """A token on the other side of a fork: cancelled once a file is there."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    @property
    def cancelled(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    def raise_if_cancelled(self) -> None:
        """As `CancelToken`."""
        if self.cancelled:
            raise Cancelled("Cancelled.")


class LentEngine:
    """Renders through `on_the_card`, a generator that `spaces.GPU` has wrapped."""

    def __init__(self, on_the_card: Callable[[Order], Generator[Event | Failed]], lent: Lent) -> None:
        self._on_the_card = on_the_card
        self._lent = lent

    def render(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path, *, resume: Path
    ) -> Iterator[Event]:
        """As `engine.runtime.Engine.render`, in the context of the request that asked for it.

        Raises `MachineError` where no card was lent or it was taken back, or the clip is too long for a call.
        """
        if LocalContext.request.get(None) is None:
            raise MachineError(_NOBODY)
        seconds = card_seconds(request, self._lent)
        yield Progress(stage="load", step=0, num_steps=0, seconds_left=None)
        failed: Failed | None = None
        with tempfile.TemporaryDirectory(prefix="lumosx-lent-") as folder:
            order = Order(
                request=request,
                pictures=pictures.root,
                out=out,
                resume=resume,
                stop=Path(folder) / "stop",
                seconds=seconds,
            )
            with _told(cancel, order.stop), closing(self._on_the_card(order)) as answers:
                try:
                    for answer in answers:
                        if isinstance(answer, Failed):
                            failed = answer
                        else:
                            yield answer
                except Error as error:  # what the platform says: no card, no time left, or it took the card back
                    raise _refused(error) from error
        if failed is not None:
            raise failed.error or RuntimeError(failed.fault)


def lend(lent: Lent) -> Callable[[], RenderEngine]:
    """Return what makes the engine. To be called before the page is launched: the platform looks then for what it is to
    lend a card to."""
    spaces = importlib.import_module("spaces")
    on_the_card = spaces.GPU(duration=_seconds)(render_there)
    return lambda: LentEngine(on_the_card, lent)


def render_there(order: Order) -> Generator[Event | Failed]:
    """Render in the process that has the card; the model stays loaded there for as long as the platform keeps it."""
    global _engine
    try:
        if _engine is None:
            _engine = _make_engine()
        yield from _engine.render(
            order.request, PictureStore(order.pictures), StopFile(order.stop), order.out, resume=order.resume
        )
    except LumosError as error:
        yield Failed(error=error)
    except Exception:
        _engine = None
        yield Failed(fault=traceback.format_exc())


_engine: RenderEngine | None = None


def _make_engine() -> RenderEngine:
    from engine.runtime import Engine

    return Engine()


def _seconds(order: Order) -> int:
    return order.seconds


@contextmanager
def _told(cancel: CancelToken, stop: Path) -> Generator[None]:
    """Within, a token that is cancelled shows itself as a file."""
    ended = threading.Event()

    def watch() -> None:
        while not cancel.cancelled:
            if ended.wait(_LOOK_S):
                return
        stop.touch()

    thread = threading.Thread(target=watch, name="render-stopper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _refused(error: Error) -> MachineError:
    if error.title == _WORKER:
        return MachineError(_BACK)
    return MachineError(f"No card could be lent ({error.message}): try it again later.")
