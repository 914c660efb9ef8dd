"""What all fault tests count together, told in one line of JSON at the end."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import pytest


@dataclass
class Tally:
    """Rounds in which a process was killed, and what should never be found after one."""

    rounds: int = 0
    jobs_lost: int = 0
    half_files: int = 0
    different_after_resume: int = 0


_TALLY = pytest.StashKey[Tally]()


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """The figures of the whole run; every test adds its own."""
    return pytestconfig.stash.setdefault(_TALLY, Tally())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell the figures directly before pytest's closing line."""
    if _TALLY in config.stash:
        terminalreporter.write_line(json.dumps(asdict(config.stash[_TALLY])))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Tell them once more as the very last line, where that was asked for."""
    if _TALLY in config.stash and config.getoption("--figures-last"):
        print(json.dumps(asdict(config.stash[_TALLY])), flush=True)
