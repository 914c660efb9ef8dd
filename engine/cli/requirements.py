"""What the program requires, read from `pyproject.toml`, and whether what is installed satisfies it.

Standard library only: asked before anything is installed, where no packaging library can be relied on. Knows just the
forms of requirement this project uses, and refuses others loudly.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Requirements as pip takes them. `python`: versions of Python; `torch`: the one of `packages` installed first."""

    python: str
    torch: str
    packages: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Changes with any requirement."""
        return hashlib.sha256("\n".join((self.python, *self.packages)).encode()).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the packages, in order."""
        return tuple(name(package) for package in self.packages)


def project_root() -> Path:
    """The folder of the project this file belongs to."""
    return Path(__file__).resolve().parents[2]


def read_needs(root: Path, *, dev: bool) -> Needs:
    """The requirements of the project in `root`, with those of its tests where `dev`."""
    project = _project(root)
    packages = (*project["dependencies"], *(project["optional-dependencies"]["dev"] if dev else ()))
    torch = next(package for package in packages if name(package) == "torch")
    return Needs(python=project["requires-python"], torch=torch, packages=packages)


def extra(root: Path, group: str) -> tuple[str, ...]:
    """The requirements of one of the project's optional groups; only that of the tests is ever installed by itself."""
    return tuple(_project(root)["optional-dependencies"][group])


def _project(root: Path) -> Any:
    import tomllib

    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def name(requirement: str) -> str:
    """The package a requirement is about."""
    return re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]


def versions_here(names: Sequence[str]) -> dict[str, str | None]:
    """Versions in the running interpreter; None for what is not installed."""
    versions: dict[str, str | None] = {}
    for package in names:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def unmet(packages: Sequence[str], versions: Mapping[str, str | None]) -> list[str]:
    """Those requirements that `versions`, by name, do not satisfy on this operating system."""
    missing: list[str] = []
    for package in packages:
        need, _, marker = package.partition(";")
        wanted, found = need.strip()[len(name(need)) :], versions.get(name(need))
        if _applies(marker.strip()) and (found is None or not satisfies(found, wanted)):
            missing.append(package)
    return missing


def _applies(marker: str) -> bool:
    if not marker:
        return True
    match = re.fullmatch(r"sys_platform (==|!=) ['\"](\w+)['\"]", marker)
    if match is None:
        raise ValueError(f"a marker that is not provided for: {marker}")
    return (match[2] == sys.platform) == (match[1] == "==")


_ORDERS = {"==": (0,), "!=": (-1, 1), "<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}


def satisfies(version: str, specifiers: str) -> bool:
    """Whether a final release lies within `specifiers` (`==`, `!=`, `<`, `<=`, `>`, `>=`, joined by commas).

    A local part (`+cpu`) does not count. Anything but a final release satisfies nothing: pip is left to decide on it.
    """
    ours = _release(version.partition("+")[0])
    if ours is None:
        return False
    for specifier in filter(None, (part.strip() for part in specifiers.split(","))):
        match = re.fullmatch(r"(==|!=|<=|>=|<|>)\s*(\S+)", specifier)
        theirs = _release(match[2]) if match else None
        if match is None or theirs is None:
            raise ValueError(f"a specifier that is not provided for: {specifier}")
        if (ours > theirs) - (ours < theirs) not in _ORDERS[match[1]]:
            return False
    return True


def _release(text: str) -> tuple[int, ...] | None:
    """`2.10.0` as (2, 10): zeros at the end mean nothing."""
    if not re.fullmatch(r"\d+(\.\d+)*", text):
        return None
    return tuple(int(part) for part in re.sub(r"(\.0+)+$", "", text).split("."))
