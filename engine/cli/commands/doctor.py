"""`doctor`: this machine, its budget, what is installed, and which engines will run here."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass

from engine import __version__
from engine.cli.requirements import name, project_root, read_needs, unmet, versions_here
from engine.engines import engine_info, engine_names
from engine.memory.machine import Machine, look
from engine.paths import data_home
from engine.weights import Installed, status
from engine.weights.catalogue import entry

PROGRAM_BYTES = 1_000_000_000
"""Memory of the program itself with PyTorch loaded, beside the weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A required package; `installed` is None where it is missing, `ok` whether the requirement is met."""

    required: str
    installed: str | None
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """Whether an engine will run here, why not (empty: it will), and what it needs.

    `memory_bytes`: its largest part, for the parts are loaded one after the other, and the program itself;
    `disk_bytes`: what is still to be downloaded and converted.
    """

    name: str
    title: str
    will_run: bool
    problem: str
    memory_bytes: int
    disk_bytes: int
    licence: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that `doctor` tells."""

    version: str
    home: str
    environment: str
    machine: Machine
    packages: tuple[Package, ...]
    weights: tuple[Installed, ...]
    engines: tuple[EngineState, ...]


def run(args: argparse.Namespace) -> int:
    """Print the report, for people or as one JSON document."""
    report = examine()
    print(json.dumps(_as_json(report), indent=2) if args.json else as_text(report))
    return 0


def examine() -> Report:
    """Look at everything; takes seconds, most of them for loading PyTorch."""
    machine = look(data_home())
    packages = read_needs(project_root(), dev=False).packages
    versions = versions_here(tuple(map(name, packages)))
    bad = set(unmet(packages, versions))
    weights = tuple(map(status, engine_names()))
    return Report(
        version=__version__,
        home=str(data_home()),
        environment=sys.prefix,
        machine=machine,
        packages=tuple(Package(required=each, installed=versions[name(each)], ok=each not in bad) for each in packages),
        weights=weights,
        engines=tuple(engine_state(installed, machine) for installed in weights),
    )


def engine_state(installed: Installed, machine: Machine) -> EngineState:
    """Judge one engine by its weights and by what `machine` has."""
    info, files = engine_info(installed.name), entry(installed.name).files
    largest = max((file.approximate_bytes for file in files), default=installed.size_bytes)
    memory = largest + PROGRAM_BYTES
    disk = 2 * entry(installed.name).approximate_bytes if installed.problem else 0
    problems = [installed.problem] if installed.problem else []
    if machine.ram_bytes < memory:
        problems.append(f"It needs {_gb(memory)} of memory, and this machine has {_gb(machine.ram_bytes)}.")
    if machine.disk_free_bytes < disk:
        problems.append(
            f"Its weights need up to {_gb(disk)} on the disk for a while, and {_gb(machine.disk_free_bytes)} are free."
        )
    return EngineState(
        name=info.name,
        title=info.title,
        will_run=not problems,
        problem=" ".join(problems),
        memory_bytes=memory,
        disk_bytes=disk,
        licence=info.licence,
        note=info.note,
    )


def as_text(report: Report) -> str:
    """The report for people."""
    machine = report.machine
    lines = [
        f"LumosX Studio {report.version}",
        "",
        f"  system       {machine.system}, Python {machine.python}",
        f"  processor    {machine.processor}, {machine.cores} cores",
        f"  memory       {_gb(machine.ram_free_bytes)} free of {_gb(machine.ram_bytes)}",
        *(
            f"  graphics     {device.name}, {_gb(device.free_bytes)} free of {_gb(device.memory_bytes)}"
            for device in machine.devices
        ),
        *([] if machine.devices else ["  graphics     none that PyTorch can use"]),
        f"  disk         {_gb(machine.disk_free_bytes)} free for {report.home}",
        f"  budget       a render runs on {machine.device.name}: {_gb(machine.device.free_bytes)} free there, "
        f"{_gb(machine.ram_free_bytes)} of memory",
        "",
        f"Installed in {report.environment}",
        *_package_lines(report.packages),
        "",
        "Engines",
    ]
    for state in report.engines:
        verdict = "will run" if state.will_run else "will not run"
        lines += [
            f"  {state.name:<8} {verdict}: {state.title}, {state.licence}. {state.note}",
            f"           needs {_gb(state.memory_bytes)} of memory"
            + (
                f" and up to {_gb(state.disk_bytes)} on the disk while its weights are fetched"
                if state.disk_bytes
                else ""
            ),
            *([f"           {state.problem}"] if state.problem else []),
        ]
    return "\n".join(lines)


def _package_lines(packages: tuple[Package, ...]) -> list[str]:
    lines = [f"  {name(each.required):<18} {each.installed}" for each in packages if each.ok and each.installed]
    lines += [
        f"  {name(each.required):<18} {each.installed or 'missing'}; required: {each.required}"
        for each in packages
        if not each.ok
    ]
    return lines


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _as_json(report: Report) -> dict[str, object]:
    document = asdict(report)
    document["weights"] = [{**asdict(each), "folder": str(each.folder)} for each in report.weights]
    document["budget"] = {
        "device": report.machine.device.kind,
        "device_bytes": report.machine.device.free_bytes,
        "ram_bytes": report.machine.ram_free_bytes,
        "disk_bytes": report.machine.disk_free_bytes,
    }
    return document
