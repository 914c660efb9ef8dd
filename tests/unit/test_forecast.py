"""What a render will take, told before the click: operations counted, paces kept, budgets supposed."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.bench.gpu import FullSize, operations_of_pass
from engine.cli.main import main
from engine.engines import engine_info, resolve_settings
from engine.errors import InputError, MachineError
from engine.memory import machine
from engine.memory.forecast import forecast, time_in_words
from engine.memory.pace import REMEMBERED, Pace, PaceBook, operations_of_step, seconds_of
from engine.memory.plan import Budget, Way, Work
from engine.memory.profiles import Limits, limits_in_gb, work_of
from engine.memory.sizes import PUBLISHED
from engine.paths import pace_file
from engine.pictures import PictureStore
from engine.runtime import Engine
from studio import forecast as studio_forecast
from studio.costs import cost_answer
from tests.unit.test_runtime import render
from tests.unit.tiny_studio import tiny_request

GB = 10**9
PACE = Pace(operations_per_s=1e12, pixels_per_s=1e6)


@pytest.mark.parametrize("groups", [(), (3,), (3, 3, 2)])
def test_operations_are_those_that_torch_counts(groups: tuple[int, ...]) -> None:
    work = Work(width=832, height=480, num_frames=81, references=sum(groups), passes=1)
    counted = operations_of_pass(FullSize(groups=groups))
    assert operations_of_step(PUBLISHED, work) == pytest.approx(counted, rel=0.01)
    assert operations_of_step(PUBLISHED, dataclasses.replace(work, passes=2)) == 2 * operations_of_step(PUBLISHED, work)


def test_a_pass_without_segments_takes_what_plain_attention_takes_for_every_seed() -> None:
    work = Work(width=832, height=480, num_frames=81, references=8, passes=1)
    alone = dataclasses.replace(work, unrelated=1)
    # References as further frames of the video: the same tokens, all of which see one another.
    frames = dataclasses.replace(work, num_frames=81 + 8 * 4, references=0)
    assert operations_of_step(PUBLISHED, alone) == operations_of_step(PUBLISHED, frames)
    assert operations_of_step(PUBLISHED, alone) > operations_of_step(PUBLISHED, work)
    four = dataclasses.replace(alone, copies=4)
    assert operations_of_step(PUBLISHED, four) == 4 * operations_of_step(PUBLISHED, alone)
    both = dataclasses.replace(four, passes=2)
    shared = dataclasses.replace(four, unrelated=0)
    assert operations_of_step(PUBLISHED, both) == sum(operations_of_step(PUBLISHED, each) for each in (four, shared))


def test_the_settings_say_how_many_passes_there_are() -> None:
    def passes(references: int, **settings: Any) -> tuple[float, float]:
        work = work_of(resolve_settings("lumosx", **settings), references)
        return work.passes, work.unrelated

    assert passes(3) == (2, 0)
    assert passes(3, relation_guidance=1.5) == (3, 1)
    assert passes(3, relation_guidance=1.5, guided_share=0.5, guidance_scale=1.0) == (1.5, 0.5)
    assert passes(0, relation_guidance=1.5) == (2, 0)
    assert passes(3, relation_guidance=1.5, relational_self_attention=False) == (2, 0)


def test_the_time_is_that_of_steps_and_pixels() -> None:
    work = Work(width=832, height=480, num_frames=81, references=8, steps=10)
    step = operations_of_step(PUBLISHED, work) / 1e12
    assert seconds_of(PUBLISHED, work, PACE) == pytest.approx(10 * step + 832 * 480 * 81 / 1e6)


def test_a_pace_is_kept_by_engine_device_and_placement(tmp_path: Path) -> None:
    book = PaceBook(tmp_path / "home" / "pace.json")
    assert book.known("nano", "cpu", Way()) is None
    book.note("nano", "cpu", Way(), PACE)
    book.note("nano", "cuda", Way(network="streamed"), dataclasses.replace(PACE, operations_per_s=2e12))
    assert book.known("nano", "cpu", Way(tiled=True)) == PACE
    assert book.known("nano", "cuda", Way()) is None
    assert book.known("lumosx", "cpu", Way()) is None


def test_a_render_that_shared_the_machine_does_not_spoil_the_forecast(tmp_path: Path) -> None:
    book = PaceBook(tmp_path / "pace.json")
    for share in (1.0, 0.9, 0.02, 1.1, 1.0):
        book.note("nano", "cpu", Way(), dataclasses.replace(PACE, operations_per_s=share * PACE.operations_per_s))
    assert book.known("nano", "cpu", Way()) == PACE
    for _ in range(REMEMBERED):  # a new machine is known after a few renders
        book.note("nano", "cpu", Way(), dataclasses.replace(PACE, operations_per_s=5e12))
    found = book.known("nano", "cpu", Way())
    assert found is not None
    assert found.operations_per_s == 5e12


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"nano on cpu, resident": 3}', '{"nano on cpu, resident": [{"a": 1}, 2]}']
)
def test_a_damaged_book_knows_nothing_and_is_written_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pace.json"
    path.write_text(text)
    book = PaceBook(path)
    assert book.known("nano", "cpu", Way()) is None
    book.note("nano", "cpu", Way(), PACE)
    assert book.known("nano", "cpu", Way()) == PACE
    assert json.loads(path.read_text())


def test_a_book_that_cannot_be_written_costs_nothing_but_knowledge(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    book = PaceBook(tmp_path / "file" / "pace.json")
    book.note("nano", "cpu", Way(), PACE)
    assert book.known("nano", "cpu", Way()) is None


def test_the_first_render_is_honest_and_the_second_is_foretold(
    tiny_model: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PictureStore(tmp_path / "pictures")
    request = tiny_request(store)

    def told() -> float | None:
        return forecast(request.settings, 3, Budget(ram_bytes=8 * GB), "cpu", PaceBook(pace_file())).seconds

    assert told() is None
    render(tiny_request(store, num_inference_steps=1), store, tmp_path / "one.mp4", Engine())
    assert told() is None  # a single step may only have been warming up
    render(request, store, tmp_path / "clip.mp4", Engine())
    seconds = told()
    assert seconds is not None
    assert 0 < seconds < 600


def test_limits_are_kept_on_a_render_and_believed_in_a_forecast() -> None:
    free = Budget(ram_bytes=20 * GB, card_bytes=12 * GB)
    limits = limits_in_gb(8, 24)
    assert limits.within(free) == Budget(ram_bytes=8 * GB, card_bytes=12 * GB)
    assert limits.supposed(free) == Budget(ram_bytes=8 * GB, card_bytes=24 * GB)
    assert Limits().within(free) == free == Limits().supposed(free)
    assert limits.supposed(Budget(ram_bytes=GB)).card_bytes == 24 * GB
    with pytest.raises(MachineError, match="leave --vram out"):
        limits.within(Budget(ram_bytes=GB))


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, "not known yet"), (0.2, "1 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 hours")]
)
def test_a_time_is_told_no_more_exactly_than_it_is_known(seconds: float | None, words: str) -> None:
    assert words in time_in_words(seconds)


def dry_run(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main(["render", "01-two-friends-in-the-park", "--dry-run", "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)["forecast"]


def test_a_dry_run_tells_the_plan_of_any_machine(capsys: pytest.CaptureFixture[str]) -> None:
    here = dry_run(capsys)
    assert here["ram_bytes"] > 0
    assert [peak["stage"] for peak in here["peaks"]] == ["prompt", "references", "denoise", "decode"]
    small = forecast(
        engine_info("lumosx").defaults,
        5,
        Budget(ram_bytes=12 * GB, card_bytes=4 * GB),
        "cuda",
        PaceBook(pace_file()),
    )
    assert small.plan.way.network == "streamed"
    assert any("block by block" in line for line in small.words())


def test_a_dry_run_for_a_card_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    told = dry_run(capsys, "--vram", "2", "--ram", "6")
    assert 0 < told["card_bytes"] <= 2 * GB
    assert told["seconds"] is None
    assert main(["render", "01-two-friends-in-the-park", "--dry-run", "--ram", "0.3"]) == 2
    assert "needs at least" in capsys.readouterr().err
    assert main(["render", "01-two-friends-in-the-park", "--dry-run", "--vram", "2"]) == 0
    assert "of graphics memory" in capsys.readouterr().out


def test_doctor_judges_a_machine_with_other_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--ram", "0.3"]) == 0
    assert "needs at least" in capsys.readouterr().out


def settings(**changes: Any) -> dict[str, Any]:
    one = engine_info("nano").defaults
    return {
        "engine": "nano", "width": one.width, "height": one.height, "num_frames": one.num_frames,
        "num_inference_steps": one.num_inference_steps, "seed": None, **changes,
    }  # fmt: skip


def test_the_page_is_told_before_the_click(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio_forecast, "free_here", lambda _lent: (Budget(ram_bytes=8 * GB), "cpu"))
    answer = studio_forecast.answer_forecast({"settings": settings(), "references": 4})
    assert answer["fits"]
    assert "not known yet" in answer["text"]
    assert "GB of memory at most" in answer["text"]
    assert answer["details"]
    assert "A draft" not in answer["text"]
    draft = studio_forecast.answer_forecast({"settings": settings(step_cache=0.1), "references": 4})["text"]
    assert draft == f"{answer['text']} A draft: steps that change less than 0.1 are taken over."
    PaceBook(pace_file()).note("nano", "cpu", Way(), PACE)
    assert "It takes about 1 s" in studio_forecast.answer_forecast({"settings": settings(), "references": 4})["text"]
    monkeypatch.setattr(studio_forecast, "free_here", lambda _lent: (Budget(ram_bytes=GB // 4), "cpu"))
    refused = studio_forecast.answer_forecast({"settings": settings(), "references": 4})
    assert not refused["fits"]
    assert "needs at least" in refused["text"]
    for bad in ({}, {"settings": settings()}, {"settings": settings(), "references": -1}):
        with pytest.raises(InputError):
            studio_forecast.answer_forecast(bad)


def test_cards_are_found_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    monkeypatch.setattr(machine.shutil, "which", lambda _: str(driver))
    driver.write_text(f"#!{sys.executable}\nprint('24000, 20000, A card, large')\n")
    driver.chmod(0o755)
    (card,) = machine.cards_without_torch()
    assert (card.kind, card.name) == ("cuda", "A card, large")
    assert (card.memory_bytes, card.free_bytes) == (24000 * 2**20, 20000 * 2**20)
    driver.write_text(f"#!{sys.executable}\nprint('no card')\n")
    assert machine.cards_without_torch() == ()
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    assert machine.cards_without_torch() == ()
    assert studio_forecast.free_here()[0].ram_bytes > 0


def test_the_board_says_in_seconds_what_pictures_cost_once_the_pace_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path))
    chosen = {"engine": "nano", "width": 128, "height": 96, "num_frames": 25, "num_inference_steps": 20}
    message = {"do": "cost", "references": 4, "settings": chosen}
    assert re.search(r"about \d+ % longer .* adds about \d+ % and", cost_answer(message)["text"])
    free, device = studio_forecast.free_here()
    settings = resolve_settings("nano")
    told = forecast(settings, 4, free, device, PaceBook(pace_file()))
    PaceBook(pace_file()).note("nano", device, told.plan.way, PACE)
    with_four = forecast(settings, 4, free, device, PaceBook(pace_file())).seconds
    without = forecast(settings, 0, free, device, PaceBook(pace_file())).seconds
    assert with_four is not None
    assert without is not None
    assert f"about {with_four - without:.1f} s longer" in cost_answer(message)["text"]
    for _ in range(2):  # the slower one is the usual one then
        PaceBook(pace_file()).note("nano", device, told.plan.way, dataclasses.replace(PACE, operations_per_s=1e9))
    assert re.search(r"about \d+ min longer", cost_answer(message)["text"])
    refused = cost_answer(message | {"settings": chosen | {"num_inference_steps": 0}})
    assert refused == {"text": ""}
