"""Which build of PyTorch a machine gets, and how its card is found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from engine.cli.torch_build import TORCH_INDEX, Card, builds, find_card

NEW = Card(cuda=(13, 0), capability=(8, 9))
OLD_DRIVER = Card(cuda=(12, 4), capability=(8, 9))
OLD_CARD = Card(cuda=(13, 2), capability=(6, 1))
SILENT = Card(cuda=None, capability=None)
CPU, CUDA, OLD_CUDA = f"{TORCH_INDEX}/cpu", f"{TORCH_INDEX}/cu130", f"{TORCH_INDEX}/cu126"


@pytest.mark.parametrize(
    ("system", "card", "configured", "indexes"),
    [
        ("linux", None, False, [CPU, None]),
        ("linux", None, True, [None]),
        ("linux", NEW, False, [None]),
        ("linux", NEW, True, [None]),
        ("linux", SILENT, False, [None]),
        ("linux", OLD_DRIVER, False, [OLD_CUDA, None]),
        ("linux", OLD_CARD, True, [OLD_CUDA, None]),
        ("win32", None, False, [None]),
        ("win32", NEW, False, [CUDA, None]),
        ("win32", NEW, True, [CUDA, None]),
        ("win32", OLD_CARD, False, [OLD_CUDA, None]),
        ("darwin", None, False, [None]),
        ("darwin", NEW, False, [None]),
    ],
)
def test_every_machine_gets_its_build(
    system: str, card: Card | None, configured: bool, indexes: list[str | None]
) -> None:
    found = builds(system, card, pip_is_configured=configured, environment={})
    assert [build.index for build in found] == indexes


def test_the_variable_names_an_index_or_none() -> None:
    def indexes(value: str) -> list[str | None]:
        environment = {"LUMOSX_TORCH_INDEX": value}
        return [build.index for build in builds("win32", NEW, pip_is_configured=False, environment=environment)]

    assert indexes("https://mirror.invalid/cu130") == ["https://mirror.invalid/cu130", None]
    assert indexes("none") == [None]
    assert indexes(" ") == [CUDA, None]


def test_only_builds_for_cards_are_called_large() -> None:
    def large(system: str, card: Card | None) -> list[bool]:
        return [build.cuda for build in builds(system, card, pip_is_configured=False, environment={})]

    assert large("linux", None) == [False, False]
    assert large("linux", NEW) == [True]
    assert large("win32", NEW) == [True, False]


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for the driver's tool is a shell script")
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            'case "$1" in --query*) echo 8.9; echo 6.1;; '
            '*) echo "| Driver Version: 570.1  CUDA Version: 12.8 |";; esac',
            Card(cuda=(12, 8), capability=(8, 9)),
        ),
        ('case "$1" in --query*) echo "12.0";; *) echo "no table";; esac', Card(cuda=None, capability=(12, 0))),
        ('case "$1" in --query*) echo "[N/A]";; *) exit 1;; esac', SILENT),
        ("exit 9", None),
        ("true", None),
    ],
)
def test_a_card_is_what_the_drivers_tool_tells(
    script: str, expected: Card | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    assert find_card() == expected


def test_without_the_tool_there_is_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert find_card() is None
