"""The loop that is guided by coverage: it finds what chance would not, keeps it, and tells what it reached."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.main import main
from tests.conftest import ROOT
from tests.fuzz.guided import Outcome, as_text, mutator, read_outcome
from tests.fuzz.harness import Target

PARSERS = """
import ctypes

import atheris
from hypothesis import strategies as st
from engine.errors import InputError
from tests.fuzz.harness import Target

@atheris.instrument_func
def planted(data, folder):
    if data[:3] == b"Lux":
        raise KeyError("Nothing but Lux.")

@atheris.instrument_func
def strict(data, folder):
    if data[:3] == b"Lux":
        raise InputError("Nothing but Lux.")

@atheris.instrument_func
def fatal(data, folder):
    if data[:3] == b"Lux":
        ctypes.string_at(0)

def test_planted(fuzz):
    fuzz(Target("a planted fault", planted, [b"hello"]), st.just(b"hello"))

def test_strict(fuzz):
    fuzz(Target("strict", strict, [b"hello"]), st.just(b"hello"))

def test_fatal(fuzz):
    fuzz(Target("fatal", fatal, [b"hello"]), st.just(b"hello"))
"""
ROUNDS = 4000


def run(folder: Path, *options: str) -> tuple[int, list[str]]:
    """A project of three parsers, run as `test fuzz` runs ours: the code and the lines of what was printed."""
    (folder / "test_parsers.py").write_text(PARSERS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_parsers.py", f"--rounds={ROUNDS}", *options],
        cwd=folder,
        env=os.environ | {"PYTEST_PLUGINS": "tests.conftest,tests.fuzz.conftest", "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return ran.returncode, ran.stdout.splitlines()


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_a_planted_fault_is_found_and_kept_and_can_be_tried_again(tmp_path: Path) -> None:
    code, lines = run(tmp_path, "--guided", "--figures-last")
    kept = tmp_path / "out" / "fuzz" / "a-planted-fault-guided.bin"
    fault = "a planted fault, input guided raised KeyError: 'Nothing but Lux.'"
    assert code == 1
    assert f"{fault}; the input: {kept}" in lines
    assert kept.read_bytes().startswith(b"Lux")  # one in sixteen million by chance
    fatal = kept.with_name("fatal-guided.bin")
    assert fatal.read_bytes().startswith(b"Lux")
    assert any(line.startswith("the process ended with code ") for line in lines)
    assert set(kept.parent.iterdir()) == {kept, fatal}
    figures = json.loads(lines[-1])
    assert (figures["guided"], figures["parsers"], figures["findings"]) == (True, 3, 2)
    assert ROUNDS < figures["inputs"] < 3 * ROUNDS  # a fault ends its own parser's run, not the others'

    code, lines = run(tmp_path, "--input", str(kept))
    assert code == 1
    assert any(fault in line for line in lines)
    assert "1 failed, 2 skipped" in lines[-1]


def test_without_atheris_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    assert main(["test", "fuzz", "--guided"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Guided fuzzing needs atheris, which there is for Linux on x86-64 only: “")
    assert f"“{sys.executable} -m pip install atheris==" in said
    assert said.count("\n") == 1


def test_what_was_reached_is_read_from_the_first_and_the_last_line() -> None:
    output = (
        "INFO: seed corpus: files: 3\n#4\tINITED cov: 30 ft: 41 corp: 2/9b\n#9\tNEW    cov: 31 ft: 43 corp: 3/9b\n"
        "#500\tDONE   cov: 35 ft: 60 corp: 9/99b\n"
    )
    assert read_outcome(output, 0, {"inputs": 500, "finding": ""}) == Outcome(500, (30, 35), (41, 60), "")
    assert read_outcome(output, 1, {"inputs": 7, "finding": "it fell"}) == Outcome(7, (30, 35), (41, 60), "it fell")
    died = read_outcome("#4\tINITED cov: 3 ft: 4 corp: 2/9b\nSegmentation fault", -11, {})
    assert died.inputs == 4
    assert died.finding.startswith("the process ended with code -11")
    assert died.finding.endswith("Segmentation fault")
    assert read_outcome("", 0, {}).finding  # nothing told is no success
    assert read_outcome(output, -6, {"inputs": 500, "finding": ""}).finding


@pytest.mark.parametrize("kind", ["bytes", "json", "text"])
def test_changed_inputs_are_libfuzzers_or_of_their_kind_and_no_longer_than_asked(kind: str) -> None:
    seeds = [b'{"a": [1, 2, "three"]}', b'{"b": null}']
    change = mutator(Target("x", lambda data, folder: None, seeds, kind), lambda data, most: b"libFuzzer")
    nested = b"[" * 5000 + b"]" * 5000
    for data in (seeds[0], b"", b"\xff\xfe", b"9" * 5000, nested):
        made = [change(data, 500, number) for number in range(60)]
        assert all(len(one) <= 500 for one in made)
        assert made == [change(data, 500, number) for number in range(60)]
        assert b"libFuzzer" in made
    own = {change(seeds[0], 500, number) for number in range(60)} - {b"libFuzzer"}
    assert len(own) > 10


def test_who_reads_words_is_given_text() -> None:
    rng = random.Random(3)
    for _ in range(200):
        as_text(rng.randbytes(9)).decode("utf-8", "surrogatepass")
    for text in ("", "a man", "男の人", "\ud83d"):
        data = text.encode("utf-8", "surrogatepass")
        assert as_text(data) == data
