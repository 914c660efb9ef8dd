"""The report bundle as the page asks for it: the doctor's findings, the log, a failed render's error and settings.

The doctor asks the graphics card and therefore loads PyTorch: it works in a process of its own.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine.codec import to_json
from engine.errors import InputError, MachineError, UserError
from engine.files import writing
from engine.memory.plan import Budget
from engine.memory.profiles import in_words, plan_for
from engine.report_bundle import write_report
from studio import view
from studio.jobs import Job
from studio.languages import say
from studio.visitor_queue import RenderQueue

Json = dict[str, Any]

_DOCTOR_S = 180
_ROOT = Path(__file__).resolve().parent.parent


def examine_apart() -> Json:
    """What `doctor --json` says, from a process of its own; `MachineError` if it does not answer."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "engine.cli.main", "doctor", "--json"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=_DOCTOR_S,
            check=True,
        )
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise MachineError(say("report_examine", reason=type(error).__name__)) from error


class Reports:
    """Answers `report`: `job` is the id of a render, or nothing; `words` whether prompt and labels may go along."""

    def __init__(
        self, *, queue: RenderQueue, exports: Callable[[], Path], examine: Callable[[], Json] = examine_apart
    ) -> None:
        self._queue = queue
        self._exports = exports
        self._examine = examine
        self.answers: dict[str, Callable[[Json], Json]] = {"report": self._report}

    def _report(self, message: Json) -> Json:
        job: Job | None = None
        if message.get("job") is not None:
            job = self._queue.job(str(message["job"]))
            if job is None:
                raise InputError(say("job_gone"))
        words = message.get("words") is True
        texts, budget = self._machine()
        if job is not None:
            texts["render.json"] = json.dumps(_facts(job, words=words), ensure_ascii=False, indent=1)
            texts["render plan.txt"] = _plan(job, budget)
            texts["render log.txt"] = job.log or "This render wrote no log."
        folder = self._exports()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        out = folder / f"lumosx-report-{secrets.token_hex(4)}.zip"
        write_report(out, texts, () if words else tuple(_said(self._queue.jobs())))
        return {"url": view.export_url(out.name), "name": "lumosx-report.zip"}

    def _machine(self) -> tuple[dict[str, str], Budget | None]:
        try:
            found = self._examine()
        except MachineError as error:  # a report without it is better than none
            return {"machine.txt": str(error)}, None
        room: Json = found.get("budget", {})
        card = int(room["device_bytes"]) if room.get("device") == "cuda" else None
        text = json.dumps(found, ensure_ascii=False, indent=1)
        return {"machine.json": text}, Budget(ram_bytes=int(room.get("ram_bytes", 0)), card_bytes=card)


def _facts(job: Job, *, words: bool) -> Json:
    """A render without its pictures: of each reference the role, of words only how many letters."""
    scene = job.request.scene
    facts: Json = {
        "state": job.state.value,
        "error": job.error,
        "step": job.step,
        "settings": to_json(job.request.settings),
        "prompt_characters": len(scene.prompt),
        "references": [{"role": one.role.value, "cut_out": one.mask is not None} for one in scene.references()],
        "groups": list(scene.groups),
        "spans": len(scene.spans),
    }
    if words:
        facts |= {"prompt": scene.prompt, "labels": [one.label for one in scene.references()]}
    else:
        facts["settings"]["negative_prompt"] = f"{len(job.request.settings.negative_prompt)} characters"
        for one in facts["settings"]["loras"]:
            one["name"] = f"{len(one['name'])} characters"
    return facts


def _plan(job: Job, budget: Budget | None) -> str:
    if budget is None:
        return "The free memory is not known."
    try:
        return "\n".join(in_words(plan_for(job.request.settings, len(job.request.scene.references()), budget)))
    except UserError as error:
        return str(error)


def _said(jobs: tuple[Job, ...]) -> Iterator[str]:
    """The user's own words in the queue: prompts, labels, titles and names, which a log may repeat."""
    for job in jobs:
        yield job.title
        yield job.request.scene.prompt
        yield from (one.label for one in job.request.scene.references())
        yield from (one.name for one in job.request.settings.loras)
