"""`parity FOLDER [--out DIR]`: recorded cases of the published code against ours."""

from __future__ import annotations

import argparse
from pathlib import Path


def run(args: argparse.Namespace) -> int:
    """Print a line per compared quantity and a JSON document as the last line; 1 if any is out of tolerance."""
    from engine.parity.folder import Outcome
    from engine.parity.runner import document, line, run_folder

    outcomes: list[Outcome] = []
    for outcome in run_folder(Path(args.folder), None if args.out is None else Path(args.out)):
        outcomes.append(outcome)
        print(line(outcome), flush=True)
    print(document(outcomes), flush=True)
    return 0 if all(outcome.passed for outcome in outcomes) else 1
