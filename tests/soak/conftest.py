"""The figures of all soak tests, as one line of JSON before pytest's closing line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import psutil
import pytest

from tests.soak.figures import Sample, summary

_FIGURES = pytest.StashKey[dict[str, object]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what this system cannot count."""
    if not hasattr(psutil.Process, "num_fds"):
        for item in items:
            item.add_marker(pytest.mark.skip(reason="this system does not count a process's open files"))


@pytest.fixture
def tell(pytestconfig: pytest.Config) -> Callable[[str, Sequence[Sample]], None]:
    """Keep the figures of one run, under its name, for the end."""
    figures = pytestconfig.stash.setdefault(_FIGURES, {})

    def keep(name: str, samples: Sequence[Sample]) -> None:
        figures[name] = summary(samples)

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print them."""
    figures = config.stash.get(_FIGURES, {})
    if figures:
        terminalreporter.write_line(json.dumps({"soak": figures}))
