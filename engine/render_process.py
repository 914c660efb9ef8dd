"""The process that renders on one card while others render on the others: `python -m engine.render_process [BYTES]`.

Which card it sees is said by its environment (CUDA_VISIBLE_DEVICES); BYTES is the computer's memory it may use. A line
on its input is a render, `{"request", "pictures", "out", "resume"}`, or `{"cancel": true}` for the last one asked for.
Lines on its output are events, `{"event": {…}}`, and at the end of each render `{"done": true}`, `{"cancelled": true}`,
`{"error": …, "kind": …}` or `{"fault": …}`. The model stays loaded from one render to the next. When its input ends it
stops within a step: whoever asked is gone, and the steps that were saved are not lost.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from engine.asking import answered, own_pipes
from engine.cancel import CancelToken
from engine.codec import from_json, to_json
from engine.errors import Cancelled
from engine.pictures import PictureStore
from engine.request import RenderRequest

if TYPE_CHECKING:
    from engine.runtime import Engine

Json = dict[str, Any]

_GOODBYE_S = 60.0
"""A step of the full model on a slow card; what is not over by then would not be saved anyway."""


def main() -> int:
    """Render what is asked for until the input ends; return the exit code."""
    ram_bytes = int(sys.argv[1]) if len(sys.argv) > 1 else None
    questions, answers = own_pipes()
    asked: queue.Queue[tuple[Json, CancelToken] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(questions, asked), daemon=True).start()
    engine: Engine | None = None
    while (render := asked.get()) is not None:
        question, cancel = render
        if engine is None:
            engine = _engine(ram_bytes)
        answer = answered(_Render(engine, cancel, answers), question)
        _say(answers, answer)
    return 0


def _engine(ram_bytes: int | None) -> Engine:
    from engine.memory.profiles import Limits
    from engine.runtime import Engine

    return Engine(limits=Limits(ram_bytes=ram_bytes))


class _Render:
    """One render; called with what was asked for, it tells the events and returns how it ended."""

    def __init__(self, engine: Engine, cancel: CancelToken, answers: TextIO) -> None:
        self._engine = engine
        self._cancel = cancel
        self._answers = answers

    def __call__(self, question: Json) -> Json:
        request, pictures = from_json(RenderRequest, question["request"]), PictureStore(Path(question["pictures"]))
        out, resume = Path(question["out"]), Path(question["resume"])
        try:
            for event in self._engine.render(request, pictures, self._cancel, out, resume=resume):
                _say(self._answers, {"event": to_json(event)})
        except Cancelled:
            return {"cancelled": True}
        return {"done": True}


def _listen(questions: TextIO, asked: queue.Queue[tuple[Json, CancelToken] | None]) -> None:
    """Queue renders, each with a token of its own, and cancel the last one where that is asked, or nobody asks more."""
    cancel = CancelToken()
    for line in questions:
        question: Json = json.loads(line)
        if "cancel" in question:
            cancel.cancel()
        else:
            cancel = CancelToken()
            asked.put((question, cancel))
    cancel.cancel()
    asked.put(None)
    time.sleep(_GOODBYE_S)
    os._exit(1)  # in the middle of something that looks at no token: it would be the same with a kill


def _say(answers: TextIO, line: Json) -> None:
    try:
        answers.write(json.dumps(line) + "\n")
        answers.flush()
    except BrokenPipeError:  # nobody listens any more
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
