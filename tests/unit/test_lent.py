"""A card that is lent for one call at a time: seconds to ask for, drafts that fit, in whose name a render is done."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gradio.context import LocalContext
from gradio.exceptions import Error
from hypothesis import given
from hypothesis import strategies as some

from engine.cancel import CancelToken
from engine.engines import engine_info, resolve_settings
from engine.errors import Cancelled, InputError, LumosError, MachineError, SceneError
from engine.events import Event, Notice, Progress
from engine.memory.lent import DEVICE, Lent, draft_that_fits, seconds_to_ask
from engine.memory.pace import Pace, PaceBook
from engine.memory.plan import Budget, Way
from engine.memory.profiles import plan_for
from engine.pictures import PictureStore
from engine.scene import Problem
from studio import zero_gpu
from studio.callers import RememberedCallers
from studio.zero_gpu import Failed, LentEngine, Order, StopFile, render_there
from tests.unit.tiny_studio import tiny_request

GB = 10**9
CARD = Lent(seconds=60, card_bytes=70 * GB)
RAM = 60 * GB
FULL = engine_info("lumosx").defaults


@pytest.fixture
def book(tmp_path: Path) -> PaceBook:
    return PaceBook(tmp_path / "pace.json")


# -- arithmetic --------------------------------------------------------------------------------------------------------


def test_what_fits_is_asked_for_in_whole_seconds_and_no_more_than_a_call(book: PaceBook) -> None:
    small = engine_info("nano").defaults
    asked = seconds_to_ask(small, 4, CARD, RAM, book)
    assert 8 < asked < 20
    assert draft_that_fits(small, 4, CARD, RAM, book) == small
    longer = seconds_to_ask(replace(small, num_inference_steps=40), 4, CARD, RAM, book)
    assert longer > asked


def test_what_a_render_showed_counts_more_than_the_guess(book: PaceBook) -> None:
    way = plan_for(FULL, 4, Budget(ram_bytes=RAM, card_bytes=CARD.card_bytes)).way
    quick = replace(CARD, seconds=120)
    with pytest.raises(MachineError):
        seconds_to_ask(FULL, 4, quick, RAM, book)
    book.note("lumosx", DEVICE, way, Pace(operations_per_s=1e15, pixels_per_s=1e8))
    assert seconds_to_ask(FULL, 4, quick, RAM, book) < 120
    book.note("lumosx", DEVICE, Way(network="streamed"), Pace(operations_per_s=1e9, pixels_per_s=1e8))
    assert seconds_to_ask(FULL, 4, quick, RAM, book) < 120


def test_the_refusal_names_a_draft_that_is_not_refused(book: PaceBook) -> None:
    with pytest.raises(MachineError, match=r"60 s at most: a draft of 624x368 with 21 frames and \d+ steps fits\.$"):
        seconds_to_ask(FULL, 4, CARD, RAM, book)
    with pytest.raises(MachineError, match="20 s at most: choose another model"):
        seconds_to_ask(FULL, 4, replace(CARD, seconds=20), RAM, book)
    with pytest.raises(MachineError, match="graphics memory"):
        seconds_to_ask(FULL, 4, Lent(seconds=10_000, card_bytes=GB), RAM, book)


@given(
    engine=some.sampled_from(["nano", "lumosx"]),
    steps=some.integers(1, 200),
    frames=some.integers(0, 60),
    sides=some.tuples(some.integers(1, 80), some.integers(1, 45)),
    references=some.integers(0, 30),
    seconds=some.integers(10, 1200),
)
def test_every_draft_fits_and_is_no_more_than_what_was_asked_for(
    engine: str, steps: int, frames: int, sides: tuple[int, int], references: int, seconds: int
) -> None:
    book, lent = PaceBook(Path("there is none")), replace(CARD, seconds=seconds)
    try:
        settings = resolve_settings(
            engine, width=16 * sides[0], height=16 * sides[1], num_frames=4 * frames + 1, num_inference_steps=steps
        )
    except InputError:  # too much in all
        return
    draft = draft_that_fits(settings, references, lent, RAM, book)
    if draft is None:
        return
    assert seconds_to_ask(draft, references, lent, RAM, book) <= seconds
    for name in ("width", "height", "num_frames", "num_inference_steps"):
        assert getattr(draft, name) <= getattr(settings, name)
    kept = {"width": 16, "height": 16, "num_frames": 1, "num_inference_steps": 1}
    assert replace(draft, **kept) == replace(settings, **kept)


# -- in whose name -----------------------------------------------------------------------------------------------------

WHO: ContextVar[str] = ContextVar("who", default="nobody")


def test_a_job_is_done_in_the_name_of_who_asked_for_it_last() -> None:
    callers = RememberedCallers()
    done: list[str] = []

    def ask(name: str, *jobs: str) -> None:
        token = WHO.set(name)
        with callers.asking() as asked:
            asked(*jobs)
        WHO.reset(token)

    ask("anna", "1", "2")
    ask("ben", "2")
    for job in ("1", "2", "3", "1"):
        callers.run(job, lambda: done.append(WHO.get()))
    assert done == ["anna", "ben", "nobody", "anna"]
    ask("cleo", *(f"more {number}" for number in range(2000)))
    callers.run("1", lambda: done.append(WHO.get()))
    assert done[-1] == "nobody"


# -- the engine behind the card ----------------------------------------------------------------------------------------


@pytest.fixture
def asked() -> Generator[None]:
    token = LocalContext.request.set(cast(Any, SimpleNamespace(headers={})))
    yield
    LocalContext.request.reset(token)


class _Stand:
    """The engine with a card of its own making; what it was asked goes through pickle, as on the platform."""

    def __init__(self, home: Path, there: Callable[[Order], Generator[Event | Failed]]) -> None:
        self.pictures = PictureStore(home / "pictures")
        self.token = CancelToken()
        self.orders: list[Order] = []
        self.there = there
        self.home = home
        self.engine = LentEngine(self._on_the_card, CARD)

    def _on_the_card(self, order: Order) -> Generator[Event | Failed]:
        self.orders.append(order)
        for answer in self.there(pickle.loads(pickle.dumps(order))):
            yield pickle.loads(pickle.dumps(answer))

    def render(self) -> list[Event]:
        request = tiny_request(self.pictures)
        resume = self.home / "step"
        return list(self.engine.render(request, self.pictures, self.token, self.home / "a.mp4", resume=resume))


def test_nobodys_render_gets_no_card(tmp_path: Path) -> None:
    stand = _Stand(tmp_path, lambda _: pytest.fail("no card was asked for"))
    with pytest.raises(MachineError, match="who asked for this one: try it again"):
        stand.render()


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    "error",
    [
        Cancelled("Cancelled."),
        MachineError("There is too little."),
        SceneError((Problem(code="prompt_empty", message="It is empty.", target=""),)),
    ],
)
def test_an_error_for_the_user_comes_back_as_it_was(tmp_path: Path, error: LumosError) -> None:
    def there(_order: Order) -> Generator[Event | Failed]:
        yield Notice(text="on")
        yield Failed(error=error)

    with pytest.raises(type(error)) as caught:
        _Stand(tmp_path, there).render()
    assert str(caught.value) == str(error)


@pytest.mark.usefixtures("asked")
def test_a_fault_comes_back_with_its_words(tmp_path: Path) -> None:
    def there(_order: Order) -> Generator[Event | Failed]:
        yield Failed(fault="Traceback: it broke")

    with pytest.raises(RuntimeError, match="it broke"):
        _Stand(tmp_path, there).render()


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("title", "sentence"),
    [
        ("ZeroGPU quota exceeded", r"^No card could be lent \(0s left\): try it again later\.$"),
        ("ZeroGPU worker error", "was taken back before the render was done"),
    ],
)
def test_what_the_platform_says_becomes_a_sentence(tmp_path: Path, title: str, sentence: str) -> None:
    def there(_order: Order) -> Generator[Event | Failed]:
        yield Notice(text="on")
        raise Error("0s left", title=title, print_exception=False)

    with pytest.raises(MachineError, match=sentence):
        _Stand(tmp_path, there).render()


@pytest.mark.usefixtures("asked")
def test_a_cancelled_token_is_a_file_on_the_other_side(tmp_path: Path) -> None:
    def there(order: Order) -> Generator[Event | Failed]:
        far = StopFile(order.stop)
        far.raise_if_cancelled()
        yield Progress(stage="denoise", step=1, num_steps=9, seconds_left=None)
        stand.token.cancel()
        while not far.cancelled:
            pass
        try:
            far.raise_if_cancelled()
        except Cancelled as error:
            yield Failed(error=error)

    stand = _Stand(tmp_path, there)
    with pytest.raises(Cancelled):
        stand.render()
    assert not stand.orders[0].stop.parent.exists()
    assert 0 < stand.orders[0].seconds <= CARD.seconds


class _FarEngine:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def render(self, *_: Any, **__: Any) -> Generator[Event]:
        yield Notice(text="on")
        raise self._error


def test_there_the_engine_stays_unless_it_broke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[_FarEngine] = []
    errors: list[Exception] = [MachineError("too small"), ValueError("secret"), MachineError("again")]

    def make() -> _FarEngine:
        made.append(_FarEngine(errors[len(made)]))
        return made[-1]

    monkeypatch.setattr(zero_gpu, "_make_engine", make)
    monkeypatch.setattr(zero_gpu, "_engine", None)
    request = tiny_request(PictureStore(tmp_path))
    order = Order(
        request=request,
        pictures=tmp_path,
        out=tmp_path / "a.mp4",
        resume=tmp_path / "r",
        stop=tmp_path / "s",
        seconds=9,
    )
    for _ in range(2):
        assert [*render_there(order)] == [Notice(text="on"), Failed(error=cast(LumosError, errors[0]))]
    assert len(made) == 1
    made[0]._error = errors[1]
    last = [*render_there(order)][-1]
    assert isinstance(last, Failed)
    assert "ValueError: secret" in last.fault
    list(render_there(order))
    assert len(made) == 2
