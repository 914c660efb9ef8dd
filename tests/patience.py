"""How tests wait for what has to come: by looking, and so long that only what never comes is missed."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 300.0
"""How long anything may take on a machine that is busy with other things; on a free one it takes milliseconds."""


def wait_until(holds: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return as soon as `holds` says so. Raises `AssertionError`, with `what` was waited for, if it never does."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"in {patience_s:.0f} s there was never {what}"
        time.sleep(0.02)
