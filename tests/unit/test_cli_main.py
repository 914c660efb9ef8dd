"""Exit codes, and what is said with them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cli.commands import test as test_command
from engine.cli.main import guarded, main
from engine.errors import Cancelled, InputError

ROOT = Path(__file__).resolve().parents[2]


def raiser(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("There is no such folder: name\n another one."), 2, "There is no such folder: name another one.\n"),
        (Cancelled("stopped"), 130, "Cancelled.\n"),
        (KeyboardInterrupt(), 130, "Cancelled.\n"),
        (OSError(errno.ENOSPC, "x", "/a/clip.mp4"), 2, "The disk is full (/a/clip.mp4); make room and try again.\n"),
        (OSError(errno.EROFS, "x"), 2, "This place cannot be written to; choose another one.\n"),
    ],
)
def test_what_a_user_can_do_is_one_sentence(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(raiser(error)) == code
    assert capsys.readouterr().err == words


@pytest.mark.parametrize(
    "error", [ValueError("a fault"), FileNotFoundError(errno.ENOENT, "a fault"), AssertionError("a fault")]
)
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raiser(error)) == 1
    errors = capsys.readouterr().err
    assert "Traceback" in errors
    assert "a fault" in errors


def test_the_code_of_the_work_is_passed_on() -> None:
    assert guarded(lambda: 1) == 1
    assert guarded(lambda: 0) == 0


def test_sigterm_is_a_cancellation_and_its_handler_goes_again() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work() -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    assert guarded(work) == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_without_a_command_the_studio_is_started(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Namespace] = []

    def studio(args: Namespace) -> int:
        seen.append(args)
        return 0

    assert main(["--port", "8001"], studio=studio) == 0
    assert seen[0].port == 8001
    assert main([]) == 2
    assert "launcher.py" in capsys.readouterr().err


def test_help_and_wrong_usage_return_instead_of_leaving(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert main(["rendr"]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_reader_that_goes_away_is_no_fault() -> None:
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from engine.cli.main import guarded; sys.exit(guarded(lambda: print('x') or 0))",
        ],
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert run.returncode == 130
    assert run.stderr == ""


def test_the_command_line_loads_neither_torch_nor_gradio_nor_numpy() -> None:
    code = (
        "import sys, engine.cli.main, engine.cli.parser, engine.cli.environment\n"
        "print({'torch', 'gradio', 'numpy', 'PIL'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "set()\n"


def make_tests(root: Path, **bodies: str) -> Path:
    for name, body in bodies.items():
        folder = root / "tests" / name
        folder.mkdir(parents=True)
        (folder / f"test_{name}_group.py").write_text(body)
    (root / "conftest.py").write_text("def pytest_addoption(parser): parser.addoption('--rounds')\n")
    return root


@pytest.mark.parametrize(("body", "code"), [("def test_it(): pass", 0), ("def test_it(): assert False", 1)])
def test_the_tests_decide_the_code_and_close_with_pytests_line(
    body: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = make_tests(tmp_path, unit=body)
    monkeypatch.setattr(test_command, "project_root", lambda: root)
    assert main(["test", "unit", "--", "-p", "no:cacheprovider"]) == code
    last = capfd.readouterr().out.rstrip().splitlines()[-1]
    assert ("1 passed" if code == 0 else "1 failed") in last


def test_a_group_that_finds_nothing_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = make_tests(tmp_path, unit="")
    monkeypatch.setattr(test_command, "project_root", lambda: root)
    assert main(["test", "unit"]) == 2
    assert "No test was found" in capfd.readouterr().err
    assert main(["test"]) == 2
    assert "There is no folder tests/parity" in capfd.readouterr().err


def test_all_groups_run_in_one_go(tmp_path: Path) -> None:
    root = make_tests(tmp_path, unit="", parity="", property="", browser="", faults="")
    groups = ["tests/unit", "tests/parity", "tests/property", "tests/browser", "tests/faults"]
    assert test_command.folders(root, None) == groups
    assert test_command.folders(root, "faults") == ["tests/faults"]


def test_all_groups_run_side_by_side_and_close_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    body = "import os\ndef test_it(): assert os.environ['PYTEST_XDIST_WORKER_COUNT'] == '2'\n"
    root = make_tests(tmp_path, unit=body, parity=body, property=body, browser=body, faults=body)
    monkeypatch.setattr(test_command, "project_root", lambda: root)
    assert main(["test", "--", "-p", "no:cacheprovider"]) == 0
    assert "5 passed" in capfd.readouterr().out.rstrip().splitlines()[-1]


@pytest.mark.parametrize(("asked", "seen"), [(["--rounds", "7"], "'7'"), ([], "None")])
def test_a_long_group_runs_by_its_name_and_gets_its_rounds(
    asked: list[str], seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    body = f"def test_it(pytestconfig): assert pytestconfig.getoption('--rounds') == {seen}"
    root = make_tests(tmp_path, fuzz=body)
    monkeypatch.setattr(test_command, "project_root", lambda: root)
    assert main(["test", "fuzz", *asked, "--", "-p", "no:cacheprovider"]) == 0
    assert "1 passed" in capfd.readouterr().out.rstrip().splitlines()[-1]
    assert main(["test", "soak"]) == 2
    assert "There is no folder tests/soak" in capfd.readouterr().err
