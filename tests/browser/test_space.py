"""The studio started as a Hugging Face Space starts it: its own Python, another home, none of our environments."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.cli.main import main
from engine.cli.requirements import read_needs, unmet, versions_here
from tests.browser.asking import Visitor
from tests.browser.scenes import write_pair
from tests.browser.serving import ROOT
from tests.browser.spaces import NAME, Space, running_space

PORT = 8850


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    needs = read_needs(ROOT, dev=False)
    assert not unmet(needs.packages, versions_here(needs.names)), "a Space installs requirements.txt first"
    folder, home = tmp_path_factory.mktemp("space") / "app", tmp_path_factory.mktemp("home")
    assert main(["space", str(folder)]) == 0
    with running_space(folder, home, PORT) as running:
        yield running


def test_what_a_space_reads_comes_from_the_project(space: Space) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (space.folder / "requirements.txt").read_text().split("\n")[:-1] == project["dependencies"]
    _, header, words = (space.folder / "README.md").read_text(encoding="utf-8").split("---\n")
    fields = dict(line.split(": ", 1) for line in header.strip().splitlines())
    assert fields["sdk"] == "gradio"
    assert f"gradio=={fields['sdk_version']}" in project["dependencies"]
    assert (space.folder / fields["app_file"]).is_file()
    assert len(fields["short_description"]) <= 60
    assert words.strip()
    assert not (space.folder / "tests").exists()


def test_it_runs_without_an_environment_of_ours_and_loads_no_torch(space: Space) -> None:
    assert not (space.folder / ".venv").exists()
    if sys.platform == "linux":
        assert "libtorch" not in Path(f"/proc/{space.pid}/maps").read_text()
    assert [path.name for path in (space.home / ".local" / "share").iterdir()] == ["lumosx-studio"]


def test_it_goes_by_the_spaces_name_and_its_cookie_works_in_a_frame(space: Space) -> None:
    page = httpx.get(space.url, headers={"Host": NAME}, trust_env=False)
    assert page.status_code == 200
    cookie = page.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=None", "Secure", "Partitioned"):
        assert part in cookie
    assert httpx.get(space.url, headers={"Host": "evil.example"}, trust_env=False).status_code == 400


def test_a_visitor_renders_with_the_built_in_model_and_changes_no_preset(space: Space, tmp_path: Path) -> None:
    visitor = Visitor(space.url)
    visitor.http.headers["Cookie"] = visitor.page.headers["set-cookie"].partition(";")[0]  # here it is no HTTPS
    visitor.find_component()
    presets = [one["name"] for one in visitor.ask("begin")["presets"]]
    assert presets
    assert "cannot be deleted" in visitor.ask("delete_preset", preset=presets[0])["error"]
    write_pair(tmp_path / "pair")
    job = visitor.render(visitor.send_folder(tmp_path / "pair"), num_frames=1)["job"]
    done = visitor.finished(job)
    assert done["state"] == "done", done
    assert visitor.http.get(f"/{done['clip']['url']}").content[4:8] == b"ftyp"
    visitor.close()


def test_nothing_else_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    assert main(["space", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert main(["space", str(ROOT / "studio" / "space")]) == 2
    assert "inside the program" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]
