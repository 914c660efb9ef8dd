"""Hundreds of renders and cancels by the real engine in one process: nothing grows, nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.browser.serving import ROOT, environment
from tests.soak.figures import FIFTY_KB, Sample, complaints, growth_to_fifty
from tests.unit.tiny_studio import install_tiny_model


def test_the_engine_does_not_wear_out(
    soak_rounds: int, tmp_path: Path, tell: Callable[[str, Sequence[Sample]], None]
) -> None:
    install_tiny_model(tmp_path / "assets")
    (tmp_path / "temporary").mkdir()
    process = subprocess.run(
        [sys.executable, "-m", "tests.soak.engine_day", str(tmp_path / "assets"), str(soak_rounds)],
        cwd=ROOT, env={**environment(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    samples = [Sample(**json.loads(line)) for line in process.stdout.splitlines()]
    assert len(samples) == soak_rounds
    tell("engine", samples)
    assert complaints(samples) == []
    # Each size has been there among the first: after fifty jobs the process is no larger than after five.
    assert (growth_to_fifty(samples) or 0) <= FIFTY_KB
    assert list(os.scandir(tmp_path / "home" / "clips")) == []
