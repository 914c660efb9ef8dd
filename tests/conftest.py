"""What all tests share: a data home of their own, no network, few threads."""

from __future__ import annotations

import os
import signal

# Before anything imports torch, a tokenizer or gradio. Two threads on tiny tensors cost more than they bring, and MKL
# then adds up the products of a few rows in another order: what has to be equal bit for bit would differ in the last.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from engine.cli.parser import DEFAULT_ROUNDS

ROOT = Path(__file__).resolve().parents[1]

# Whoever starts the tests in the background may have made them deaf to Ctrl+C, and with them all they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Slow machines are no failure, and the same examples everywhere: what fails once fails again.
settings.register_profile(
    "project", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the command line say how long the tests that go in rounds run."""
    parser.addoption("--rounds", type=int, metavar="N", help=f"rounds of the tests in {', '.join(DEFAULT_ROUNDS)}")
    parser.addoption("--figures-last", action="store_true", help="tell the figures of faults behind the closing line")


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
def fault_rounds(pytestconfig: pytest.Config) -> int:
    """How often each fault is provoked."""
    return _rounds(pytestconfig, "faults")


@pytest.fixture(scope="session")
def fuzz_rounds(pytestconfig: pytest.Config) -> int:
    """How many inputs each parser gets."""
    return _rounds(pytestconfig, "fuzz")


@pytest.fixture(scope="session")
def soak_rounds(pytestconfig: pytest.Config) -> int:
    """How often the studio goes through its day."""
    return _rounds(pytestconfig, "soak")


def _rounds(config: pytest.Config, group: str) -> int:
    asked: object = config.getoption("--rounds")
    return asked if isinstance(asked, int) else DEFAULT_ROUNDS[group]
