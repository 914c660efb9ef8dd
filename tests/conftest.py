"""What all tests share: a data home of their own, no network, few threads."""

from __future__ import annotations

import os
import signal

# Before anything imports torch, a tokenizer or gradio. Two threads on tiny tensors cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from engine.cli.parser import SHORT_FAULT_ROUNDS

ROOT = Path(__file__).resolve().parents[1]

# Whoever starts the tests in the background may have made them deaf to Ctrl+C, and with them all they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Slow machines are no failure, and the same examples everywhere: what fails once fails again.
settings.register_profile(
    "project", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the command line say how long faults are provoked."""
    parser.addoption(
        "--fault-rounds", type=int, default=SHORT_FAULT_ROUNDS, metavar="N", help="rounds of the tests in tests/faults"
    )


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data home that only this test has."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("LUMOSX_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded material beside the project; skips where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"the recorded material is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def fault_rounds(request: pytest.FixtureRequest) -> int:
    """How often each fault is provoked."""
    rounds: object = request.config.getoption("--fault-rounds")
    assert isinstance(rounds, int)
    return rounds
