"""`doctor`: this machine, its budget, what is installed, and which engines will run here."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass

from engine import __version__
from engine.cli.requirements import name, project_root, read_needs, unmet, versions_here
from engine.engines import engine_info, engine_names
from engine.errors import MachineError
from engine.memory.cards import cards_to_share
from engine.memory.machine import Machine, look
from engine.memory.plan import Budget, all_plans, make_plan, smallest_budget
from engine.memory.profiles import NO_LIMITS, Limits, in_words, limits_in_gb, sizes_of, work_of
from engine.memory.sizes import PUBLISHED
from engine.paths import data_home
from engine.report_bundle import write_report
from engine.weights import Installed, status
from engine.weights.catalogue import entry

PUBLISHED_HEAD_DIM = 128
REFERENCES = 8
"""Pictures of the clip for which the memory plan is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A required package; `installed` is None where it is missing, `ok` whether the requirement is met."""

    required: str
    installed: str | None
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """Whether an engine will run here, why not (empty: it will), and what it needs.

    `memory_bytes`: the most that a clip at its defaults with eight pictures takes by the plan made for what is free
    now, or, if that is not enough, the least that would do; `plan`: that plan in words; `disk_bytes`: what is still to
    be downloaded and converted.
    """

    name: str
    title: str
    will_run: bool
    problem: str
    memory_bytes: int
    plan: tuple[str, ...]
    disk_bytes: int
    licence: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionState:
    """What computes the full model's attention on this machine: the kind that “auto” takes, and of each of the others,
    in words, whether it can be used."""

    auto: str
    others: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that `doctor` tells; `cards`: those that the studio spreads renders over, empty unless there are several;
    `attention` is None where packages are missing that would say."""

    version: str
    home: str
    environment: str
    machine: Machine
    cards: tuple[str, ...]
    attention: AttentionState | None
    packages: tuple[Package, ...]
    weights: tuple[Installed, ...]
    engines: tuple[EngineState, ...]


def run(args: argparse.Namespace) -> int:
    """Print the report, for people or as one JSON document, or write it as a bundle to attach."""
    report = examine(limits_in_gb(args.ram, args.vram))
    text = as_text(report)
    if args.bundle is not None:
        document = json.dumps(_as_json(report), indent=2)
        write_report(args.bundle, {"machine.txt": text, "machine.json": document})
        print(args.bundle)
        return 0
    print(json.dumps(_as_json(report), indent=2) if args.json else text)
    return 0


def examine(limits: Limits = NO_LIMITS) -> Report:
    """Look at everything; takes seconds, most of them for loading PyTorch. Engines are judged within `limits`."""
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
        cards=cards_to_share(),
        attention=attention_here(machine.device.kind),
        packages=tuple(Package(required=each, installed=versions[name(each)], ok=each not in bad) for each in packages),
        weights=weights,
        engines=tuple(engine_state(installed, machine, limits) for installed in weights),
    )


def engine_state(installed: Installed, machine: Machine, limits: Limits = NO_LIMITS) -> EngineState:
    """Judge one engine by its weights and by what `machine` has, or would have with the memory of `limits`."""
    info = engine_info(installed.name)
    disk = 2 * entry(installed.name).approximate_bytes if installed.problem else 0
    problems = [installed.problem] if installed.problem else []
    # What is damaged or missing has the sizes it should have.
    sizes = PUBLISHED if installed.problem and not info.builtin else sizes_of(info.name)
    work, free = work_of(info.defaults, REFERENCES), limits.supposed(budget_here(machine))
    try:
        plan = make_plan(sizes, work, free)
        memory, words = plan.ram_bytes, in_words(plan)
    except MachineError as error:
        least = smallest_budget(list(all_plans(sizes, work, card=free.card_bytes is not None)), free)
        memory, words = least.ram_bytes, ()
        problems.append(str(error))
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
        plan=words,
        disk_bytes=disk,
        licence=info.licence,
        note=info.note,
    )


def attention_here(device_kind: str) -> AttentionState | None:
    """Look for packages that compute attention, and try those that are there."""
    try:
        import torch

        from engine.model.backends import TOLERANCES, available_backends, choose_backend
        from engine.models import compute_dtype
    except ImportError:
        return None
    device = torch.device(device_kind)
    where = (device, compute_dtype(device, builtin=False), PUBLISHED_HEAD_DIM)
    here = available_backends()
    others = {
        name: "not installed" if name not in here else choose_backend(name, *where).notice or "works"
        for name in TOLERANCES
    }
    return AttentionState(auto=choose_backend("auto", *where).name, others=others)


def budget_here(machine: Machine) -> Budget:
    """The memory that a render may use on this machine now."""
    device = machine.device
    return Budget(ram_bytes=machine.ram_free_bytes, card_bytes=device.free_bytes if device.kind == "cuda" else None)


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
        *([f"  several      the studio renders on {len(report.cards)} of them at once"] if report.cards else []),
        f"  disk         {_gb(machine.disk_free_bytes)} free for {report.home}",
        f"  budget       a render runs on {machine.device.name}: {_gb(machine.device.free_bytes)} free there, "
        f"{_gb(machine.ram_free_bytes)} of memory",
        *_attention_lines(report.attention),
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
            *(f"           {line}" for line in state.plan),
            *([f"           {state.problem}"] if state.problem else []),
        ]
    return "\n".join(lines)


def _attention_lines(attention: AttentionState | None) -> list[str]:
    if attention is None:
        return []
    others = "; ".join(f"{name}: {state}" for name, state in attention.others.items())
    return [f"  attention    a render takes {attention.auto} by itself; {others}"]


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
