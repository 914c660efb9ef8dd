"""Conversions killed at random moments: every part has its whole content or is not there, and the next one does what is
left."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from engine.errors import WeightsError
from engine.weights.records import CONVERSION_NAME, read_conversion
from tests.faults.conftest import Tally
from tests.faults.killing import Killer
from tests.faults.victims import convert
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
            assert not _complete(out) or found.keys() == expected.keys()
        assert killer.run(source, out)[-1] == ("done",)
        different += _files(out) != expected
        assert not list(out.glob(".*"))
        tally.rounds += 1
        shutil.rmtree(out)
    tally.half_files += half
    tally.different_after_resume += different
    assert (half, different) == (0, 0)


def _files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder under names that count."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {name.as_posix(): path.read_bytes() for name, path in files.items() if not name.parts[0].startswith(".")}


def _complete(out: Path) -> bool:
    try:
        return read_conversion(out).complete
    except WeightsError:
        return False
