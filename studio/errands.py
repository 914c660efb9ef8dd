"""Errands about weights: each a process of its own that fetches, converts, checks or removes, and what became of it.

The page's thread only starts, stops and looks.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.asking import close_input, start_process
from engine.errors import MachineError
from engine.weights.files import readable_size
from studio.languages import heard, say

Json = dict[str, Any]

_log = logging.getLogger(__name__)
_GOODBYE_S = 8.0
_STAGES = {"download": "stage_download", "check": "stage_check", "convert": "stage_convert", "copy": "stage_copy"}
_DONE = {
    "install": "done_install",
    "repair": "done_repair",
    "check": "done_check",
    "remove": "done_remove",
    "remove_leftover": "done_remove_leftover",
    "add_lora": "done_add_lora",
}
_FAULT = "This failed by a fault in the program; the terminal where the studio was started shows the details."
_VANISHED = (
    "The process that did this has ended early, perhaps for want of memory. What has arrived is kept; try again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far an errand is: bytes done of bytes in all, 0 of 0 before it begins."""

    stage: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None


class Errand:
    """One errand under way, see `engine.weights.errand`. `ended` is called once, in a thread of its own."""

    def __init__(self, module: str, errand: Json, ended: Callable[[], None] = lambda: None) -> None:
        """Start it. Raises `MachineError` if no process can be started."""
        self.kind = str(errand["do"])
        self.step = Step()
        self.outcome: Json | None = None
        self._ended = ended
        self._stopping = False
        try:
            self._process = start_process([sys.executable, "-m", module])
        except OSError as error:
            raise MachineError(say("errand_not_started", reason=error.strerror or error)) from error
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(errand) + "\n")
        self._process.stdin.flush()
        self._thread = threading.Thread(target=self._read, name="lumosx-errand", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.outcome is None

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping

    def stop(self) -> None:
        """Tell it to stop; it ends within a moment, and what has arrived stays."""
        self._stopping = True
        close_input(self._process)

    def close(self) -> None:
        """Stop it and wait until its process is gone."""
        self.stop()
        try:
            self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()

    def _read(self) -> None:
        last: Json = {}
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                last = json.loads(line)
                if "stage" in last:
                    self.step = Step(
                        stage=last["stage"],
                        done=last["step"],
                        total=last["num_steps"],
                        seconds_left=last["seconds_left"],
                    )
        self._process.wait()
        close_input(self._process)
        try:
            self._ended()  # before anybody can see that it is over: what it left behind is cleared by then
        finally:
            self.outcome = self._outcome(last)

    def _outcome(self, last: Json) -> Json:
        if "done" in last or "error" in last:
            return last
        if self._stopping or "cancelled" in last:
            return {"cancelled": True}
        if "fault" in last:
            _log.error("an errand failed:\n%s", last["fault"])
            return {"error": _FAULT}
        return {"error": _VANISHED}


def errand_view(errand: Errand | None, *, damaged: bool) -> Json:
    """Return how far an errand is and what became of it; `damaged`: what it was about is shown as damaged."""
    if errand is None:
        return {"errand": None, "said": "", "fault": ""}
    if errand.running:
        step = errand.step
        what, _, which = step.stage.partition(" ")
        return {
            "errand": {
                "kind": errand.kind,
                "stopping": errand.stopping,
                "stage": f"{say(_STAGES[what]) if what in _STAGES else what} {which}".strip(),
                "percent": round(100 * step.done / step.total, 1) if step.total else None,
                "amount": say("number_of", number=readable_size(step.done), count=readable_size(step.total))
                if step.total
                else "",
                "seconds_left": step.seconds_left,
            },
            "said": "",
            "fault": "",
        }
    outcome = errand.outcome or {}
    said = say(_DONE[errand.kind]) if "done" in outcome else ""
    if "cancelled" in outcome:
        said = say("models_stopped")
    elif outcome.get("done", {}).get("verified") is False:
        said = say("models_unverified")
    elif outcome.get("done", {}).get("undeleted") is True:
        said = say("models_undeleted")
    # what a check has found is the problem that the model is shown with
    fault = "" if errand.kind == "check" and damaged else heard(str(outcome.get("error", "")))
    return {"errand": None, "said": said, "fault": fault}
