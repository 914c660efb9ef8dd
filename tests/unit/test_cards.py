"""Several graphics cards: which are used, an engine in a process for each, and a queue that renders on all at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine.cancel import CancelToken
from engine.cli.commands import doctor
from engine.errors import Cancelled, InputError, MachineError
from engine.events import Event, Finished, Preview, Progress
from engine.memory import cards, machine
from engine.memory.cards import VISIBLE, cards_to_share
from engine.pictures import PictureStore
from engine.runtime import Engine
from studio import card_engine
from studio.card_engine import CardEngine, card_engines
from studio.job_store import CRASHED, JobStore
from studio.jobs import Job, JobQueue, JobState
from tests.patience import PATIENCE_S
from tests.unit.small_card import ASSETS, DIE_AT, HELD_AT, HOLD
from tests.unit.test_runtime import frames_of
from tests.unit.tiny_studio import tiny_request, use_assets

MODULE = "tests.unit.small_card"
STEPS = 6


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A driver that says this, and a PyTorch for cards."""
    program = tmp_path / "nvidia-smi"
    monkeypatch.setattr(machine.shutil, "which", lambda _: str(program))
    monkeypatch.setattr(cards, "torch_is_for_cards", lambda: True)
    monkeypatch.delenv(VISIBLE, raising=False)

    def say(text: str) -> None:
        program.write_text(f"#!{sys.executable}\nprint({text!r})\n")
        program.chmod(0o755)

    return say


# -- which cards -------------------------------------------------------------------------------------------------------


def test_renders_are_spread_over_cards_of_about_one_size(driver: Callable[[str], None]) -> None:
    driver("24576, GPU-a\n24000, GPU-b\n8192, GPU-c")
    assert cards_to_share({}) == ("GPU-a", "GPU-b")
    driver("24576, GPU-a\n8192, GPU-c")
    assert cards_to_share({}) == ()  # the small one would refuse what the large one can do
    driver("24576, GPU-a")
    assert cards_to_share({}) == ()
    driver("[N/A], GPU-a\n24576, GPU-b\nan error")
    assert cards_to_share({}) == ()


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("0,2", ("0", "2")), ("GPU-a, GPU-c", ("GPU-a", "GPU-c")), ("0,1,-1,2", ("0", "1")),
        ("1", ()), ("", ()), ("-1", ()), ("0,0", ()),
    ],
)  # fmt: skip
def test_who_names_cards_gets_exactly_those(
    chosen: str, expected: tuple[str, ...], driver: Callable[[str], None]
) -> None:
    driver("24576, GPU-a\n24000, GPU-b\n8192, GPU-c")
    assert cards_to_share({VISIBLE: chosen}) == expected


def test_a_pytorch_without_cards_uses_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from importlib.machinery import ModuleSpec

    spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(cards.importlib.util, "find_spec", lambda _: spec)
    assert not cards.torch_is_for_cards()
    for text, expected in (
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", False),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\n", True),
        ("cuda = '12.6'\n", True),
    ):
        (tmp_path / "version.py").write_text(text)
        assert cards.torch_is_for_cards() is expected
        assert (cards_to_share({VISIBLE: "0,1"}) == ("0", "1")) is expected
    monkeypatch.setattr(cards.importlib.util, "find_spec", lambda _: None)
    assert not cards.torch_is_for_cards()


