"""The studio on a Hugging Face Space: known by the variables that a Space sets, shared with everybody, kept where the
Space keeps things."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from engine.memory.lent import Lent
from studio.access import PASSWORD_VARIABLE, Access, access_for

PORT = 7860
CALL_VARIABLE = "LUMOSX_CALL_SECONDS"
_CALL_S, _CALL_RANGE_S = 60, (10, 1200)
_CARD_BYTES = 70_000_000_000
_SPARE_BYTES = 2_000_000_000
_KEPT = Path("/data")
_HOST = "0.0.0.0"


def on_a_space(variables: Mapping[str, str] = os.environ) -> bool:
    """Whether this process runs on a Space."""
    return bool(variables.get("SPACE_ID"))


def lent_card(variables: Mapping[str, str] = os.environ) -> Lent | None:
    """Return the card that ZeroGPU lends to whoever asks for a render, None anywhere else.

    `LUMOSX_CALL_SECONDS` says how long a call may last; how long the platform allows depends on who calls.
    """
    if variables.get("SPACES_ZERO_GPU", "").lower() not in ("1", "t", "true"):  # as the package `spaces` reads it
        return None
    seconds, memory = variables.get(CALL_VARIABLE, ""), variables.get("ZEROGPU_CUDA_TOTAL_MEMORY", "")
    low, high = _CALL_RANGE_S
    return Lent(
        seconds=min(max(int(seconds), low), high) if _whole(seconds) else _CALL_S,
        card_bytes=(int(memory) if _whole(memory) else _CARD_BYTES) - _SPARE_BYTES,
    )


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


def space_address(variables: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Return where a Space expects its program to listen: host and port."""
    port = variables.get("GRADIO_SERVER_PORT", "")
    return _HOST, int(port) if port.isascii() and port.isdigit() else PORT


def space_access(variables: Mapping[str, str] = os.environ) -> Access:
    """Return how a Space is shared: with everybody, or with whoever has the password of its secret.

    Raises:
        InputError: the password is too short.
    """
    access = access_for(_HOST, None, not variables.get(PASSWORD_VARIABLE), variables)
    assert access is not None  # others reach every Space
    return Access(password=access.password, limits=access.limits, framed=True)


def keep_on_the_space(variables: MutableMapping[str, str] = os.environ, kept: Path = _KEPT) -> None:
    """Let the data folder lie on the Space's persistent storage where it has one, unless `LUMOSX_HOME` says where."""
    if not variables.get("LUMOSX_HOME", "").strip() and kept.is_dir() and os.access(kept, os.W_OK):
        variables["LUMOSX_HOME"] = str(kept / "lumosx-studio")
