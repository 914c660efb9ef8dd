"""All recorded cases of the published code, through the command's own runner."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from engine.parity.folder import RecordedFolder
from engine.parity.runner import RUNNERS, _run_kind

REFERENCE = Path(__file__).resolve().parents[2].parent / "shared" / "reference"

pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the recorded numbers of the published code are not here")


@pytest.mark.parametrize("kind", sorted(RUNNERS))
def test_recorded_cases(kind: str, tmp_path: Path) -> None:
    outcomes = list(_run_kind(kind, RUNNERS[kind], RecordedFolder(REFERENCE, tmp_path)))
    assert outcomes
    assert [outcome for outcome in outcomes if not outcome.passed] == []
    assert all(outcome.error is not None for outcome in outcomes)


def test_written_results_carry_the_recorded_names(tmp_path: Path) -> None:
    for kind in ("sampler", "layout"):
        list(_run_kind(kind, RUNNERS[kind], RecordedFolder(REFERENCE, tmp_path)))
    written = load_file(tmp_path / "sampler" / "cases.safetensors")
    assert {name.split(".")[1] for name in written} == {"sigmas", "timesteps", "final"}
    assert (tmp_path / "layout" / "layout.json").is_file()