def test_each_card_gets_an_engine_and_a_share_of_the_memory(
    driver: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver("24576, GPU-a\n24000, GPU-b")
    monkeypatch.setattr(card_engine, "free_ram", lambda: 64_000_000_000)
    engines = [make() for make in card_engines()]
    assert [one.card for one in engines if isinstance(one, CardEngine)] == ["GPU-a", "GPU-b"]
    assert all("32000000000" in one._command for one in engines if isinstance(one, CardEngine))  # pyright: ignore[reportPrivateUsage]
    driver("24576, GPU-a")
    assert card_engines() == ()


def test_the_doctor_tells_of_several(driver: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    driver("24576, GPU-a\n24000, GPU-b")
    report = doctor.examine()
    assert report.cards == ("GPU-a", "GPU-b")
    assert "the studio renders on 2 of them at once" in doctor.as_text(report)
    monkeypatch.setenv(VISIBLE, "1")
    assert "at once" not in doctor.as_text(doctor.examine())


# -- an engine in a process --------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


@pytest.fixture
def engine() -> Iterator[CardEngine]:
    engine = CardEngine("GPU-a", module=MODULE)
    yield engine
    engine.close()


def events_of(engine: CardEngine, store: PictureStore, folder: Path, **settings: object) -> list[Event]:
    request = tiny_request(store, num_inference_steps=STEPS, **settings)
    return list(engine.render(request, store, CancelToken(), folder / "clip.mp4", resume=folder / "step"))


def pids(folder: Path) -> list[str]:
    """The process of each render that was begun."""
    return [line.split()[1] for line in (folder / "seen.txt").read_text().splitlines()]


def steps_of(events: list[Event]) -> list[int]:
    return [event.step for event in events if isinstance(event, Progress) and event.stage == "denoise"]


def test_the_real_engine_gives_the_same_clip_there(
    assets: Path, store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ASSETS, str(assets))
    with closing(CardEngine("", module=MODULE, ram_bytes=8_000_000_000)) as engine:
        events = events_of(engine, store, tmp_path)
    assert steps_of(events) == list(range(STEPS + 1))
    assert any(isinstance(event, Preview) for event in events)
    assert isinstance(events[-1], Finished)
    use_assets(monkeypatch, assets)
    request = tiny_request(store, num_inference_steps=STEPS)
    assert events[-1].clip.request == request
    list(Engine().render(request, store, CancelToken(), tmp_path / "plain.mp4"))
    assert np.array_equal(frames_of(tmp_path / "clip.mp4"), frames_of(tmp_path / "plain.mp4"))


def test_one_process_renders_one_job_after_another_whatever_became_of_the_last(
    engine: CardEngine, store: PictureStore, tmp_path: Path
) -> None:
    assert isinstance(events_of(engine, store, tmp_path)[-1], Finished)
    with pytest.raises(InputError, match="bad luck"):
        events_of(engine, store, tmp_path, seed=13)
    cancel = CancelToken()
    request = tiny_request(store, num_inference_steps=200)
    seen: list[Event] = []
    (tmp_path / HOLD).touch()  # however slow we are, it is not done before it hears of the cancel

    def cancelled() -> None:
        for event in engine.render(request, store, cancel, tmp_path / "no.mp4", resume=tmp_path / "long"):
            seen.append(event)
            cancel.cancel()

    with pytest.raises(Cancelled):
        cancelled()
    assert not steps_of(seen) or steps_of(seen)[-1] <= HELD_AT
    (tmp_path / HOLD).unlink()
    assert not (tmp_path / "no.mp4").exists()
    assert isinstance(events_of(engine, store, tmp_path)[-1], Finished)
    assert len(pids(tmp_path)) == 4
    assert len(set(pids(tmp_path))) == 1


def test_a_process_that_dies_is_replaced_and_goes_on_from_the_last_step(
    engine: CardEngine, store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIE_AT, "3")
    events = events_of(engine, store, tmp_path)
    assert isinstance(events[-1], Finished)
    assert steps_of(events) == [0, 1, 2, 3, 3, 4, 5, 6]
    assert len(set(pids(tmp_path))) == 2


def test_a_process_that_dies_each_time_ends_in_a_sentence(
    engine: CardEngine, store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIE_AT, "0")
    with pytest.raises(MachineError) as caught:
        events_of(engine, store, tmp_path)
    assert str(caught.value) == CRASHED
    assert len(set(pids(tmp_path))) == 3


def test_who_leaves_in_the_middle_leaves_no_process_behind(
    engine: CardEngine, store: PictureStore, tmp_path: Path
) -> None:
    request = tiny_request(store, num_inference_steps=200)
    running = engine.render(request, store, CancelToken(), tmp_path / "clip.mp4", resume=tmp_path / "step")
    with closing(running):  # pyright: ignore[reportArgumentType]
        next(iter(running))
        assert psutil.pid_exists(int(pids(tmp_path)[0]))
    assert not psutil.pid_exists(int(pids(tmp_path)[0]))


def test_a_program_that_cannot_be_started_is_said(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(MachineError, match="could not be started"):
        events_of(CardEngine("GPU-a"), store, tmp_path)


# -- the queue ---------------------------------------------------------------------------------------------------------


def until(queue: JobQueue, holds: Callable[[tuple[Job, ...]], bool]) -> tuple[Job, ...]:
    deadline = time.monotonic() + PATIENCE_S
    version = -1
    while time.monotonic() < deadline:
        version = queue.wait(version, 1)
        if holds(jobs := queue.jobs()):
            return jobs
    raise AssertionError([(job.state, job.error) for job in queue.jobs()])


def test_two_cards_render_two_jobs_at_once_and_one_can_be_cancelled_or_killed(
    store: PictureStore, tmp_path: Path, home: Path
) -> None:
    clips = tmp_path / "clips"
    queue = JobQueue(
        lambda: pytest.fail("there are cards"), store, lambda: clips, JobStore(tmp_path / "studio.sqlite3"),
        card_engines=lambda: tuple(partial(CardEngine, card, module=MODULE) for card in ("GPU-a", "GPU-b")),
    )  # fmt: skip
    clips.mkdir()
    (clips / HOLD).touch()  # none is done before the second process has begun
    requests = [tiny_request(store, seed=seed, num_inference_steps=4 * HELD_AT) for seed in range(4)]
    first = queue.submit(requests[0], "Cards", *requests[1:])
    painting = until(queue, lambda jobs: sum(_paints(job) for job in jobs) == 2)
    assert [job.state for job in painting] == [JobState.running] * 2 + [JobState.waiting] * 2
    assert queue.cancel(first.id)
    begun = [line.split() for line in (clips / "seen.txt").read_text().splitlines()]
    second = next(int(pid) for _, pid, name in begun if painting[1].out and name == painting[1].out.name)
    os.kill(second, signal.SIGTERM)  # its job goes on in a new process, and the other card does not notice
    (clips / HOLD).unlink()
    jobs = until(queue, lambda jobs: all(job.final for job in jobs))
    assert [job.state for job in jobs] == [JobState.cancelled] + [JobState.done] * 3
    assert all(job.clip is not None and job.clip.path.read_bytes() == b"clip" for job in jobs[1:])
    assert [job.notice for job in jobs[1:]] == [""] * 3  # what a render says is not kept
    seen = [line.split() for line in (clips / "seen.txt").read_text().splitlines()]
    assert {card for card, _, _ in seen} == {"GPU-a", "GPU-b"}
    assert len({pid for _, pid, _ in seen}) == 3
    assert queue.close(PATIENCE_S)
    assert not any(psutil.pid_exists(int(pid)) for _, pid, _ in seen)
    assert not list((home / "unfinished").glob("[!.]*"))  # what the killed one was writing goes at the next start


def _paints(job: Job) -> bool:
    return job.state is JobState.running and job.progress is not None and job.progress.stage == "denoise"
