"""The launcher on a copy of the project: first start, second start, interruptions, repairs."""

from __future__ import annotations

import ast
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.unit.launcher_tree import ROOT, Tree, kill_group, make_tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses signals and links as POSIX has them")

ALL = ["torch==2.13.0", "paint>=1,<3", "elsewhere==1; sys_platform == 'nowhere'"]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    made = make_tree(tmp_path)
    yield made
    made.release()


def test_the_first_start_installs_torch_first_and_hands_over(tree: Tree, tmp_path: Path) -> None:
    run = tree.run("render", "a scene", "--out", "x.mp4", cwd=tmp_path)
    assert run.code == 7
    assert run.told == {
        "prefix": str(tree.venv),
        "argv": ["render", "a scene", "--out", "x.mp4"],
        "cwd": str(tmp_path),
    }
    assert tree.calls == [["torch==2.13.0"], ALL]
    assert "2.3 GB" in run.errors
    assert "one or two minutes" in run.errors


def test_a_second_start_installs_nothing_and_costs_little(tree: Tree) -> None:
    tree.run("setup")
    calls = tree.calls
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = tree.run("setup")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.told["prefix"] == str(tree.venv)
    assert run.errors == ""
    assert tree.calls == calls
    # Processor time, because the wall clock of a busy machine says nothing; both interpreters are in it.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6


