"""The real engine with a tiny model, round after round: `python -m tests.soak.engine_day ASSETS ROUNDS`.

Every other round is cancelled, each time at another event; prompt, size and memory profile change from round to round.
Prints a sample of itself, as JSON, after every round.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import psutil

from engine.cancel import CancelToken
from engine.errors import Cancelled
from engine.events import Event, Finished
from engine.paths import clips_dir, data_home, pictures_dir
from engine.pictures import PictureStore
from engine.request import RenderRequest
from engine.runtime import Engine
from engine.weights import installed
from tests.soak.figures import look
from tests.unit.tiny_studio import tiny_scene, tiny_settings

# Four scenes: their embeddings are cached on disk within the first rounds, and cost nothing more from then on.
PROMPTS = (
    "a man in red coat and a woman",
    "a woman and a man in red coat",
    "man and woman in red coat",
    "red coat a man woman",
)
# (width, height, frames), the largest first: what is taken at the busiest moment has to be given back.
SIZES = ((128, 96, 25), (32, 16, 5), (64, 96, 9), (96, 64, 17), (48, 48, 13))
PROFILES = ("auto", "streamed", "offload")


def render(engine: Engine, request: RenderRequest, store: PictureStore, out: Path, stop_at: int | None) -> bool:
    """Render; cancel after `stop_at` events, if given. Whether a clip came out of it."""
    token = CancelToken()
    done = False
    events = cast("Generator[Event]", engine.render(request, store, token, out))
    try:
        with closing(events):
            for number, event in enumerate(events, start=1):
                done = isinstance(event, Finished)
                if number == stop_at:
                    token.cancel()
    except Cancelled:
        return False
    return done


def main() -> None:
    """Go through all rounds."""
    assets, rounds = Path(sys.argv[1]), int(sys.argv[2])
    installed.assets_dir = lambda: assets
    store = PictureStore(pictures_dir())
    clips_dir().mkdir(parents=True)
    engine, scene, me = Engine(), tiny_scene(store), psutil.Process(os.getpid())
    for number in range(rounds):
        width, height, frames = SIZES[number % len(SIZES)]
        request = RenderRequest(
            scene=replace(scene, prompt=PROMPTS[number // 2 % len(PROMPTS)]),
            settings=tiny_settings(
                seed=number, width=width, height=height, num_frames=frames, profile=PROFILES[number % len(PROFILES)]
            ),
        )
        out = clips_dir() / f"{number}.mp4"
        finished = render(engine, request, store, out, None if number % 2 == 0 else 1 + number // 2 % 8)
        # A render that had already written its clip when it was cancelled keeps it.
        if number % 2 == 0 and not finished:
            raise SystemExit(f"round {number} made no clip")
        if out.exists() != finished:
            raise SystemExit(f"round {number}: finished {finished}, but its file is there: {out.exists()}")
        out.unlink(missing_ok=True)
        print(json.dumps(asdict(look(me, data_home(), Path(tempfile.gettempdir())))), flush=True)


if __name__ == "__main__":
    main()
