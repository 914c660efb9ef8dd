"""Do the tests notice what they are there for? Faults are put into a copy of the program, and tests have to fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli.requirements import project_root
from tests.mutations.mutants import MUTANTS, Mutant

PARTS = ("engine", "studio", "assets", "presets", "tests", "launcher.py", "pyproject.toml")
TESTS_FAILED = 1
"""pytest's exit code."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    for part in PARTS:
        source = project_root() / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    return folder


@pytest.fixture
def broken(copy: Path, request: pytest.FixtureRequest) -> Iterator[Mutant]:
    mutant: Mutant = request.param
    path = copy / mutant.path
    text = path.read_text(encoding="utf-8")
    assert text.count(mutant.before) == 1, f"{mutant.path} has changed: put the fault “{mutant.name}” in anew"
    path.write_text(text.replace(mutant.before, mutant.after), encoding="utf-8")
    yield mutant
    path.write_text(text, encoding="utf-8")


def run(copy: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=600)


def test_without_a_fault_they_pass(copy: Path) -> None:
    tests = tuple(sorted({test for mutant in MUTANTS for test in mutant.caught_by}))
    done = run(copy, tests)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("broken", MUTANTS, indirect=True, ids=[mutant.name for mutant in MUTANTS])
def test_it_is_caught(copy: Path, broken: Mutant) -> None:
    for test in broken.caught_by:
        done = run(copy, (test,))
        assert done.returncode == TESTS_FAILED, f"{test} does not notice: {done.stdout[-2000:]}{done.stderr[-2000:]}"
