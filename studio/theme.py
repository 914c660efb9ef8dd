"""The look of the stock Gradio parts, and the page's own style sheet."""

from __future__ import annotations

from pathlib import Path

from gradio import themes

from studio.languages import for_script

WEB = Path(__file__).parent / "web"
PARTS = (
    "language", "dom", "words", "history", "document", "menu", "cutter_stage", "cutter", "figure", "cast", "folder",
    "drop", "faces", "facebox", "prompt", "share", "presets", "cost", "forget", "report", "scene", "loras", "settings",
    "work", "queue", "clips", "run", "reel", "compare", "picker", "clip_edit", "viewer", "swaps", "gallery", "models",
    "lora_shelf", "page",
)  # fmt: skip
"""The scripts, in the order in which they build on one another."""


def theme() -> themes.Base:
    """Return the theme. Its font comes with Gradio (only these two weights hold all letters): nothing is fetched."""
    return themes.Base(
        primary_hue="stone",
        neutral_hue="stone",
        font=[themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=[themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
    )


def style() -> str:
    """Return the page's style sheet: its parts in order."""
    return "\n".join(
        (WEB / f"{part}.css").read_text(encoding="utf-8") for part in ("page", "board", "cutter", "gallery", "models")
    )


def script() -> str:
    """Return the page's script: its sentences and its parts in one function scope, in the order in which they build on
    one another."""
    parts = [(WEB / f"{part}.js").read_text(encoding="utf-8") for part in PARTS]
    return "\n".join([for_script(), *parts])
