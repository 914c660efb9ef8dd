"""The doctor's judgement of machines, real and made up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from engine.cli.commands import doctor
from engine.cli.main import main
from engine.engines import engine_names
from engine.memory import machine as machine_module
from engine.memory.machine import Device, Machine, look
from engine.memory.sizes import PUBLISHED
from engine.weights import Installed

GB = 1_000_000_000
MACHINE = Machine(
    system="Linux",
    python="3.11.7",
    processor="A processor",
    cores=2,
    ram_bytes=16 * GB,
    ram_free_bytes=12 * GB,
    disk_free_bytes=100 * GB,
    devices=(),
)


def installed(name: str, problem: str = "") -> Installed:
    return Installed(name=name, folder=Path("/models") / name, size_bytes=20_000_000, problem=problem)


@pytest.fixture(autouse=True)
def published_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine but the built-in one has files here."""
    sizes_of = doctor.sizes_of
    monkeypatch.setattr(doctor, "sizes_of", lambda name: sizes_of(name) if name == "nano" else PUBLISHED)


def test_an_engine_with_weights_and_memory_will_run() -> None:
    for name in engine_names():
        state = doctor.engine_state(installed(name), MACHINE)
        assert any("At its peak it takes" in line for line in state.plan)
        assert state.will_run
        assert state.problem == ""
        assert state.disk_bytes == 0


def test_what_is_missing_is_named() -> None:
    small = dataclasses.replace(MACHINE, ram_bytes=4 * GB, ram_free_bytes=3 * GB, disk_free_bytes=3 * GB)
    state = doctor.engine_state(installed("lumosx", "The weights are not installed: fetch them."), small)
    assert not state.will_run
    assert "The weights are not installed" in state.problem
    assert "of free memory (there are 3.0 GB): close other programs" in state.problem
    assert state.plan == ()
    assert "3.0 GB are free" in state.problem
    assert state.memory_bytes > 4 * GB
    assert state.disk_bytes > 3 * GB


def test_the_built_in_engine_needs_little() -> None:
    small = dataclasses.replace(MACHINE, ram_bytes=2 * GB, ram_free_bytes=GB, disk_free_bytes=0)
    assert doctor.engine_state(installed("nano"), small).will_run


def test_the_report_for_machines_is_one_document(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert main(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["home"] == str(home)
    assert document["machine"]["ram_bytes"] >= document["budget"]["ram_bytes"] > 0
    assert document["budget"]["device"] in {"cpu", "cuda", "mps"}
    assert [engine["name"] for engine in document["engines"]] == list(engine_names())
    torch = next(package for package in document["packages"] if package["required"].startswith("torch=="))
    assert torch["ok"]
    for engine in document["engines"]:
        assert engine["will_run"] == (engine["problem"] == "")


def test_the_report_for_people_names_what_it_found(home: Path) -> None:
    card = Device(kind="cuda", name="A card", memory_bytes=24 * GB, free_bytes=20 * GB)
    found = dataclasses.replace(doctor.examine(), machine=dataclasses.replace(MACHINE, devices=(card,)))
    text = doctor.as_text(found)
    assert "A processor, 2 cores" in text
    assert "A card, 20.0 GB free of 24.0 GB" in text
    assert "a render runs on A card" in text
    assert str(home) in text
    without = doctor.as_text(dataclasses.replace(found, machine=MACHINE))
    assert "none that PyTorch can use" in without
    broken = doctor.Package(required="paint>=2", installed="1.0", ok=False)
    absent = doctor.Package(required="easel==1", installed=None, ok=False)
    text = doctor.as_text(dataclasses.replace(found, packages=(broken, absent)))
    assert "1.0; required: paint>=2" in text
    assert "missing; required: easel==1" in text


def test_this_machine_is_looked_at_truly(tmp_path: Path) -> None:
    found = look(tmp_path / "not" / "there" / "yet")
    assert found.cores >= 1
    assert 0 < found.ram_free_bytes <= found.ram_bytes
    assert found.disk_free_bytes > 0
    assert found.processor


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "4000\n", "memory.current": "1000\n"}, (4000, 1000)),
        ({"memory/memory.limit_in_bytes": "5000", "memory/memory.usage_in_bytes": "7"}, (5000, 7)),
        (
            {
                "memory.max": "4000\n",
                "memory.current": "3900\n",
                "memory.stat": "anon 900\nfile 3000\nshmem 200\ninactive_file 2500\nactive_file 300\n",
            },
            (4000, 1100),
        ),
        (
            {
                "memory/memory.limit_in_bytes": "5000",
                "memory/memory.usage_in_bytes": "4000",
                "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 2000\ntotal_active_file 500\n",
            },
            (5000, 1500),
        ),
        ({"memory.max": "max\n", "memory.current": "1000\n"}, None),
        ({}, None),
    ],
)
def test_a_containers_memory_counts(files: dict[str, str], expected: tuple[int, int] | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    limit, used = machine_module.container_memory(tmp_path)
    if expected is None:
        assert used == 0
        assert limit > 2**60
    else:
        assert (limit, used) == expected
