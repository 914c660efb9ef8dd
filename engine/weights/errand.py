"""The process that fetches, converts, checks, repairs or removes weights while the page goes on: one errand each.

`python -m engine.weights.errand`; the first line on its input is the errand as JSON, every line on its output a step:
`{"stage", "step", "num_steps", "seconds_left"}`, the last one `{"done": {…}}`, `{"cancelled": true}`, `{"error": …}` or
`{"fault": …}`. When its input ends it stops within a moment: whoever asked is gone, or wants it so. Nothing is lost by
that, nor by a kill: the next errand of the kind goes on.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from engine.asking import answered, own_pipes
from engine.cancel import CancelToken
from engine.errors import Cancelled
from engine.events import Progress
from engine.weights.install import Installation, check, install, remove_leftover, repair
from engine.weights.installed import remove
from engine.weights.loras import add_lora

Json = dict[str, Any]

_STEP_S = 0.15
_GOODBYE_S = 5.0


def main() -> int:
    """Do the errand that the input names; return the exit code."""
    questions, answers = own_pipes()
    errand: Json = json.loads(questions.readline())
    cancel = CancelToken()
    threading.Thread(target=_stop_at_end, args=(questions, cancel), daemon=True).start()
    reporter = _Reporter(answers)
    reporter.say(answered(lambda asked: _run(asked, reporter.step, cancel), errand))
    return 0


def _run(errand: Json, on_progress: Callable[[Progress], None], cancel: CancelToken) -> Json:
    name, source = str(errand["name"]), errand.get("source")
    accepted = errand.get("accepted") is True
    try:
        match errand["do"]:
            case "install":
                path = Path(source) if isinstance(source, str) else None
                return {"done": _in_json(install(name, path, on_progress, cancel, accepted=accepted))}
            case "repair":
                return {"done": _in_json(repair(name, on_progress, cancel, accepted=accepted))}
            case "check":
                return {"done": {"files": check(name, on_progress, cancel)}}
            case "remove":
                return {"done": {"freed_bytes": remove(name)}}
            case "remove_leftover":
                return {"done": {"freed_bytes": remove_leftover(name)}}
            case "add_lora":
                return {"done": {"name": _add_lora(Path(str(source)), on_progress, cancel)}}
            case other:
                raise ValueError(f"no errand is called {other}")
    except Cancelled:
        return {"cancelled": True}


def _add_lora(source: Path, on_progress: Callable[[Progress], None], cancel: CancelToken) -> str:
    def copied(done: int, total: int) -> None:
        on_progress(Progress(stage="copy", step=done, num_steps=total, seconds_left=None))

    return add_lora(source, copied, cancel).name


def _in_json(done: Installation) -> Json:
    return {"size_bytes": done.size_bytes, "verified": done.verified, "undeleted": done.leftover is not None}


class _Reporter:
    """Writes lines; of steps that come quickly only some."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._last: tuple[str, float] = ("", 0.0)

    def step(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage == self._last[0] and now - self._last[1] < _STEP_S:
            return
        self._last = (progress.stage, now)
        self.say(
            {
                "stage": progress.stage,
                "step": progress.step,
                "num_steps": progress.num_steps,
                "seconds_left": progress.seconds_left,
            }
        )

    def say(self, line: Json) -> None:
        try:
            self._answers.write(json.dumps(line) + "\n")
            self._answers.flush()
        except BrokenPipeError:  # nobody listens any more: then the input has ended, too
            os._exit(1)


def _stop_at_end(questions: TextIO, cancel: CancelToken) -> None:
    for _ in questions:
        pass
    cancel.cancel()
    time.sleep(_GOODBYE_S)
    os._exit(1)  # in the middle of something that looks at no token: it would be the same with a kill


if __name__ == "__main__":
    sys.exit(main())
