"""Presets whose saving and deleting is killed at random moments: each is the old one, the new one or gone, as a whole
always."""

from __future__ import annotations

import random
from pathlib import Path

from engine.files import remove_leftovers
from engine.pictures import PictureStore
from studio.library import Library
from tests.faults.conftest import Tally
from tests.faults.killing import Killer
from tests.faults.victims import edit_presets
from tests.unit.tiny_studio import tiny_scene


def test_killed_saves_leave_a_whole_preset_and_nothing_beside_it(
    home: Path, tmp_path: Path, fault_rounds: int, tally: Tally
) -> None:
    killer = Killer(edit_presets)
    chance = random.Random(9)
    library = Library(PictureStore(tmp_path / "pictures"), lambda: home / "presets")
    coats = PictureStore(tmp_path / "coats")
    lost = half = 0
    for _ in range(fault_rounds):
        said = killer.run(home, kill_at=chance.randrange(1, 20), after_s=chance.random() * 0.02)
        entries = [entry for entry in library.presets() if entry.own]
        half += sum(entry.error is not None for entry in entries)
        (what, number) = said[-1]
        # what was said is done; of what came next either all or nothing
        may_be = {number} if what == "saved" else {None}
        may_be.add(None if (number + 1) % 5 == 0 else number + 1)
        found = [_coat(library, entry.name) for entry in entries] or [None]
        lost += len(found) != 1 or found[0] not in [_coat_of(coats, one) for one in may_be]
        remove_leftovers(home, below=True)
        hidden = [path for path in home.rglob("*") if path.name.startswith(".")]
        assert not hidden, hidden
        tally.rounds += 1
    tally.jobs_lost += lost
    tally.half_files += half
    assert (lost, half) == (0, 0)


def _coat(library: Library, name: str) -> str:
    return library.open_preset(name).scene.subjects[0].attributes[0].image


def _coat_of(store: PictureStore, number: int | None) -> str | None:
    return None if number is None else tiny_scene(store, 10 + number).subjects[0].attributes[0].image
