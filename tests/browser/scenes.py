"""Small drawn sample folders for tests of the page."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

PROMPT = "A man in a red coat and a woman in a green dress stand in a bright room, beside a lamp."


def _picture(path: Path, ground: str, figure: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (96, 96), ground)
    ImageDraw.Draw(image).ellipse((20, 16, 76, 80), fill=figure)
    image.save(path)


def write_pair(folder: Path, prompt: str = PROMPT) -> None:
    """Write a sample folder with two subjects, a garment each, an object and a background."""
    _picture(folder / "subjects" / "1" / "face_man.png", "#c8d6e5", "#8d5524")
    _picture(folder / "subjects" / "1" / "red coat.png", "#ffffff", "#c0392b")
    _picture(folder / "subjects" / "2" / "face_woman.png", "#e8dccb", "#f1c27d")
    _picture(folder / "subjects" / "2" / "green dress.png", "#ffffff", "#27ae60")
    _picture(folder / "objects" / "lamp.png", "#ffffff", "#f1c40f")
    _picture(folder / "background" / "bright room.png", "#fdf6e3", "#eee8d5")
    (folder / "caption.txt").write_text(f"test;{prompt}\n", encoding="utf-8")
