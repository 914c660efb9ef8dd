"""Conversions and whole installations killed at random moments: every part has its whole content or is not there, the
next one does what is left, and nothing that was fetched or has served is fetched again."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.errors import WeightsError
from engine.weights.components import published_files
from engine.weights.installed import status
from engine.weights.records import CONVERSION_NAME, ConversionRecord, read_conversion
from tests.faults.conftest import Tally
from tests.faults.killing import Killer
from tests.faults.victims import convert, install_published
from tests.unit.published_bundle import Published, contents, published, write_proportioned
from tests.unit.tiny_bundle import write_bundle


def test_killed_conversions_leave_whole_parts_and_are_finished(tmp_path: Path, fault_rounds: int, tally: Tally) -> None:
    source = write_bundle(tmp_path / "bundle")
    killer = Killer(convert)
    steps = killer.run(source, tmp_path / "whole")
    assert steps[-1] == ("done",)
    expected = _files(tmp_path / "whole")
    chance = random.Random(5)
    half = different = 0
    out = tmp_path / "model"
    for _ in range(fault_rounds):
        for _ in range(chance.choice((1, 1, 2))):
            killer.run(source, out, kill_at=chance.randrange(len(steps)), after_s=chance.random() * 0.01)
            found = _files(out)
            half += sum(expected.get(name) != data for name, data in found.items() if name != CONVERSION_NAME)
            assert not _record(out).complete or found.keys() == expected.keys()
        assert killer.run(source, out)[-1] == ("done",)
        different += _files(out) != expected
        assert not list(out.glob(".*"))
        tally.rounds += 1
        shutil.rmtree(out)
    tally.half_files += half
    tally.different_after_resume += different
    assert (half, different) == (0, 0)


def test_killed_installations_lose_nothing_and_leave_only_the_model(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, fault_rounds: int, tally: Tally
) -> None:
    bundle = write_proportioned(tmp_path / "bundle")
    chance = random.Random(7)
    with published(bundle, home, monkeypatch) as lumosx:
        install = Killer(install_published)
        steps = install.run(home, lumosx.hub.address)
        assert steps[-1] == ("done",)
        expected = _files(lumosx.model)
        for _ in range(fault_rounds):
            shutil.rmtree(home / "models")
            safe: set[str] = set()
            for _ in range(chance.choice((1, 2, 3))):
                _kill_once(install, lumosx, steps, chance)
                found = _files(lumosx.model)
                tally.half_files += sum(expected[name] != data for name, data in found.items() if name in expected)
                assert found.keys() <= expected.keys()
                assert not safe & lumosx.asked()
                safe |= _safe(lumosx)
            lumosx.hub.requests.clear()
            assert install.run(home, lumosx.hub.address)[-1] == ("done",)
            assert not safe & lumosx.asked()
            tally.different_after_resume += _files(lumosx.model) != expected
            assert _record(lumosx.model).complete
            assert status("lumosx").problem == ""
            assert not lumosx.downloads.exists()
            assert not list(lumosx.model.glob(".*"))
            tally.rounds += 1
    assert (tally.half_files, tally.different_after_resume) == (0, 0)


def _kill_once(install: Killer, lumosx: Published, steps: list[Any], chance: random.Random) -> None:
    """Kill it anywhere, or where a component ends: it is then renamed and recorded, and what it was made of deleted."""
    ends = [at for at in range(1, len(steps)) if steps[at - 1][0] != steps[at][0]]
    kill_at = chance.choice(ends) if chance.random() < 0.6 else chance.randrange(len(steps))
    lumosx.hub.requests.clear()
    install.run(lumosx.home, lumosx.hub.address, kill_at=kill_at, after_s=chance.random() * 0.03)


def _safe(lumosx: Published) -> set[str]:
    """Published files that nobody may ask for again: they have arrived, or have served."""
    bundle = contents(lumosx.bundle)
    done = _record(lumosx.model).components
    left = published_files({"tokenizer", "vae", "transformer", "text_encoder", "model_index.json"} - done.keys())
    arrived = {name for name, body in contents(lumosx.downloads).items() if bundle.get(name) == body}
    return arrived | {name for name in bundle if not name.startswith(tuple(left))}


def _files(folder: Path) -> dict[str, bytes]:
    """What lies in a model folder under names that count, but for the record of an installation: it says when files
    came."""
    found = contents(folder).items()
    kept = {name: body for name, body in found if not name.startswith(".")}
    if _record(folder).revision:
        kept.pop(CONVERSION_NAME, None)
    return kept


def _record(out: Path) -> ConversionRecord:
    try:
        return read_conversion(out)
    except WeightsError:
        return ConversionRecord(complete=False, components={})
