"""Pictures as files and as something dropped on the page."""

from __future__ import annotations

import base64
import mimetypes
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Page

_DROP = """
async ([files, selector]) => {
  const transfer = new DataTransfer();
  for (const file of files) {
    const bytes = Uint8Array.from(atob(file.data), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], file.name, { type: file.type }));
  }
  const node = document.querySelector(selector);
  for (const moment of ["dragenter", "dragover", "drop"]) {
    node.dispatchEvent(new DragEvent(moment, { bubbles: true, cancelable: true, dataTransfer: transfer }));
  }
}
"""


def photograph(path: Path, width: int = 600, height: int = 900, colour: str = "#c68642") -> Path:
    """Write a picture with a sharp face-like blot and return its path."""
    image = Image.new("RGB", (width, height), "#9fb4c7")
    pen = ImageDraw.Draw(image)
    pen.ellipse((width * 0.3, height * 0.15, width * 0.7, height * 0.55), fill=colour)
    pen.rectangle((width * 0.2, height * 0.6, width * 0.8, height), fill="#34495e")
    image.save(path)
    return path


def drop(page: Page, paths: list[Path], onto: str = ".masthead") -> None:
    """Drop files on the page as the system's file manager would."""
    files = [
        {
            "name": path.name,
            "type": mimetypes.guess_type(path.name)[0] or "",
            "data": base64.b64encode(path.read_bytes()).decode(),
        }
        for path in paths
    ]
    page.evaluate(_DROP, [files, onto])
