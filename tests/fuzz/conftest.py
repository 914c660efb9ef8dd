"""One report of all parsers, shown before pytest's closing line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from tests.fuzz.harness import Report, Target, Trial

_REPORT = Report()
_STRUCTURE_SHARE = 10
"""One input in so many is made by hypothesis, which takes its time for each; the others are changed seeds."""

Fuzz = Callable[[Target, SearchStrategy[bytes]], None]


@pytest.fixture
def fuzz(fuzz_rounds: int, tmp_path: Path, request: pytest.FixtureRequest) -> Fuzz:
    """Try a parser with `fuzz_rounds` inputs: changed seeds, and what a strategy makes."""
    failures = Path(str(request.config.rootpath)) / "out" / "fuzz"

    def run(target: Target, structure: SearchStrategy[bytes]) -> None:
        trial = Trial(target, tmp_path / "trial", failures, _REPORT)
        made = max(fuzz_rounds // _STRUCTURE_SHARE, 1)
        trial.mutate(max(fuzz_rounds - made, 1))
        with trial.feeding() as feed:
            options = settings(
                max_examples=made,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
            )
            options(given(structure)(feed))()

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many inputs each parser got."""
    if _REPORT.counts:
        terminalreporter.section("inputs for each parser of foreign bytes")
        for line in _REPORT.lines():
            terminalreporter.write_line(line)
