"""The last finished step of a render, kept in one file, so that a render which was broken off goes on from there.

Knows nothing of queues: whoever renders names the file. Safe to lose or to find damaged at any time; then the render
begins anew. Not being able to write it costs the chance to go on, never the render.
"""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from engine.errors import OutputError
from engine.files import write_atomically
from engine.model.pipeline import SamplerState

_log = logging.getLogger(__name__)

SHARE = 0.05
"""Saving takes at most this part of a render's time: where steps are long, every step is saved; where they are as quick
as the disk, only some."""


class Checkpoint:
    """The file `path` for the run named `key`: what another run left there is passed over."""

    def __init__(self, path: Path, key: str, share: float = SHARE) -> None:
        self._path = path
        self._key = key
        self._share = share
        self._not_before = 0.0
        self._broken = False

    def read(self, shape: tuple[int, ...], num_steps: int) -> SamplerState | None:
        """The saved state of this run with latents of `shape`, or None; a damaged file is deleted."""
        try:
            with safe_open(self._path, framework="pt") as file:
                told = file.metadata() or {}
                if told.get("key") != self._key:
                    return None
                pair = file.get_tensor("state")
                steps_done = int(told["steps_done"])
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            _log.warning("the saved step %s cannot be read and is deleted: %s", self._path, error)
            self.remove()
            return None
        fits = pair.shape == (2, *shape) and pair.dtype == torch.float32 and bool(pair.isfinite().all())
        if not fits or not 1 <= steps_done <= num_steps:
            _log.warning("the saved step %s does not fit its render and is deleted", self._path)
            self.remove()
            return None
        return SamplerState(steps_done, pair[0], pair[1])

    def keep(self, state: SamplerState, *, now: bool = False) -> None:
        """Save a state if it is time for it; `now`: in any case, because the next one is long in coming."""
        begun = time.monotonic()
        if self._broken or (begun < self._not_before and not now):
            return
        pair = torch.stack([state.latents, state.memory]).cpu()
        try:
            data = save({"state": pair}, {"key": self._key, "steps_done": str(state.steps_done)})
            write_atomically(self._path, data)
        except OutputError as error:
            _log.warning("this render's steps are not saved: %s", error)
            self._broken = True  # asking again at every step would only slow the render down
            return
        ended = time.monotonic()
        self._not_before = ended + (ended - begun) / self._share

    def remove(self) -> None:
        """Delete the file if it is there."""
        with contextlib.suppress(OSError):  # it may lie on a disk that is gone; a later look passes it over
            self._path.unlink(missing_ok=True)
