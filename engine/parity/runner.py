"""Run every recorded case of a folder and say how far ours is from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from engine.errors import InputError
from engine.parity import components, network, sampling
from engine.parity.folder import Judge, Outcome, RecordedFolder

Runner = Callable[[RecordedFolder], Iterator[tuple[str, Judge]]]

RUNNERS: dict[str, Runner] = {
    "dit": network.run_passes,
    "dcp": network.run_conversion,
    "e2e": network.run_loops,
    "pipeline": sampling.run_pipelines,
    "sampler": components.run_sampler,
    "layout": components.run_layout,
    "t5": components.run_text_encoder,
    "vae": components.run_vae,
    "text": components.run_phrases,
    "images": components.run_pictures,
}


def run_folder(root: Path, out: Path | None = None) -> Iterator[Outcome]:
    """Yield the outcome of every quantity of every case under `root`, writing ours below `out`.

    A case that cannot be computed is an outcome with its failure, and the others go on. `InputError` if `root` holds no
    recorded case at all.
    """
    if not root.is_dir():
        raise InputError(f"There is no folder {root}: name a folder of recorded cases.")
    folder = RecordedFolder(root, out)
    found = False
    for kind, runner in RUNNERS.items():
        if not folder.path(kind).is_dir():
            continue
        for outcome in run_kind(kind, runner, folder):
            found = True
            yield outcome
    if not found:
        raise InputError(f"{root} holds no recorded cases: it needs at least one of the folders {', '.join(RUNNERS)}.")


def run_kind(kind: str, runner: Runner, folder: RecordedFolder) -> Iterator[Outcome]:
    cases = runner(folder)
    while True:
        try:
            name_and_judge = next(cases, None)
        except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError, InputError) as error:
            # A broken recording is reported as a failed case, with its cause; the other kinds still run.
            yield Outcome(case=kind, quantity="run", failure=f"{type(error).__name__}: {error}")
            return
        if name_and_judge is None:
            return
        yield from name_and_judge[1]


def line(outcome: Outcome) -> str:
    """One line for people: verdict, case, quantity, error and tolerance."""
    if outcome.failure is not None:
        return f"FAILED  {outcome.case}  {outcome.failure}"
    if outcome.error is None or outcome.tolerance is None:
        return f"run     {outcome.case}  {outcome.quantity}  (nothing recorded to compare with)"
    verdict = "ok    " if outcome.passed else "FAILED"
    return (
        f"{verdict}  {outcome.case}  {outcome.quantity}  error {outcome.error:.3g}  tolerance {outcome.tolerance:.3g}"
    )


def document(outcomes: list[Outcome]) -> str:
    """All outcomes as one line of JSON."""
    rows = [{**asdict(outcome), "passed": outcome.passed} for outcome in outcomes]
    # JSON has no infinity; a shape that does not fit is reported as an error of -1.
    for row in rows:
        if row["error"] == float("inf"):
            row["error"] = -1.0
    failed = sum(not outcome.passed for outcome in outcomes)
    return json.dumps({"cases": rows, "passed": len(outcomes) - failed, "failed": failed}, ensure_ascii=False)
