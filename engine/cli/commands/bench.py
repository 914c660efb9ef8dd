"""`bench WHAT`: figures, measured on this machine."""

from __future__ import annotations

import argparse
import sys


def run(args: argparse.Namespace) -> int:
    """Print a table for people and one JSON line for machines; progress goes to stderr."""
    return {"memory": _memory, "network": _network}[args.action](args)


def _network(args: argparse.Namespace) -> int:
    from engine.bench.network import measure_network, report

    figures = measure_network(repeats=args.repeats, layers=args.layers, state=_say)
    print(report(figures), flush=True)
    return 0


def _memory(_: argparse.Namespace) -> int:
    from engine.bench.memory import measure_memory, report

    print(report(measure_memory(state=_say)), flush=True)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