def test_from_within_the_environment_no_further_process_is_made(tree: Tree) -> None:
    tree.run("setup")
    run = subprocess.run(
        [tree.venv / "bin" / "python", tree.root / "launcher.py", "doctor"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 7
    assert str(tree.venv) in run.stdout
    assert tree.times_made == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_start_says_so_and_the_next_one_completes(tree: Tree, number: signal.Signals) -> None:
    tree.hang()
    process = tree.start("setup")
    tree.wait_for("hanging")
    process.send_signal(number)  # to the launcher alone: it has to stop pip
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "Cancelled; the next start goes on from here."
    assert "Traceback" not in errors
    assert not tree.pip_is_running()
    tree.release()
    _completes_from_nothing(tree)


def test_after_a_kill_half_made_things_are_thrown_away(tree: Tree) -> None:
    tree.hang()
    process = tree.start("setup")
    tree.wait_for("hanging")
    kill_group(process, signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    assert list(tree.venv.rglob("half-made"))
    tree.release()
    _completes_from_nothing(tree)


def _completes_from_nothing(tree: Tree) -> None:
    run = tree.run("doctor")
    assert run.code == 7
    assert run.told["prefix"] == str(tree.venv)
    assert tree.times_made == 2
    assert not list(tree.venv.rglob("half-made"))
    assert not (tree.venv / "unfinished").exists()


def test_a_pip_that_outlives_its_launcher_keeps_the_next_one_waiting(tree: Tree) -> None:
    tree.hang()
    process = tree.start("setup")
    tree.wait_for("hanging")
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    assert tree.pip_is_running()
    second = tree.start("doctor")
    assert second.stderr is not None
    assert second.stderr.readline() == "Another launcher is preparing the environment; waiting for it.\n"
    assert tree.times_made == 1
    tree.release()
    second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 7
    assert tree.times_made == 2


def test_two_launchers_at_once_install_once(tree: Tree) -> None:
    tree.hang()
    first = tree.start("setup")
    tree.wait_for("hanging")
    second = tree.start("doctor")
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline()
    tree.release()
    for process in (first, second):
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 7
    assert len(tree.calls) == 2
    assert tree.times_made == 1


def test_without_a_network_one_sentence_and_what_is_there_stays(tree: Tree) -> None:
    (tree.desk / "offline").touch()
    run = tree.run("render", "x", "--out", "y.mp4")
    assert run.code == 2
    assert "Traceback" not in run.errors
    last = run.errors.splitlines()[-1]
    assert "No matching distribution found for torch==2.13.0" in last
    assert "check the network" in last
    (tree.desk / "offline").unlink()
    assert tree.run("doctor").code == 7
    assert tree.times_made == 1  # pip had come to its own end: nothing was half-made


def test_an_index_that_does_not_answer_is_replaced_by_the_ordinary_one(tree: Tree) -> None:
    tree.environment["LUMOSX_TORCH_INDEX"] = "https://wheels.invalid/cpu"
    (tree.desk / "index-offline").touch()
    run = tree.run("doctor")
    assert run.code == 7
    assert "trying pip's ordinary place instead" in run.errors
    index = ["--index-url", "https://wheels.invalid/cpu", "--retries", "1"]
    assert tree.calls == [["torch==2.13.0", *index], ["torch==2.13.0"], ALL]


def test_a_changed_requirement_is_installed_into_what_is_there(tree: Tree) -> None:
    tree.run("setup")
    project = tree.root / "pyproject.toml"
    project.write_text(project.read_text().replace("paint>=1,<3", "paint>=2,<3"))
    assert tree.run("doctor").code == 7
    assert tree.times_made == 1
    assert len(tree.calls) == 3


def test_the_requirements_of_the_tests_come_with_the_tests(tree: Tree) -> None:
    tree.run("doctor")
    assert not any("easel==4.0" in call for call in tree.calls)
    tree.run("test")
    assert tree.calls[-1] == [*ALL, "easel==4.0"]
    calls = tree.calls
    tree.run("doctor")
    tree.run("test", "unit")
    assert tree.calls == calls
    tree.run("bench", "studio")
    assert tree.calls == calls


def test_what_drives_a_browser_comes_with_the_measurement_of_the_page(tree: Tree) -> None:
    tree.run("bench", "network")
    assert not any("easel==4.0" in call for call in tree.calls)
    tree.run("bench", "studio")
    assert tree.calls[-1] == [*ALL, "easel==4.0"]


def test_an_environment_made_by_hand_is_recognised(tree: Tree) -> None:
    tree.run("setup")
    (tree.venv / "ready.json").unlink()
    calls = tree.calls
    assert tree.run("doctor").code == 7
    assert tree.calls == calls
    assert (tree.venv / "ready.json").exists()


def test_an_environment_whose_python_is_gone_is_made_again(tree: Tree) -> None:
    tree.run("setup")
    python = tree.venv / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert tree.run("doctor").code == 7
    assert tree.times_made == 2


def test_a_python_that_changed_below_the_environment_is_noticed(tree: Tree) -> None:
    tree.run("setup")
    ready = tree.venv / "ready.json"
    ready.write_text(ready.read_text().replace(os.path.realpath(tree.venv / "bin" / "python"), "/usr/bin/python3.1"))
    assert tree.run("doctor").code == 7
    assert "/usr/bin/python3.1" not in ready.read_text()


def test_a_file_in_the_way_is_named(tree: Tree) -> None:
    tree.venv.write_text("not a folder")
    run = tree.run("doctor")
    assert run.code == 2
    assert len(run.errors.splitlines()) == 1
    assert str(tree.venv) in run.errors


def test_an_interpreter_that_has_everything_is_used_as_it_is(tree: Tree) -> None:
    (tree.root / "pyproject.toml").write_text(
        '[project]\nrequires-python = ">=3.11"\ndependencies = ["torch==2.13.0", "pytest>=8"]\n'
    )
    run = subprocess.run([sys.executable, tree.root / "launcher.py", "doctor"], capture_output=True, text=True)
    assert run.returncode == 7
    assert not tree.venv.exists()


@pytest.mark.parametrize("arguments", [["--help"], ["render", "--help"], ["rendr"], ["render", "x", "--steps", "many"]])
def test_help_and_wrong_usage_make_no_environment(tree: Tree, arguments: list[str]) -> None:
    run = tree.run(*arguments)
    assert run.code == (0 if "--help" in arguments else 2)
    assert not tree.venv.exists()
    if run.code:
        assert len(run.errors.splitlines()) == 1


def test_old_pythons_can_read_the_launcher_up_to_the_sentence_for_them() -> None:
    source = (ROOT / "launcher.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 7))
    before = tree.body[: next(i for i, node in enumerate(tree.body) if isinstance(node, ast.If))]
    assert all(isinstance(node, ast.Import | ast.Expr) for node in before)
    assert not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
