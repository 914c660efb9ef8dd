"""`bench WHAT`: figures, measured on this machine."""

from __future__ import annotations

import argparse
import subprocess
import sys

from engine.cli.commands.render import chosen_settings
from engine.cli.requirements import project_root
from engine.engines import DEFAULT_ENGINE
from engine.errors import Cancelled
from engine.request import check_attention

GIB = 2**30
_CANCELLED = 130


def run(args: argparse.Namespace) -> int:
    """Print a table for people and one JSON line for machines; progress goes to stderr."""
    if args.action == "studio":
        return _studio(args)
    measure = {
        "memory": _memory,
        "network": _network,
        "speed": _speed,
        "gpu": _gpu,
        "compiled": _compiled,
        "training": _training,
        "looks": _looks,
    }
    print(measure[args.action](args), flush=True)
    return 0


def _network(args: argparse.Namespace) -> str:
    from engine.bench.network import measure_network, report

    return report(measure_network(repeats=args.repeats, layers=args.layers, state=_say))


def _speed(args: argparse.Namespace) -> str:
    from engine.bench.speed import measure_speed, report

    figures = measure_speed(
        args.engine or DEFAULT_ENGINE,
        repeats=args.repeats,
        scenes=args.scenes,
        yours=chosen_settings(args),
        state=_say,
    )
    return report(figures)


def _gpu(args: argparse.Namespace) -> str:
    from engine.bench.gpu import find_card, measure_gpu, report

    limit = None if args.vram_limit is None else int(args.vram_limit * GIB)
    attention = check_attention(args.attention or "auto")
    return report(measure_gpu(find_card(), vram_limit_bytes=limit, steps=args.steps, attention=attention, state=_say))


def _compiled(args: argparse.Namespace) -> str:
    from engine.bench.compiled import measure_compiled, report

    return report(measure_compiled(repeats=args.repeats, state=_say))


def _training(args: argparse.Namespace) -> str:
    from engine.bench.training import measure_training, report

    return report(measure_training(updates=args.updates, state=_say))


def _looks(args: argparse.Namespace) -> str:
    from engine.bench.looks import measure_looks, report

    return report(measure_looks(repeats=args.repeats, state=_say))


def _studio(args: argparse.Namespace) -> int:
    """Start the studio's own measurement, for the engine knows no page; it tells its exit code and what is missing."""
    command = [sys.executable, "-m", "studio.bench", f"--repeats={args.repeats}"]
    code = subprocess.run(command, cwd=project_root(), stdin=subprocess.DEVNULL).returncode
    if code == _CANCELLED:
        raise Cancelled("The measurement was cancelled.")
    return code


def _memory(_: argparse.Namespace) -> str:
    from engine.bench.memory import measure_memory, report

    return report(measure_memory(state=_say))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
