"""Weights: catalogue, download, conversion of the published bundle, verification and removal.

This face loads no torch; reading and converting checkpoints is in `checkpoints` and `convert`.
"""

from __future__ import annotations

from engine.weights.installed import (
    Installed,
    locate,
    locate_whole,
    model_folder,
    remove,
    status,
    verify,
    weights_digest,
)

__all__ = ["Installed", "locate", "locate_whole", "model_folder", "remove", "status", "verify", "weights_digest"]
