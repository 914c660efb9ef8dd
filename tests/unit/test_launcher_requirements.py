"""Requirements are read as pip reads them: compared with the packaging library, and refused where they are not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from engine.cli.requirements import name, project_root, read_needs, satisfies, unmet, versions_here

VERSIONS = ("1", "1.0", "1.0.0", "1.9", "1.10", "2", "2.0.1", "2.4.6", "2.13.0", "2.13.0+cpu", "11.3.0", "12")
SPECIFIERS = ("", "==2.13.0", "==1", "!=1.0", ">=1.9,<2", ">1.9", "<=2", "<2.13", ">=11.3,<12", ">=3.11,<3.14")


@pytest.mark.parametrize("specifiers", SPECIFIERS)
@pytest.mark.parametrize("version", VERSIONS)
def test_versions_compare_as_packaging_compares_them(version: str, specifiers: str) -> None:
    assert satisfies(version, specifiers) == (version.partition("+")[0] in SpecifierSet(specifiers))


@pytest.mark.parametrize("version", ["2.0rc1", "2.0.dev3", "2.0.post1", "", "unknown"])
def test_only_final_releases_satisfy(version: str) -> None:
    assert not satisfies(version, ">=1")


@pytest.mark.parametrize("specifiers", ["~=2.0", "==2.*", "===2", "2.0"])
def test_other_forms_are_refused(specifiers: str) -> None:
    with pytest.raises(ValueError, match="specifier"):
        satisfies("2.0", specifiers)


def test_other_markers_are_refused() -> None:
    with pytest.raises(ValueError, match="marker"):
        unmet(["torch==1; python_version < '4'"], {"torch": "1"})


def test_every_requirement_of_the_project_is_understood() -> None:
    needs = read_needs(project_root(), dev=True)
    assert needs.torch in needs.packages
    for package in needs.packages:
        parsed = Requirement(package)
        assert name(package) == parsed.name
        applies = parsed.marker is None or parsed.marker.evaluate()
        assert unmet([package], {}) == ([package] if applies else [])
    assert needs.torch.startswith("torch=="), "an open range of torch brings gigabytes of CUDA"


def test_what_is_missing_or_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = ["a==1", "b>=2,<3", "c==1; sys_platform != 'darwin'", "d==1; sys_platform == 'darwin'"]
    monkeypatch.setattr(sys, "platform", "linux")
    assert unmet(packages, {"a": "1.0", "b": "2.5", "c": "1"}) == []
    assert unmet(packages, {"a": "1.1", "b": None}) == packages[:3]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert unmet(packages, {"a": "1", "b": "2"}) == packages[3:]


def test_the_digest_changes_with_any_requirement(tmp_path: Path) -> None:
    def digest(python: str, package: str, *, dev: bool = False) -> str:
        (tmp_path / "pyproject.toml").write_text(
            f'[project]\nrequires-python = "{python}"\ndependencies = ["torch==1", "{package}"]\n'
            '[project.optional-dependencies]\ndev = ["x==1"]\n'
        )
        return read_needs(tmp_path, dev=dev).digest

    digests = [
        digest(">=3.11", "a==1"),
        digest(">=3.11", "a==2"),
        digest(">=3.12", "a==1"),
        digest(">=3.11", "a==1", dev=True),
    ]
    assert len(set(digests)) == 4
    assert digest(">=3.11", "a==1") == digests[0]


def test_installed_versions_are_found_and_absent_ones_too() -> None:
    versions = versions_here(["pytest", "there-is-no-such-package"])
    assert versions["pytest"] == pytest.__version__
    assert versions["there-is-no-such-package"] is None
