"""What README and docs/commands.md tell a creator exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from engine.cli.parser import build_parser, parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "commands.md", ROOT / "CHANGELOG.md")


def _lines() -> list[str]:
    found = [line for page in PAGES for line in re.findall(r"python3 launcher\.py([^`\n]*)", page.read_text("utf-8"))]
    return sorted({line.strip() for line in found if "COMMAND" not in line})


@pytest.mark.parametrize("line", _lines())
def test_every_command_of_the_documents_is_understood(line: str) -> None:
    code: object = 0
    try:
        parse(shlex.split(line))
    except SystemExit as left:  # help leaves, with 0
        code = left.code
    assert code == 0


def test_the_page_of_commands_names_them_all() -> None:
    named = set(re.findall(r"^\| `(\w+)", (ROOT / "docs" / "commands.md").read_text("utf-8"), re.MULTILINE))
    listed = set(re.findall(r"^    (\w+) ", build_parser().format_help().split("COMMAND\n")[-1], re.MULTILINE))
    assert named == listed
    assert "render" in named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [one for one in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")) if "://" not in one]
    # the picture is made by a command of its own
    assert [one for one in links if not (page.parent / one).exists() and "screenshots" not in one] == []
