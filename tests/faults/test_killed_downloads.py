"""Downloads killed at random moments over a hub that breaks connections: what has arrived counts, nothing half is
used."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from engine import weights
from engine.weights.installed import model_folder
from tests.faults.conftest import Tally
from tests.small_catalogue import CUTTER, DETECTOR
from tests.unit.test_weights_install import FACES, NETWORK, SAM, SMALL_DETECTOR, small_hub, started

if not hasattr(signal, "SIGKILL"):
    pytest.skip("this system has no SIGKILL", allow_module_level=True)

WHOLE = {SAM: (CUTTER, NETWORK), FACES: (DETECTOR, SMALL_DETECTOR)}
LONGEST_S = 1.5


def test_killed_downloads_go_on_and_end_whole(
    home: Path, monkeypatch: pytest.MonkeyPatch, fault_rounds: int, tally: Tally
) -> None:
    chance = random.Random(20)
    with small_hub(home, monkeypatch) as hub:
        for number in range(fault_rounds):
            hub.break_after, hub.pause_s = 150_000, 0.02
            name = (SAM, FACES)[number % 2]
            errand: dict[str, Any] = {"do": "install", "name": name, "accepted": True}
            file, content = WHOLE[name]
            target = model_folder(name) / file
            with started(errand) as process:
                killed = _kill_after(process, chance.uniform(0.2, LONGEST_S))
            tally.rounds += 1
            # under its own name there is the whole file or none
            tally.half_files += target.exists() and target.read_bytes() != content
            if killed and not target.exists():
                assert weights.status(name).problem != ""
            before = _arrived(home)
            hub.requests.clear()
            hub.break_after, hub.pause_s = None, 0.0
            with started(errand) as process:
                assert process.stdout is not None
                lines = process.stdout.read()
            assert '"done"' in lines.splitlines()[-1], lines
            assert target.read_bytes() == content
            assert before == 0 or not hub.requests or hub.requests[0][1] == before  # not a byte twice
            assert _arrived(home) == 0
            weights.locate_whole(name)
            weights.remove(name)
    assert tally.half_files == 0


def _kill_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill it after a while, or sooner if it has ended; whether it was killed."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    alive = process.poll() is None
    process.kill()
    process.wait()
    return alive


def _arrived(home: Path) -> int:
    return sum(path.stat().st_size for path in (home / "models").rglob("*.part"))
