"""What fault tests share: what they count together, told in one line of JSON at the end, and a queue at work."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.paths import clips_dir, jobs_file
from tests.patience import PATIENCE_S
from tests.unit.tiny_studio import install_tiny_model, use_assets

if TYPE_CHECKING:
    from tests.faults.work import Work


@dataclass
class Tally:
    """Rounds in which a process was killed, and what should never be found after one."""

    rounds: int = 0
    jobs_lost: int = 0
    half_files: int = 0
    different_after_resume: int = 0


_TALLY = pytest.StashKey[Tally]()
_TALLY_NAME = "faults_tally"


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """The figures of the whole run; every test adds its own."""
    return pytestconfig.stash.setdefault(_TALLY, Tally())


@pytest.fixture
def work(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally) -> Iterator[Work]:
    """A queue at work in the data folder `home`; at its end nothing may be broken there."""
    from tests.faults.work import Work

    monkeypatch.setattr("studio.jobs._PAUSES_S", (0.5,))
    install_tiny_model(tmp_path / "assets")
    use_assets(monkeypatch, tmp_path / "assets")
    work = Work(tally)
    yield work
    work.let_end()
    assert work.queue.close(PATIENCE_S)
    with closing(sqlite3.connect(jobs_file())) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not [path for path in clips_dir().iterdir() if path.name.startswith(".")]


class FromOtherProcesses:
    """Adds up what the tests of other processes counted, where tests run side by side."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Called when such a process is done."""
        found: dict[str, int] = getattr(node, "workeroutput", {}).get(_TALLY_NAME, {})
        if found:
            tally = node.config.stash.setdefault(_TALLY, Tally())
            for name, count in found.items():
                setattr(tally, name, getattr(tally, name) + count)


def pytest_configure(config: pytest.Config) -> None:
    """Listen to other processes."""
    config.pluginmanager.register(FromOtherProcesses())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand on what was counted, where this is such another process."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None and _TALLY in session.config.stash:
        output[_TALLY_NAME] = asdict(session.config.stash[_TALLY])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell the figures directly before pytest's closing line."""
    if _TALLY in config.stash:
        terminalreporter.write_line(json.dumps(asdict(config.stash[_TALLY])))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Tell them once more as the very last line, where that was asked for."""
    if _TALLY in config.stash and config.getoption("--figures-last"):
        print(json.dumps(asdict(config.stash[_TALLY])), flush=True)
