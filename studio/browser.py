"""Showing the page: the user's browser, or a window of its own where a Chromium-like browser is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import webbrowser
from pathlib import Path

from engine.paths import cache_dir

_COMMANDS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
    "brave-browser",
)
_MAC = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_WINDOWS = (
    r"Google\Chrome\Application\chrome.exe",
    r"Microsoft\Edge\Application\msedge.exe",
    r"Chromium\Application\chrome.exe",
)


def find_chromium() -> str | None:
    """Return the program of a browser built on Chromium, Chromium itself first, or None where there is none."""
    program = next((found for name in _COMMANDS if (found := shutil.which(name))), None)
    if program is None and sys.platform == "darwin":
        program = next((name for name in _MAC if Path(name).is_file()), None)
    if program is None and os.name == "nt":
        roots = [os.environ.get(name, "") for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")]
        places = [Path(root) / name for root in roots if root for name in _WINDOWS]
        program = next((str(place) for place in places if place.is_file()), None)
    return program


def window_command(url: str) -> list[str] | None:
    """Return the command that shows `url` in a window without a browser's frame, or None where no browser can."""
    program = find_chromium()
    if program is None:
        return None
    profile = cache_dir() / "window"
    return [program, f"--app={url}", f"--user-data-dir={profile}", "--no-first-run", "--no-default-browser-check"]


def show(url: str, *, window: bool) -> None:
    """Open `url`; a machine without any browser is told the address instead, which the caller prints anyway."""
    command = window_command(url) if window else None
    if command is not None:
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        return
    webbrowser.open(url)
