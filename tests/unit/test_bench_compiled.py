"""`bench compiled` with a capture in place of a compiler, which would take minutes."""

from __future__ import annotations

import json

import pytest
import torch

from engine.bench import compiled
from engine.bench.compiled import BUILT_IN, measure_compiled, report
from engine.cli.main import main


def test_every_kind_of_scene_has_its_figures() -> None:
    said: list[str] = []
    figures = measure_compiled(repeats=1, backend="eager", state=said.append)
    assert [one.groups for one in figures] == [kind.groups for kind in BUILT_IN]
    for one in figures:
        assert one.device == "processor"
        assert min(one.plain_s, one.compiled_s, one.compile_cpu_s) > 0
        assert one.error < 1e-5
        if one.pays_after is not None:
            assert one.pays_after == pytest.approx(one.compile_cpu_s / (one.plain_s - one.compiled_s), abs=1)
    assert sum("compiling for" in text for text in said) == 2
    text, last = report(figures).rsplit("\n", 1)
    assert "12x7x12x16" in text
    assert len(json.loads(last)["compiled"]) == 2


def test_without_a_compiler_it_says_so_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled.shutil, "which", lambda _: None)
    assert main(["bench", "compiled"]) == 2
    assert capsys.readouterr().err.startswith("There is no compiler here (g++")
    monkeypatch.setattr(compiled.shutil, "which", lambda _: "/usr/bin/g++")
    monkeypatch.setattr(compiled, "choose_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda _: None)
    assert main(["bench", "compiled"]) == 2
    assert "Triton" in capsys.readouterr().err
