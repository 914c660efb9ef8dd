"""Which engines can render here: asks the engine where its weights are, without loading any of them."""

from __future__ import annotations

from engine.errors import WeightsError
from engine.weights import locate


def missing_weights(engine: str) -> str | None:
    """Return None if the engine's weights are installed, else the sentence that says how to get them."""
    try:
        locate(engine)
    except WeightsError as error:
        return str(error)
    return None
